"""Stage 3, `raw_transcript`: what was said on each channel, by faster-whisper, with a draft to read at once."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from caseprep_pipelines.assets.stage import Made, Recording, Stage, installed_digest
from caseprep_pipelines.audio.documents import NormalizedAudio, SourceRecording
from caseprep_pipelines.checks.models import REAL_MODELS, real_models
from caseprep_pipelines.checks.outcome import Outcome
from caseprep_pipelines.models.directories import resolve_diarization, resolve_whisper
from caseprep_pipelines.settings import Settings
from caseprep_pipelines.speech.documents import RawTranscript, Segment, Span, Suspicion
from caseprep_pipelines.storage.products import CorruptProduct, MissingProduct

if TYPE_CHECKING:
    from caseprep_pipelines.speech.listening import Question
    from caseprep_pipelines.speech.transcriber import Heard
    from caseprep_pipelines.speech.transcription import Job
    from caseprep_pipelines.speech.voice_activity import VoiceActivity
    from caseprep_pipelines.storage.saved_work import SavedWork


def make_many(recordings: Iterable[Recording]) -> Iterator[tuple[Recording, Made | Exception]]:
    from caseprep_pipelines.speech.transcription import transcribe_many

    for outcome in transcribe_many(recordings, _job):
        if isinstance(outcome.result, Exception):
            yield outcome.item, outcome.result
        else:
            yield outcome.item, _made(outcome.item, outcome.result, outcome.seconds)


def _job(recording: Recording) -> "Job | RawTranscript":
    from caseprep_pipelines.speech.transcriber import TranscribeOptions
    from caseprep_pipelines.speech.transcription import Job
    from caseprep_pipelines.speech.witness import second_witness

    source = recording.document("source_recording", SourceRecording)
    audio = recording.document("normalized_audio", NormalizedAudio)
    matter = recording.matter(source.matter)
    transcriber = recording.pipeline.transcriber
    options = TranscribeOptions(
        languages=matter.languages or recording.settings.languages,
        preferred_languages=tuple(recording.settings.preferred_languages),
        hotwords=matter.vocabulary,
    )
    work = recording.saved_work(
        source.matter,
        [
            [channel.sha256 for channel in audio.distinct_channels],
            transcriber.identity.digest,
            transcriber.settings(options).model_dump(mode="json"),
            transcriber.libraries(),
            recording.pipeline.diarization_model.identity.digest,
            STAGE.revision,
        ],
    )
    return _finished(recording, work) or Job(
        audio,
        recording.files("normalized_audio", tuple(channel.file for channel in audio.distinct_channels)),
        transcriber,
        options,
        recording.progress(audio.duration_seconds * len(audio.distinct_channels)),
        lambda _settings: SavedClips(work),
        second_witness(lambda: recording.pipeline.diarizer),
    )


def _finished(recording: Recording, work: "SavedWork") -> RawTranscript | None:
    """The transcript of the same audio, where it was transcribed before."""
    found = work.finished()
    if found is None:
        return None
    try:
        raw = recording.pipeline.products.read(STAGE.name, found[0], RawTranscript, found[1])
    except (MissingProduct, CorruptProduct):
        return None
    return raw.model_copy(update={"partition": recording.partition}) if isinstance(raw, RawTranscript) else None


class SavedClips:
    """What the detector heard by channel, and what was heard by channel and question, in an attempt that was
    interrupted."""

    def __init__(self, work: "SavedWork") -> None:
        self._work = work

    def load(self) -> "dict[tuple[int, Question], Heard]":
        from caseprep_pipelines.speech.listening import Question
        from caseprep_pipelines.speech.transcriber import Heard

        heard: dict[tuple[int, Question], Heard] = {}
        for part in self._work.parts("json"):
            try:
                for row in json.loads(part):
                    span = Span.model_validate(row["span"])
                    question = Question(span, tuple(row["languages"]), bool(row["words"]), bool(row["again"]))
                    segment = None if row["segment"] is None else Segment.model_validate(row["segment"])
                    heard[int(row["channel"]), question] = Heard(segment, dict(row["likely"]))
            except (ValueError, TypeError, KeyError):
                continue  # written by another version, or damaged: done again
        return heard

    def save(self, heard: "Mapping[tuple[int, Question], Heard]") -> None:
        rows = [
            {
                "channel": at,
                "span": question.span.model_dump(),
                "languages": question.languages,
                "words": question.words,
                "again": question.again,
                "segment": None if said.segment is None else said.segment.model_dump(mode="json"),
                "likely": dict(said.languages),
            }
            for (at, question), said in sorted(
                heard.items(), key=lambda entry: (entry[0][0], entry[0][1].span.start, entry[0][1].span.end)
            )
        ]
        self._work.add("json", json.dumps(rows).encode())

    def load_activity(self, channel: int) -> "VoiceActivity | None":
        from caseprep_pipelines.speech.voice_activity import VoiceActivity
        from caseprep_pipelines.storage.saved_work import unpacked

        for part in self._work.parts(f"speech-{channel}.npz"):
            if arrays := unpacked(part):
                return VoiceActivity(
                    float(arrays["seconds"]),
                    arrays["probabilities"],
                    arrays["powers"],
                    tuple(Span(start=float(a), end=float(b)) for a, b in arrays["witnessed"].reshape(-1, 2)),
                )
        return None

    def save_activity(self, channel: int, activity: "VoiceActivity") -> None:
        import numpy as np

        from caseprep_pipelines.storage.saved_work import packed

        data = packed(
            seconds=np.array(activity.seconds),
            probabilities=activity.probabilities,
            powers=activity.powers,
            witnessed=np.array([(span.start, span.end) for span in activity.witnessed], dtype=np.float64),
        )
        self._work.add(f"speech-{channel}.npz", data)


def _made(recording: Recording, raw: RawTranscript, seconds: float) -> Made:
    from caseprep_pipelines.speech.transcription import draft_text

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
            "languages": ", ".join(raw.languages),
            "speech_ratio": max((c.speech_ratio for c in raw.channels), default=0.0),
            **({"snr_db": min(snrs)} if snrs else {}),
            **{f"flagged_{flag.value.replace('-', '_')}": flags[flag] for flag in Suspicion},
            "model": raw.model.name,
            "demo_model": raw.model.demo,
        },
        outcomes=(
            speech_has_words(flags[Suspicion.SPEECH_WITHOUT_WORDS]),
            real_models(recording.document("source_recording", SourceRecording).matter, raw.model),
        ),
        audio_seconds=raw.duration_seconds,
        record={
            "wall_seconds": round(seconds, 3),
            "compute_type": raw.settings.compute_type,
            "device": recording.pipeline.transcriber.device,
            "batch_size": recording.pipeline.transcriber.batch_size,
        },
        links={"draft": "draft.txt"},
        models={
            "transcription": raw.model.digest,
            "second_witness": recording.pipeline.diarization_model.identity.digest,
        },
    )


def count_flags(raw: RawTranscript) -> Counter[Suspicion]:
    return Counter(
        flag
        for channel in raw.channels
        for flags in (*(segment.flags for segment in channel.segments), *((span.flag,) for span in channel.flagged))
        for flag in flags
    )


def speech_has_words(stretches: int) -> Outcome:
    """Fails where speech was heard for which there are no words, in so many stretches."""
    return Outcome("speech_has_words", stretches == 0, {"spans_without_words": stretches})


def shaped_by(settings: Settings) -> Mapping[str, Any]:
    return {
        "model": installed_digest(resolve_whisper, settings.model, settings.models_directory),
        "second_witness": installed_digest(resolve_diarization, settings.diarization, settings.models_directory),
        "languages": [settings.languages, settings.preferred_languages],
        "beam_size": settings.beam_size,
        "compute_type": settings.compute_type,
    }


STAGE = Stage(
    name="raw_transcript",
    upstream=("source_recording", "normalized_audio"),
    make_many=make_many,
    description=(
        "Speech map and signal-to-noise ratio, segments and words of each channel with times and probabilities, "
        "language, every decode setting, the model's digest and suspicion flags; with a draft without speakers."
    ),
    kinds=frozenset({"json", "whisper", "gpu"}),
    batch=50,
    matter_fields=("languages", "vocabulary"),
    checks=(("speech_has_words", "Wherever either detector heard speech, words came back."), REAL_MODELS),
    shaped_by=shaped_by,
    gpu=True,
    revision=4,  # all of the decoder's room, languages by stretch, second decodings, faint speech
)
