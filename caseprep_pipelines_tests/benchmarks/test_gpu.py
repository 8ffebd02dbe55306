"""The GPU's benchmark with everything but the GPU: the demo models, a CPU, and a program that says how busy it is."""

import json
import os
import sys
import time
from pathlib import Path

import pytest
import soundfile

from benchmarks import Unavailable, __main__, gpu
from benchmarks.short_clips import Model
from caseprep_pipelines.models.directories import resolve_diarization, resolve_whisper
from caseprep_pipelines_tests.speech.conftest import DEMO


@pytest.fixture
def call(tmp_path: Path) -> Path:
    from faster_whisper import decode_audio

    path = tmp_path / "call.flac"
    soundfile.write(path, decode_audio(str(DEMO / "recordings" / "roadside-camera.mp4"))[: 16_000 * 15], 16_000)
    return path


@pytest.fixture(autouse=True)
def one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "ROUNDS", 1)


def test_transcription_is_compared_with_its_peer_and_its_engine(call: Path) -> None:
    demo = resolve_whisper("demo", Path("none"))
    result = gpu.transcription(Model(demo.path, demo.identity.clip_seconds), [call], "cpu")
    assert set(result.ratios) == {"short_clips_vs_faster_whisper"}
    assert all(float(figure) > 0 for figure in result.figures.values())
    assert float(result.figures["transcription_times_the_bound"]) > 0.5


@pytest.mark.filterwarnings("ignore")
def test_diarization_is_compared_with_its_peer_and_its_engine(call: Path) -> None:
    result = gpu.diarization(resolve_diarization("demo", Path("none")).path, call, "cpu")
    assert set(result.ratios) == {"diarization_vs_pyannote"}
    assert all(float(figure) > 0 for figure in result.figures.values())


def test_how_busy_the_gpu_is_comes_from_its_own_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho 40\necho 60\necho > {tmp_path}/ready\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with gpu._utilisation("cuda") as seen:
        deadline = time.monotonic() + 30
        while not (tmp_path / "ready").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert seen == [40.0, 60.0]
    with gpu._utilisation("cpu") as seen:
        pass
    assert seen == []


def test_without_a_gpu_it_says_so_in_a_line_and_earlier_figures_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Unavailable, match="no NVIDIA GPU"):
        gpu.run()
    monkeypatch.setattr(sys, "argv", ["benchmarks", "gpu"])
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    assert ended.value.code == 2

    monkeypatch.setattr(__main__, "HERE", tmp_path)
    skipped = {"benchmark": "gpu", "unavailable": "no NVIDIA GPU is at hand"}
    __main__.write_results([skipped])
    assert "Not run: no NVIDIA GPU is at hand." in (tmp_path / "RESULTS.md").read_text()
    measured = {"benchmark": "gpu", "ratios": {}, "figures": {"device": "H200", "date": "2026-01-01"}}
    __main__.write_results([measured])
    __main__.write_results([skipped])
    assert "| `device` | H200 |" in (tmp_path / "RESULTS.md").read_text()
    assert json.dumps(__main__.sections((tmp_path / "RESULTS.md").read_text())).count("##") == 1
