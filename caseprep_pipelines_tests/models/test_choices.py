from pathlib import Path

import pytest

from caseprep_pipelines.models.choices import CHOICES, Machine, recommended
from caseprep_pipelines_tests.conftest import caseprep, environment

GIB = 2**30


@pytest.mark.parametrize(
    ("memory", "best"),
    [(None, "starter"), (4 * GIB, "small"), (6 * GIB, "large-v3-turbo"), (8 * GIB - 2**28, "large-v3-turbo")],
)
def test_what_is_recommended_fits_the_machine(memory: int | None, best: str) -> None:
    name, why = recommended(Machine(memory))
    assert name == best
    assert name in why
    assert name in {choice.name for choice in CHOICES}


def test_fetch_without_a_name_shows_what_there_is_and_what_suits_here(tmp_path: Path) -> None:
    shown = caseprep(["models", "fetch"], environment(tmp_path, CASEPREP_DEVICE="cpu", COLUMNS="80"))
    assert shown.returncode == 0
    assert "starter *\n" in shown.stdout
    assert "no GPU" in shown.stdout
    assert "`caseprep models fetch starter`" in shown.stdout
    assert "pyannote/speaker-diarization-community-1" in shown.stdout
    assert not (tmp_path / "models").exists()
