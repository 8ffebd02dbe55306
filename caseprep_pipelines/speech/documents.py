"""The products of the two speech stages: what was said, and who spoke when. Times are seconds of the recording."""

from enum import StrEnum
from typing import Literal

from caseprep_pipelines.models.identity import ModelIdentity
from caseprep_pipelines.storage.document import Document, Part


class Suspicion(StrEnum):
    """Why a stretch of machine output deserves a human ear. Flags mark; they never remove."""

    REPETITION = "repetition"
    LOW_PROBABILITY = "low-probability"
    TOO_FAST = "too-fast"
    NO_SPEECH_DETECTED = "no-speech-detected"
    SPEECH_WITHOUT_WORDS = "speech-without-words"
    TOKEN_LIMIT = "token-limit"  # noqa: S105
    """The decoder stopped at its limit of tokens; words may be missing after it."""
    RECOVERED = "recovered"
    """Words of speech that the first decoding passed over; a second one found them."""
    DECODINGS_AGREE = "decodings-agree"
    """The words were suspicious, and a second decoding with other settings says nearly the same."""
    DECODINGS_DIFFER = "decodings-differ"
    """The words were suspicious, and a second decoding with other settings says something else."""
    LANGUAGE_IN_DOUBT = "language-in-doubt"
    """The words are of the likelier of two languages, and the other is likely too."""


class Span(Part):
    start: float
    end: float


class Word(Part):
    """`text` keeps its punctuation and has no surrounding space, but the one before it where the language has none
    between words and the recogniser wrote one."""

    text: str
    start: float
    end: float
    probability: float


class Segment(Part):
    """What ASR said for one clip."""

    clip: int
    """Index into the channel's `clips`."""
    language: str | None = None
    """In which the words were recognized."""
    start: float
    end: float
    words: tuple[Word, ...]
    average_log_probability: float
    """Mean over its words of the logarithm of their probabilities."""
    compression_ratio: float
    flags: tuple[Suspicion, ...] = ()


class FlaggedSpan(Part):
    """A stretch that carries a flag but belongs to no segment (speech for which no words came back)."""

    start: float
    end: float
    flag: Suspicion


class ChannelTranscript(Part):
    channel: int
    language: str | None
    """In which most was said; each segment has its own."""
    language_probability: float | None
    """Mean over the clips; None where it was given."""
    speech: tuple[Span, ...]
    """The speech map: where the detector or the speaker segmentation heard speech."""
    bleed: tuple[Span, ...] = ()
    """Parts of the speech map that another channel carries louder: its speaker's words stand there, not here."""
    clips: tuple[Span, ...]
    """What the segments were recognized from, each at most the model's clip length, cut at silences; and what was
    handed to the recognizer and gave no words."""
    speech_ratio: float
    snr_db: float | None
    """Power of the speech alone over the power where nobody speaks; None where either is missing."""
    segments: tuple[Segment, ...]
    flagged: tuple[FlaggedSpan, ...] = ()


class DecodeSettings(Part):
    """Every setting that shaped the words."""

    language: str | None
    """The only one, where one was given."""
    languages: tuple[str, ...] = ()
    """Those that the recording was held to; none: whatever was likely."""
    preferred_languages: tuple[str, ...] = ()
    beam_size: int
    second_beam_size: int | None = None
    temperature: float
    hotwords: tuple[str, ...]
    """The matter's vocabulary as the decoder was prompted with it, most important first."""
    hotwords_left_out: tuple[str, ...]
    """The rest of the vocabulary, for which the prompt had no room."""
    word_timestamps: bool
    without_timestamps: bool
    max_new_tokens: int | None
    compute_type: str
    clip_seconds: float
    speech_threshold: float
    silence_threshold: float
    min_silence_seconds: float
    speech_pad_seconds: float
    max_pause_seconds: float
    """Longest silence inside a clip."""


class RawTranscript(Document):
    """Speech map, segments and words per channel: readable at once as a draft without speakers."""

    document: Literal["raw_transcript"] = "raw_transcript"
    schema_version: Literal[1] = 1
    partition: str
    audio_sha256: tuple[str, ...]
    """Digests of the channels' FLAC files, in channel order of `channels`."""
    duration_seconds: float
    model: ModelIdentity
    settings: DecodeSettings
    libraries: dict[str, str]
    channels: tuple[ChannelTranscript, ...]

    @property
    def languages(self) -> tuple[str, ...]:
        """Those that anything was said in, the one with most words first."""
        words: dict[str, int] = {}
        for channel in self.channels:
            if channel.language:
                words.setdefault(channel.language, 0)
            for segment in channel.segments:
                if segment.language:
                    words[segment.language] = words.get(segment.language, 0) + len(segment.words)
        return tuple(sorted(words, key=lambda language: (-words[language], language)))


class Turn(Part):
    """A stretch of time with one speaker."""

    speaker: str
    channel: int
    """The lowest one, where several channels were mixed."""
    start: float
    end: float
    confidence: float | None = None
    """0 to 1: how far the speaker model preferred this speaker over the next; None where no model decided."""


class DiarizationSettings(Part):
    method: Literal["pyannote", "channel"]
    channels: tuple[int, ...]
    """The channels whose mix was diarized, or that are the speakers."""
    min_speakers: int | None
    max_speakers: int | None
    window_seconds: float | None = None
    """Longest stretch diarized at once; None where every channel is a speaker."""
    linking_threshold: float | None = None
    """Cosine distance up to which speakers of two windows are one; None where there was one window."""


class SpeakerTurns(Document):
    """Who spoke when, twice: as heard (turns may overlap) and exclusively (one speaker at a time on a channel)."""

    document: Literal["speaker_turns"] = "speaker_turns"
    schema_version: Literal[1] = 1
    partition: str
    audio_sha256: tuple[str, ...]
    duration_seconds: float
    model: ModelIdentity | None
    settings: DiarizationSettings
    libraries: dict[str, str]
    speakers: tuple[str, ...]
    turns: tuple[Turn, ...]
    exclusive_turns: tuple[Turn, ...]
    bleed: tuple[Turn, ...] = ()
    """Where a channel only carries what is louder on another: no turns, but kept so that nothing vanishes unseen."""
