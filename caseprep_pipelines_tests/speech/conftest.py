"""Real speech for the engines: the demo recordings' channels as FLAC, and the demo models, loaded once."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import settings

from caseprep_pipelines.audio.documents import ChannelAudio, NormalizedAudio
from caseprep_pipelines.speech.diarizer import Diarizer
from caseprep_pipelines.speech.whisper import WhisperTranscriber
from caseprep_pipelines_tests.spoken import bare

# two cores are shared with whatever else runs: how long an example takes says nothing
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

DEMO = Path(__file__).parents[2] / "caseprep_pipelines" / "demo"


def normalized(folder: Path, *channels: np.ndarray) -> NormalizedAudio:
    """The channels as FLAC in `folder`, and the document that names them."""
    for index, samples in enumerate(channels):
        soundfile.write(folder / f"{index}.flac", samples, 16_000, subtype="PCM_16")
    return NormalizedAudio(
        partition="m-0",
        source_sha256="0" * 64,
        duration_seconds=max(len(samples) for samples in channels) / 16_000,
        container_duration_seconds=None,
        channels=tuple(
            ChannelAudio(
                index=index,
                file=f"{index}.flac",
                sha256=f"{index:064d}",
                stream=0,
                channel_in_stream=index,
                samples=len(samples),
                loudness_lufs=None,
                peak_dbfs=None,
                rms_dbfs=None,
                clipped_ratio=0.0,
                silence_ratio=0.0,
            )
            for index, samples in enumerate(channels)
        ),
        libraries={},
    )


@dataclass(frozen=True)
class DemoRecording:
    folder: Path
    audio: NormalizedAudio
    reference: list[dict[str, Any]]

    @property
    def words(self) -> list[str]:
        return [bare(word) for said in self.reference for word in said["words"].split()]


def _demo(folder: Path, stem: str) -> DemoRecording:
    import av

    (path,) = (DEMO / "recordings").glob(f"{stem}.*")
    with av.open(path) as container:
        resampler = av.AudioResampler(format="fltp", rate=16_000)
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        frames += resampler.resample(None)
        samples = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
    reference = json.loads((DEMO / "references" / f"{stem}.json").read_text())
    return DemoRecording(folder, normalized(folder, *samples), reference)


@pytest.fixture(scope="session")
def deposition(tmp_path_factory: pytest.TempPathFactory) -> DemoRecording:
    return _demo(tmp_path_factory.mktemp("deposition"), "deposition-of-a-witness")


@pytest.fixture(scope="session")
def jail_call(tmp_path_factory: pytest.TempPathFactory) -> DemoRecording:
    return _demo(tmp_path_factory.mktemp("jail-call"), "jail-call")


@pytest.fixture(scope="session")
def courtroom(tmp_path_factory: pytest.TempPathFactory) -> DemoRecording:
    return _demo(tmp_path_factory.mktemp("courtroom"), "courtroom-excerpt")


@pytest.fixture(scope="session")
def roadside(tmp_path_factory: pytest.TempPathFactory) -> DemoRecording:
    return _demo(tmp_path_factory.mktemp("roadside"), "roadside-camera")


@pytest.fixture(scope="session")
def transcriber() -> WhisperTranscriber:
    from caseprep_pipelines.models.directories import resolve_whisper
    from caseprep_pipelines.speech.whisper import load_transcriber

    model = resolve_whisper("demo", Path("none"))
    return load_transcriber(model.path, model.identity, device="cpu")


@pytest.fixture(scope="session")
def diarizer() -> Diarizer:
    from caseprep_pipelines.models.directories import resolve_diarization
    from caseprep_pipelines.speech.pyannote_diarizer import load_diarizer

    model = resolve_diarization("demo", Path("none"))
    return load_diarizer(model.path, model.identity, device="cpu")
