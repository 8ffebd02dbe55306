"""Small valid documents of one made-up recording, each made from the one before, for tests of every later stage.

Three speakers on one channel: a question, an answer that talks over its end, a doubtful word, an interjection inside
a long utterance, and a stretch of speech without words. Nothing here is read from a file; every call gives a new
and equal document. Pass fields to replace them.
"""

from typing import Any

from caseprep_pipelines.audio.documents import AudioStream, ChannelAudio, NormalizedAudio, Origin, SourceRecording
from caseprep_pipelines.models.identity import ModelIdentity
from caseprep_pipelines.speech.documents import (
    ChannelTranscript,
    DecodeSettings,
    DiarizationSettings,
    FlaggedSpan,
    RawTranscript,
    Segment,
    Span,
    SpeakerTurns,
    Suspicion,
    Turn,
    Word,
)
from caseprep_pipelines.transcript.document import (
    DEMO_NOTICE,
    MACHINE_DRAFT_NOTICE,
    Sources,
    Speaker,
    Transcript,
    TranscriptWord,
    Unspoken,
    Utterance,
    WordFlag,
)

MATTER = "24-cv-0117"
PARTITION = "24-cv-0117-0123456789ab"
DURATION = 24.0

TRANSCRIPTION_MODEL = ModelIdentity(name="demo", digest="a1" * 32, demo=True, clip_seconds=10.0)
DIARIZATION_MODEL = ModelIdentity(name="demo", digest="b2" * 32, demo=True, clip_seconds=10.0)

#: Speaker, start of the first word, seconds per word, what was said.
SPOKEN = (
    ("SPEAKER_00", 0.5, 0.3, "Please state your name for the record."),
    ("SPEAKER_01", 2.5, 0.4, "My name is on the exhibit."),
    (
        "SPEAKER_00",
        6.0,
        0.25,
        "Did you sign the agreement on the fourth of March, before the meeting with the officer, "
        "or only after the contract had been delivered to you?",
    ),
    ("SPEAKER_02", 8.1, 0.3, "Objection, compound."),
    ("SPEAKER_01", 13.0, 0.5, "I did not sign it."),
)
#: Words that the recogniser was not sure of.
DOUBTFUL = {"not"}


def _words(start: float, seconds: float, text: str) -> list[Word]:
    return [
        Word(
            text=word,
            start=round(start + index * seconds, 3),
            end=round(start + (index + 1) * seconds, 3),
            probability=0.31 if word in DOUBTFUL else 0.97,
        )
        for index, word in enumerate(text.split())
    ]


def _spoken() -> list[list[Word]]:
    return [_words(start, seconds, text) for _, start, seconds, text in SPOKEN]


def sample_source(**changes: Any) -> SourceRecording:
    fields: dict[str, Any] = {
        "partition": PARTITION,
        "matter": MATTER,
        "sha256": "0f" * 32,
        "md5": "0f" * 16,
        "size_bytes": 384_044,
        "original": f"originals/{PARTITION}/original",
        "origin": Origin(kind="file", received_at="2026-03-04T09:00:00+00:00"),
        "container": "wav",
        "duration_seconds": DURATION,
        "audio_streams": (
            AudioStream(index=0, codec="pcm_s16le", sample_rate=8000, channels=1, duration_seconds=DURATION),
        ),
        "has_video": False,
        "channels": 1,
    }
    return SourceRecording(**{**fields, **changes})


def sample_audio(**changes: Any) -> NormalizedAudio:
    fields: dict[str, Any] = {
        "partition": PARTITION,
        "source_sha256": sample_source().sha256,
        "duration_seconds": DURATION,
        "container_duration_seconds": DURATION,
        "channels": (
            ChannelAudio(
                index=0,
                file="channel-0.flac",
                sha256="1e" * 32,
                stream=0,
                channel_in_stream=0,
                samples=int(DURATION * 16000),
                loudness_lufs=-23.0,
                peak_dbfs=-3.0,
                rms_dbfs=-26.0,
                clipped_ratio=0.0,
                silence_ratio=0.35,
            ),
        ),
        "libraries": {"av": "16.0.0"},
    }
    return NormalizedAudio(**{**fields, **changes})


def sample_raw(**changes: Any) -> RawTranscript:
    words = _spoken()
    # one clip per utterance; the interjection was heard by the recogniser as a clip of its own
    clips = tuple(Span(start=said[0].start, end=said[-1].end) for said in words)
    fields: dict[str, Any] = {
        "partition": PARTITION,
        "audio_sha256": tuple(channel.sha256 for channel in sample_audio().channels),
        "duration_seconds": DURATION,
        "model": TRANSCRIPTION_MODEL,
        "settings": DecodeSettings(
            language=None,
            beam_size=1,
            temperature=0.0,
            hotwords=("exhibit",),
            hotwords_left_out=(),
            word_timestamps=True,
            without_timestamps=True,
            max_new_tokens=None,
            compute_type="int8",
            clip_seconds=10.0,
            speech_threshold=0.5,
            silence_threshold=0.35,
            min_silence_seconds=0.3,
            speech_pad_seconds=0.2,
            max_pause_seconds=2.0,
        ),
        "libraries": {"faster-whisper": "1.2.1"},
        "channels": (
            ChannelTranscript(
                channel=0,
                language="en",
                language_probability=0.99,
                speech=(*clips, Span(start=18.0, end=20.0)),
                clips=(*clips, Span(start=18.0, end=20.0)),
                speech_ratio=0.65,
                snr_db=24.0,
                segments=tuple(
                    Segment(
                        clip=index,
                        start=said[0].start,
                        end=said[-1].end,
                        words=tuple(said),
                        average_log_probability=-0.1,
                        compression_ratio=1.2,
                        flags=(Suspicion.LOW_PROBABILITY,) if index == len(words) - 1 else (),
                    )
                    for index, said in enumerate(words)
                ),
                flagged=(FlaggedSpan(start=18.0, end=20.0, flag=Suspicion.SPEECH_WITHOUT_WORDS),),
            ),
        ),
    }
    return RawTranscript(**{**fields, **changes})


def sample_turns(**changes: Any) -> SpeakerTurns:
    spans = [(speaker, said[0].start, said[-1].end) for (speaker, *_), said in zip(SPOKEN, _spoken(), strict=True)]
    fields: dict[str, Any] = {
        "partition": PARTITION,
        "audio_sha256": sample_raw().audio_sha256,
        "duration_seconds": DURATION,
        "model": DIARIZATION_MODEL,
        "settings": DiarizationSettings(
            method="pyannote", channels=(0,), min_speakers=None, max_speakers=None, window_seconds=7200.0
        ),
        "libraries": {"pyannote.audio": "4.0.7"},
        "speakers": ("SPEAKER_00", "SPEAKER_01", "SPEAKER_02"),
        "turns": tuple(
            Turn(speaker=speaker, channel=0, start=start, end=end, confidence=0.9) for speaker, start, end in spans
        ),
        "exclusive_turns": (
            Turn(speaker="SPEAKER_00", channel=0, start=0.5, end=2.5, confidence=0.9),
            Turn(speaker="SPEAKER_01", channel=0, start=2.5, end=4.9, confidence=0.9),
            Turn(speaker="SPEAKER_00", channel=0, start=6.0, end=8.1, confidence=0.9),
            Turn(speaker="SPEAKER_02", channel=0, start=8.1, end=8.7, confidence=0.6),
            Turn(speaker="SPEAKER_00", channel=0, start=8.7, end=spans[2][2], confidence=0.9),
            Turn(speaker="SPEAKER_01", channel=0, start=13.0, end=15.5, confidence=0.9),
        ),
    }
    return SpeakerTurns(**{**fields, **changes})


def sample_utterance(
    index: int, start: float, text: str, language: str | None = None, speaker: str = "SPEAKER_00"
) -> Utterance:
    """Words as a recognizer hands them over, a quarter of a second each; `text` has a space between them."""
    words = tuple(
        TranscriptWord(text=word, start=start + at / 4, end=start + (at + 1) / 4, probability=0.9)
        for at, word in enumerate(text.split())
    )
    end = words[-1].end
    return Utterance(index=index, speaker=speaker, channel=0, start=start, end=end, words=words, language=language)


def sample_transcript(**changes: Any) -> Transcript:
    raw, turns = sample_raw(), sample_turns()
    utterances = []
    for index, ((speaker, *_), said) in enumerate(zip(SPOKEN, _spoken(), strict=True)):
        others = [turn for turn in turns.turns if turn.speaker != speaker]
        words = tuple(
            TranscriptWord(
                text=word.text,
                start=word.start,
                end=word.end,
                probability=word.probability,
                speaker_confidence=1.0,
                flags=(
                    *([WordFlag.OVERLAP] if any(t.start < word.end and word.start < t.end for t in others) else []),
                    *([WordFlag.LOW_PROBABILITY] if word.text in DOUBTFUL else []),
                ),
            )
            for word in said
        )
        utterances.append(
            Utterance(
                index=index,
                speaker=speaker,
                channel=0,
                start=words[0].start,
                end=words[-1].end,
                words=words,
                flags=(Suspicion.LOW_PROBABILITY,) if index == len(SPOKEN) - 1 else (),
            )
        )
    fields: dict[str, Any] = {
        "partition": PARTITION,
        "matter": MATTER,
        "duration_seconds": DURATION,
        "languages": ("en",),
        "notices": (MACHINE_DRAFT_NOTICE, DEMO_NOTICE),
        "transcription_model": raw.model,
        "diarization_model": turns.model,
        "sources": Sources(
            original_sha256=sample_source().sha256,
            raw_transcript_sha256=raw.digest(),
            speaker_turns_sha256=turns.digest(),
        ),
        "speakers": tuple(
            Speaker(
                label=label,
                speech_seconds=round(sum(t.end - t.start for t in turns.turns if t.speaker == label), 3),
                words=sum(len(u.words) for u in utterances if u.speaker == label),
            )
            for label in turns.speakers
        ),
        "utterances": tuple(utterances),
        "unspoken": (Unspoken(channel=0, start=18.0, end=20.0, flag=Suspicion.SPEECH_WITHOUT_WORDS),),
    }
    return Transcript(**{**fields, **changes})
