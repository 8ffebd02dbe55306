"""`caseprep evaluate` over what the demo left in its storage, and over the folder that it wrote."""

import json
from pathlib import Path

import pytest

from caseprep_pipelines import demo as shipped
from caseprep_pipelines_tests.conftest import DemoRun, caseprep

REFERENCES = Path(shipped.__file__).parent / "references"


@pytest.mark.parametrize("where", ["storage", "folder"])
def test_the_demo_is_held_against_its_own_references(demo: DemoRun, where: str) -> None:
    place = [] if where == "storage" else ["--transcripts", str(demo.out)]
    finished = caseprep(["evaluate", REFERENCES, *place, "--json"], demo.environment())
    assert finished.returncode == 0, finished.stderr or finished.stdout
    rows = json.loads(finished.stdout)["rows"]
    recordings = [row for row in rows if row["level"] == "recording"]
    assert len(recordings) == len(list(REFERENCES.iterdir()))
    total = rows[-1]
    assert total["wer"] < 0.1
    assert total["cpwer"] < 0.15
    assert total["recall_negations"] > 0.9
