"""Killed at any moment: the next run is not blocked, finished work is kept, and everything ends whole."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from caseprep_pipelines.demo import demo_recordings
from caseprep_pipelines_tests.conftest import caseprep, environment
from caseprep_pipelines_tests.end_to_end.stopping import SHORT, STOPPED, products


@pytest.mark.parametrize("point", ["in:speaker_turns:9", "after:raw_transcript:9"])
def test_after_a_kill_the_same_command_finishes_the_work(tmp_path: Path, point: str) -> None:
    own = environment(tmp_path)
    call = ["transcribe", str(SHORT), "--out", str(tmp_path / "out"), "--json"]
    killed = subprocess.run([sys.executable, "-c", STOPPED, point, *call], env=own, capture_output=True, timeout=300)
    assert killed.returncode == -9, killed.stderr.decode()
    before = products(tmp_path)
    assert before

    finished = caseprep(call, own)
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)[0]["status"] == "done"
    after = products(tmp_path)
    assert {name: after[name] for name in before} == before
    assert len([name for name in after if name.startswith("raw_transcript/")]) == 1
    checked = caseprep(["verify"], own)
    assert checked.returncode == 0, checked.stdout
    assert_nothing_is_done_twice(call, own, tmp_path, json.loads(finished.stdout))
    assert_a_touched_product_is_named(own, tmp_path)


def assert_nothing_is_done_twice(
    call: list[str], own: dict[str, str], folder: Path, first: list[dict[str, object]]
) -> None:
    before = products(folder)
    assert json.loads(caseprep(call, own).stdout) == first
    assert products(folder) == before
    exported = caseprep(["export", "roadside-camera", "--format", "srt", "--out", folder / "again"], own)
    assert exported.returncode == 0, exported.stderr
    assert [Path(line).name for line in exported.stdout.splitlines()] == ["transcript.srt"]
    assert {name.split("/")[0] for name in set(products(folder)) - set(before)} == {"transcript_exports"}


def assert_a_touched_product_is_named(own: dict[str, str], folder: Path) -> None:
    transcript = next((folder / "storage" / "derived" / "transcript").rglob("transcript.json"))
    transcript.write_bytes(transcript.read_bytes().replace(b"SPEAKER_00", b"SPEAKER_01", 1))
    checked = caseprep(["verify"], own)
    assert checked.returncode == 1
    assert "transcript.json" in checked.stdout


def test_two_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    own = environment(tmp_path)
    phone, another = next(demo.path for demo in demo_recordings() if demo.path.suffix == ".wav"), tmp_path / "call.wav"
    samples, rate = soundfile.read(phone)
    soundfile.write(another, samples[: 12 * rate], rate)
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "caseprep_pipelines", "transcribe", str(path), "--out", str(out), "--json"],
            env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for path, out in ((SHORT, tmp_path / "first"), (another, tmp_path / "second"))
    ]  # fmt: skip
    for process in running:
        stdout, stderr = process.communicate(timeout=400)
        assert process.returncode == 0, stderr
        assert json.loads(stdout)[0]["status"] == "done"
