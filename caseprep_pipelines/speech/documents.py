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


class Span(Part):
    start: float
    end: float


class Word(Part):
    """`text` keeps its punctuation and has no surrounding space."""

    text: str
    start: float
    end: float
    probability: float


class Segment(Part):
    """What ASR said for one clip."""

    clip: int
    """Index into the channel's `clips`."""
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
    language_probability: float | None
    speech: tuple[Span, ...]
    """The speech map: where the detector heard speech."""
    bleed: tuple[Span, ...] = ()
    """Parts of the speech map that another channel carries louder: its speaker's words stand there, not here."""
    clips: tuple[Span, ...]
    """What was handed to the recogniser, each at most the model's clip length, cut at silences."""
    speech_ratio: float
    snr_db: float | None
    """Power of the speech alone over the power where nobody speaks; None where either is missing."""
    segments: tuple[Segment, ...]
    flagged: tuple[FlaggedSpan, ...] = ()


class DecodeSettings(Part):
    """Every setting that shaped the words."""

    language: str | None
    beam_size: int
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
