"""A stage that was stopped in the middle of a recording goes on where it was, and its product shows no trace of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from caseprep_pipelines_tests.conftest import caseprep, environment
from caseprep_pipelines_tests.end_to_end.stopping import SHORT, STOPPED, products


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("whole")
    finished = caseprep(["transcribe", SHORT, "--out", folder / "out"], environment(folder))
    assert finished.returncode == 0, finished.stderr
    return digests(folder)


@pytest.mark.parametrize("point", ["raw_transcript:9", "raw_transcript:15", "speaker_turns:9"])
def test_a_stage_goes_on_with_what_was_put_away(tmp_path: Path, point: str, uninterrupted: dict[str, str]) -> None:
    stage, number = point.split(":")
    own = environment(tmp_path, CASEPREP_BATCH_SIZE="2")
    call = ["transcribe", str(SHORT), "--out", str(tmp_path / "out"), "--json"]
    stopped = subprocess.run(
        [sys.executable, "-c", STOPPED, f"saved:{point}", *call], env=own, capture_output=True, timeout=300
    )
    # a SIGTERM lets the work in hand be finished, a SIGKILL does not
    assert (stopped.returncode == -9) if number == "9" else (stopped.returncode > 0)
    assert list((tmp_path / "storage" / "checkpoints" / stage).rglob("*.*"))

    finished = caseprep(call, own)
    assert finished.returncode == 0, finished.stderr
    assert digests(tmp_path) == uninterrupted
    assert not [path for path in (tmp_path / "storage" / "checkpoints").rglob("*") if path.is_file()]


def digests(folder: Path) -> dict[str, str]:
    """Digest of every product, by stage and recording; but for the registration, which says when it was."""
    made = {"/".join(name.split("/")[:2]): json.loads(data)["digest"] for name, data in products(folder).items()}
    return {name: digest for name, digest in made.items() if not name.startswith("source_recording/")}
