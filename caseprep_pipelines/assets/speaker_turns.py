"""Stage 4, `speaker_turns`: who spoke when, by pyannote or, where each channel is a speaker, by the channels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from caseprep_pipelines.assets.stage import Made, Recording, Stage, installed_digest
from caseprep_pipelines.audio.documents import NormalizedAudio, SourceRecording
from caseprep_pipelines.models.directories import resolve_diarization
from caseprep_pipelines.settings import Settings
from caseprep_pipelines.speech.documents import RawTranscript, SpeakerTurns


def make(recording: Recording) -> Made:
    from caseprep_pipelines.renditions.rttm import turns_rttm
    from caseprep_pipelines.speech.diarization import diarize
    from caseprep_pipelines.speech.diarizer import DiarizeOptions

    source = recording.document("source_recording", SourceRecording)
    audio = recording.document("normalized_audio", NormalizedAudio)
    raw = recording.document("raw_transcript", RawTranscript)
    matter = recording.matter(source.matter)
    fewest = matter.min_speakers or recording.settings.min_speakers
    most = matter.max_speakers or recording.settings.max_speakers
    files = recording.files("normalized_audio", tuple(channel.file for channel in audio.distinct_channels))
    turns = diarize(
        audio,
        files,
        raw,
        lambda: recording.pipeline.diarizer,
        DiarizeOptions(fewest, most, recording.settings.diarization_window_seconds),
        recording.progress(audio.duration_seconds),
    )
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
        audio_seconds=audio.duration_seconds,
        record={"device": recording.pipeline.diarizer.device} if turns.model else {},
        links={"waveform": "waveform.png", "rttm": "turns.rttm"},
        models={"diarization": turns.model.digest} if turns.model else {},
    )


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
    make=make,
    description=(
        "Who spoke when: turns as heard, which may overlap, and exclusive ones, with confidence. Where every speaker "
        "has a channel, the channel is the speaker. With RTTM and a picture of waveform, speech, speakers and flags."
    ),
    kinds=frozenset({"json", "pyannote", "gpu"}),
    batch=40,
    matter_fields=("min_speakers", "max_speakers"),
    shaped_by=shaped_by,
    gpu=True,
)
