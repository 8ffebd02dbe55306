"""Killed at any moment: the next run is not blocked, finished work is kept, and everything ends whole."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from caseprep_pipelines.demo import demo_recordings
from caseprep_pipelines_tests.conftest import caseprep, environment

SHORT = next(demo.path for demo in demo_recordings() if demo.path.name == "roadside-camera.mp4")

#: Runs the command in a process that sends itself a signal when it comes to the point that is named: in a stage, after
#: a stage's product, or after a stage has put away a part of its work.
KILLED = """
import os, signal, sys
import caseprep_pipelines.assets as assets
from caseprep_pipelines.assets import stage as machinery
where, name, number = sys.argv[1].split(":")

def die(*_arguments, **_named):
    os.kill(os.getpid(), int(number))

if where == "saved":
    from caseprep_pipelines.speech import diarizer, transcription
    from caseprep_pipelines.storage.saved_work import SavedWork
    diarizer.SAVE_SECONDS = transcription.SAVE_SECONDS = 0.0
    real_add, seen = SavedWork.add, []

    def add(self, kind, data):
        real_add(self, kind, data)
        if f"/{name}/" in self._folder and not seen:
            seen.append(kind)
            die()

    SavedWork.add = add
elif where == "in":
    chosen = next(stage for stage in assets.STAGES if stage.name == name)
    object.__setattr__(chosen, "make", die)
else:
    real = machinery.append_custody
    machinery.append_custody = lambda catalog, partition, entry: (
        die() if entry.asset == name else real(catalog, partition, entry)
    )
sys.argv[1:] = sys.argv[2:]
from caseprep_pipelines.cli import main
main()
"""


@pytest.mark.parametrize("point", ["in:speaker_turns:9", "after:raw_transcript:9"])
def test_after_a_kill_the_same_command_finishes_the_work(tmp_path: Path, point: str) -> None:
    own = environment(tmp_path)
    call = ["transcribe", str(SHORT), "--out", str(tmp_path / "out"), "--json"]
    killed = subprocess.run([sys.executable, "-c", KILLED, point, *call], env=own, capture_output=True, timeout=300)
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


@pytest.mark.parametrize("point", ["raw_transcript:9", "raw_transcript:15", "speaker_turns:9", "speaker_turns:15"])
def test_a_stage_goes_on_with_what_was_put_away(tmp_path: Path, point: str) -> None:
    stage, number = point.split(":")
    own = environment(tmp_path, CASEPREP_BATCH_SIZE="2")
    call = ["transcribe", str(SHORT), "--out", str(tmp_path / "out"), "--json"]
    stopped = subprocess.run(
        [sys.executable, "-c", KILLED, f"saved:{point}", *call], env=own, capture_output=True, timeout=300
    )
    assert stopped.returncode != 0
    parts = list((tmp_path / "storage" / "checkpoints" / stage).rglob("*.*"))
    assert parts
    # a SIGTERM lets the work in hand be finished, a SIGKILL does not
    assert (stopped.returncode == -9) == (number == "9")

    finished = caseprep(call, own)
    assert finished.returncode == 0, finished.stderr
    assert not [path for path in (tmp_path / "storage" / "checkpoints").rglob("*") if path.is_file()]

    whole = environment(tmp_path / "whole")
    assert caseprep([*call[:-2], str(tmp_path / "whole" / "out"), "--json"], whole).returncode == 0
    assert digests(tmp_path) == digests(tmp_path / "whole")


def digests(folder: Path) -> dict[str, str]:
    """Digest of every product, by stage and recording; but for the registration, which says when it was."""
    made = {"/".join(name.split("/")[:2]): json.loads(data)["digest"] for name, data in products(folder).items()}
    return {name: digest for name, digest in made.items() if not name.startswith("source_recording/")}


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


def products(folder: Path) -> dict[str, bytes]:
    """Manifests of all product versions, by their place."""
    derived = folder / "storage" / "derived"
    return {str(path.relative_to(derived)): path.read_bytes() for path in derived.rglob("manifest.json")}


def test_two_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    own = environment(tmp_path)
    phone = next(demo.path for demo in demo_recordings() if demo.path.suffix == ".wav")
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "caseprep_pipelines.cli", "transcribe", str(path), "--out", str(out), "--json"],
            env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for path, out in ((SHORT, tmp_path / "first"), (phone, tmp_path / "second"))
    ]  # fmt: skip
    for process in running:
        stdout, stderr = process.communicate(timeout=400)
        assert process.returncode == 0, stderr
        assert json.loads(stdout)[0]["status"] == "done"
