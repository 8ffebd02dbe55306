"""Recordings that lose sound say so wherever somebody looks: table, status, summary, every file that is written."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from caseprep_pipelines.demo import demo_recordings
from caseprep_pipelines_tests.conftest import caseprep, environment

PHONE = next(demo.path for demo in demo_recordings() if demo.path.suffix == ".wav")
FORMATS = "json,txt,srt,vtt,rttm,ctm,seglst"


@pytest.fixture(scope="module")
def speech() -> tuple[np.ndarray, int]:
    samples, rate = soundfile.read(PHONE, dtype="float32")
    return samples[: 12 * rate], rate


def test_a_truncated_original_is_worked_on_when_somebody_says_so(
    tmp_path: Path, speech: tuple[np.ndarray, int]
) -> None:
    samples, rate = speech
    soundfile.write(tmp_path / "whole.wav", samples, rate)
    data = (tmp_path / "whole.wav").read_bytes()
    half = tmp_path / "half.wav"
    half.write_bytes(data[: 44 + (len(data) - 44) // 2])
    own = environment(tmp_path)
    wanted = ["transcribe", half, "--out", tmp_path / "out", "--format", FORMATS]

    refused = caseprep(wanted, own)
    assert refused.returncode == 1
    assert "half.wav: rejected (truncated: states 12.0 s and holds 6.0 s)." in refused.stdout
    assert "--accept-truncated" in refused.stdout

    accepted = caseprep([*wanted, "--accept-truncated"], own)
    assert accepted.returncode == 0, accepted.stderr
    notice = "The original is truncated: its data chunk states 0:12 and it holds 6.0 s."
    assert f"half.wav: {notice}" in accepted.stdout
    (entry,) = json.loads((tmp_path / "out" / "summary.json").read_text())["recordings"]
    assert (entry["status"], entry["notes"]) == ("done", [notice])
    assert entry["words"] > 3
    folder = tmp_path / "out" / entry["folder"]
    assert len(entry["files"]) == 7
    for file in entry["files"]:
        text = " ".join((folder / file).read_text().replace("_", " ").split())
        assert notice in text, file
    assert notice in caseprep(["status"], own).stdout
    assert f"  {notice}" in caseprep(["status", "half.wav"], own).stdout.splitlines()

    # what was accepted once stays
    again = caseprep(wanted, own)
    assert again.returncode == 0
    assert notice in again.stdout
    assert caseprep(["verify"], own).returncode == 0


def test_a_matter_can_accept_truncated_originals(tmp_path: Path, speech: tuple[np.ndarray, int]) -> None:
    samples, rate = speech
    soundfile.write(tmp_path / "whole.wav", samples, rate)
    data = (tmp_path / "whole.wav").read_bytes()
    (tmp_path / "half.wav").write_bytes(data[: 44 + (len(data) - 44) // 2])
    own = environment(tmp_path)
    settings = Path(own["CASEPREP_STORAGE"]) / "incoming" / "2024-cv-1" / "matter.toml"
    settings.parent.mkdir(parents=True)
    wanted = ["transcribe", tmp_path / "half.wav", "--matter", "2024-cv-1", "--out", tmp_path / "out", "--json"]
    settings.write_text("accept_truncated = true\n")
    assert json.loads(caseprep(wanted, own).stdout)[0]["status"] == "done"
    settings.write_text("accept_truncated = false\n")
    assert json.loads(caseprep(wanted, own).stdout)[0]["reason"] == "truncated"


def test_two_files_joined_end_to_end_are_both_transcribed_and_told(
    tmp_path: Path, speech: tuple[np.ndarray, int]
) -> None:
    samples, rate = speech
    soundfile.write(tmp_path / "one.wav", samples[: 6 * rate], rate)
    soundfile.write(tmp_path / "two.wav", np.stack([samples[6 * rate :]] * 2, axis=1), rate)
    both = tmp_path / "both.wav"
    both.write_bytes((tmp_path / "one.wav").read_bytes() + (tmp_path / "two.wav").read_bytes())
    finished = caseprep(["transcribe", both, "--out", tmp_path / "out"], environment(tmp_path))
    assert finished.returncode == 0, finished.stderr
    assert "both.wav: The file is 2 recordings one after the other; all were used." in finished.stdout
    (entry,) = json.loads((tmp_path / "out" / "summary.json").read_text())["recordings"]
    assert entry["duration_seconds"] == pytest.approx(12, abs=0.01)
