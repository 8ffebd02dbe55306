"""Stage 4, `speaker_turns`: who spoke when, by pyannote or, where each channel is a speaker, by the channels."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caseprep_pipelines.assets.stage import Made, Recording, Stage, installed_digest
from caseprep_pipelines.audio.documents import NormalizedAudio, SourceRecording
from caseprep_pipelines.checks.models import REAL_MODELS, real_models
from caseprep_pipelines.models.directories import resolve_diarization
from caseprep_pipelines.settings import Settings
from caseprep_pipelines.speech.documents import RawTranscript, SpeakerTurns
from caseprep_pipelines.storage.products import CorruptProduct, MissingProduct

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from caseprep_pipelines.speech.diarization import Job
    from caseprep_pipelines.storage.saved_work import SavedWork


def make_many(recordings: Iterable[Recording]) -> Iterator[tuple[Recording, Made | Exception]]:
    from caseprep_pipelines.speech.diarization import diarize_many

    for outcome in diarize_many(recordings, _job):
        if isinstance(outcome.result, Exception):
            yield outcome.item, outcome.result
        else:
            yield outcome.item, _made(outcome.item, outcome.result, outcome.seconds)


def _job(recording: Recording) -> "Job | SpeakerTurns":
    from caseprep_pipelines.speech.diarization import Job
    from caseprep_pipelines.speech.diarizer import DiarizeOptions

    source = recording.document("source_recording", SourceRecording)
    audio = recording.document("normalized_audio", NormalizedAudio)
    raw = recording.document("raw_transcript", RawTranscript)
    matter = recording.matter(source.matter)
    fewest = matter.min_speakers or recording.settings.min_speakers
    most = matter.max_speakers or recording.settings.max_speakers
    files = recording.files("normalized_audio", tuple(channel.file for channel in audio.distinct_channels))
    options = DiarizeOptions(fewest, most, recording.settings.diarization_window_seconds)
    work = recording.saved_work(
        source.matter,
        [
            [channel.sha256 for channel in audio.distinct_channels],
            [[span.model_dump() for span in channel.speech] for channel in raw.channels],
            recording.pipeline.diarization_model.identity.digest,
            asdict(options),
            {name: version(name) for name in ("pyannote.audio", "torch")},
        ],
    )
    return _finished(recording, work) or Job(
        audio,
        files,
        raw,
        lambda: recording.pipeline.diarizer,
        options,
        recording.progress(audio.duration_seconds),
        lambda window: SavedChunks(work, window),
    )


def _made(recording: Recording, turns: SpeakerTurns, seconds: float) -> Made:
    from caseprep_pipelines.renditions.rttm import turns_rttm

    audio = recording.document("normalized_audio", NormalizedAudio)
    raw = recording.document("raw_transcript", RawTranscript)
    files = recording.folder / "normalized_audio"
    folder = recording.folder / "product"
    folder.mkdir()
    (folder / "turns.rttm").write_text(turns_rttm(turns), encoding="utf-8")
    _draw(folder / "waveform.png", audio, files, raw, turns)
    return Made(
        turns,
        folder,
        metadata={
            "speakers": len(turns.speakers),
            "turns": len(turns.turns),
            "method": turns.settings.method,
            **({"model": turns.model.name, "demo_model": turns.model.demo} if turns.model else {}),
        },
        outcomes=(real_models(recording.document("source_recording", SourceRecording).matter, turns.model),),
        audio_seconds=audio.duration_seconds,
        record={
            "wall_seconds": round(seconds, 3),
            **({"device": recording.pipeline.diarizer.device} if turns.model else {}),
        },
        links={"waveform": "waveform.png", "rttm": "turns.rttm"},
        models={"diarization": turns.model.digest} if turns.model else {},
    )


def _finished(recording: Recording, work: "SavedWork") -> SpeakerTurns | None:
    """The turns of the same audio, where it was diarized before."""
    found = work.finished()
    if found is None:
        return None
    try:
        turns = recording.pipeline.products.read(STAGE.name, found[0], SpeakerTurns, found[1])
    except (MissingProduct, CorruptProduct):
        return None
    return turns.model_copy(update={"partition": recording.partition}) if isinstance(turns, SpeakerTurns) else None


class SavedChunks:
    """What the networks said of a window's chunks, as arrays by number of the chunk."""

    def __init__(self, work: "SavedWork", window: int) -> None:
        self._work, self._window = work, window

    def load(self, kind: str) -> dict[int, "NDArray[np.float32]"]:
        from caseprep_pipelines.storage.saved_work import unpacked

        said: dict[int, NDArray[np.float32]] = {}
        for part in self._work.parts(f"{kind}-{self._window}.npz"):
            if arrays := unpacked(part):
                said.update(zip(arrays["chunks"].tolist(), arrays["said"], strict=True))
        return said

    def save(self, kind: str, said: "Mapping[int, NDArray[np.float32]]") -> None:
        import numpy as np

        from caseprep_pipelines.storage.saved_work import packed

        data = packed(chunks=np.array(list(said), dtype=np.int64), said=np.stack(list(said.values())))
        self._work.add(f"{kind}-{self._window}.npz", data)


def _draw(path: Path, audio: NormalizedAudio, files: Path, raw: RawTranscript, turns: SpeakerTurns) -> None:
    from caseprep_pipelines.audio.waveform import draw, peaks

    rows = {channel.index: row for row, channel in enumerate(audio.distinct_channels)}
    draw(
        path,
        [peaks(files / channel.file) for channel in audio.distinct_channels],
        audio.duration_seconds,
        speech=[(rows[c.channel], span.start, span.end) for c in raw.channels for span in c.speech],
        turns=[(rows.get(turn.channel, 0), turn.speaker, turn.start, turn.end) for turn in turns.turns],
        flagged=[
            *((rows[c.channel], s.start, s.end) for c in raw.channels for s in c.segments if s.flags),
            *((rows[c.channel], span.start, span.end) for c in raw.channels for span in c.flagged),
        ],
    )


def shaped_by(settings: Settings) -> Mapping[str, Any]:
    return {
        "model": installed_digest(resolve_diarization, settings.diarization, settings.models_directory),
        "speakers": [settings.min_speakers, settings.max_speakers],
        "window_seconds": settings.diarization_window_seconds,
    }


STAGE = Stage(
    name="speaker_turns",
    upstream=("source_recording", "normalized_audio", "raw_transcript"),
    make_many=make_many,
    description=(
        "Who spoke when: turns as heard, which may overlap, and exclusive ones, with confidence. Where every speaker "
        "has a channel, the channel is the speaker. With RTTM and a picture of waveform, speech, speakers and flags."
    ),
    kinds=frozenset({"json", "pyannote", "gpu"}),
    batch=40,
    matter_fields=("min_speakers", "max_speakers"),
    checks=(REAL_MODELS,),
    shaped_by=shaped_by,
    gpu=True,
)
