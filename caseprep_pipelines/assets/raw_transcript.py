"""Stage 3, `raw_transcript`: what was said on each channel, by faster-whisper, with a draft to read at once."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from caseprep_pipelines.assets.stage import Made, Recording, Stage, installed_digest
from caseprep_pipelines.audio.documents import NormalizedAudio, SourceRecording
from caseprep_pipelines.checks.outcome import Outcome
from caseprep_pipelines.models.directories import resolve_whisper
from caseprep_pipelines.settings import Settings
from caseprep_pipelines.speech.documents import RawTranscript, Suspicion


def make(recording: Recording) -> Made:
    from caseprep_pipelines.speech.transcriber import TranscribeOptions
    from caseprep_pipelines.speech.transcription import draft_text, transcribe

    source = recording.document("source_recording", SourceRecording)
    audio = recording.document("normalized_audio", NormalizedAudio)
    matter = recording.matter(source.matter)
    transcriber = recording.pipeline.transcriber
    raw = transcribe(
        audio,
        recording.files("normalized_audio", tuple(channel.file for channel in audio.distinct_channels)),
        transcriber,
        TranscribeOptions(language=matter.language or recording.settings.language, hotwords=matter.vocabulary),
        recording.progress(audio.duration_seconds * len(audio.distinct_channels)),
    )
    folder = recording.folder / "product"
    folder.mkdir()
    (folder / "draft.txt").write_text(draft_text(raw), encoding="utf-8")
    flags = count_flags(raw)
    words = sum(len(segment.words) for channel in raw.channels for segment in channel.segments)
    snrs = [channel.snr_db for channel in raw.channels if channel.snr_db is not None]
    return Made(
        raw,
        folder,
        metadata={
            "words": words,
            "languages": ", ".join(sorted({c.language for c in raw.channels if c.language})),
            "speech_ratio": max((c.speech_ratio for c in raw.channels), default=0.0),
            **({"snr_db": min(snrs)} if snrs else {}),
            **{f"flagged_{flag.value.replace('-', '_')}": flags[flag] for flag in Suspicion},
            "model": raw.model.name,
            "demo_model": raw.model.demo,
        },
        outcomes=(speech_has_words(flags),),
        audio_seconds=audio.duration_seconds,
        record={"compute_type": raw.settings.compute_type, "batch_size": recording.settings.batch_size},
        links={"draft": "draft.txt"},
        models={"transcription": raw.model.digest},
    )


def count_flags(raw: RawTranscript) -> Counter[Suspicion]:
    return Counter(
        flag
        for channel in raw.channels
        for flags in (*(segment.flags for segment in channel.segments), *((span.flag,) for span in channel.flagged))
        for flag in flags
    )


def speech_has_words(flags: Counter[Suspicion]) -> Outcome:
    """Fails where the detector heard speech for which no words came back."""
    unspoken = flags[Suspicion.SPEECH_WITHOUT_WORDS]
    return Outcome("speech_has_words", unspoken == 0, {"spans_without_words": unspoken})


def shaped_by(settings: Settings) -> Mapping[str, Any]:
    return {
        "model": installed_digest(resolve_whisper, settings.model, settings.models_directory),
        "language": settings.language,
        "beam_size": settings.beam_size,
        "compute_type": settings.compute_type,
    }


STAGE = Stage(
    name="raw_transcript",
    upstream=("source_recording", "normalized_audio"),
    make=make,
    description=(
        "Speech map and signal-to-noise ratio, segments and words of each channel with times and probabilities, "
        "language, every decode setting, the model's digest and suspicion flags; with a draft without speakers."
    ),
    kinds=frozenset({"json", "whisper", "gpu"}),
    batch=50,
    matter_fields=("language", "vocabulary"),
    checks=(("speech_has_words", "Wherever the detector heard speech, words came back."),),
    shaped_by=shaped_by,
    gpu=True,
)
