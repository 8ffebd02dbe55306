"""The command's own promises: quick help, one line for a mistake, the exit codes of the design."""

import json
from contextlib import closing
from pathlib import Path

import pytest

from caseprep_pipelines.catalog.database import open_catalog
from caseprep_pipelines_tests.conftest import caseprep, environment
from caseprep_pipelines_tests.report.archives import NAME, Kept, fill

COMMANDS = ["demo", "transcribe", "status", "verify", "export", "search", "report", "evaluate", "doctor", "models"]


def test_help_names_every_command(tmp_path: Path) -> None:
    shown = caseprep(["--help"], environment(tmp_path))
    assert shown.returncode == 0
    assert all(command in shown.stdout for command in COMMANDS)


@pytest.mark.parametrize("call", [[], ["models"]])
def test_help_says_of_each_command_what_it_does_without_cutting_it_short(tmp_path: Path, call: list[str]) -> None:
    shown = caseprep([*call, "--help"], environment(tmp_path, COLUMNS="80"))
    assert "..." not in shown.stdout.partition("Commands:")[2]
    assert max(map(len, shown.stdout.splitlines())) <= 80


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_its_own_help(tmp_path: Path, command: str) -> None:
    assert caseprep([command, "--help"], environment(tmp_path)).returncode == 0


WRONG = [["no-such-command"], ["transcribe"], ["export"], ["search"], ["evaluate"], ["status", "--nonsense"]]


@pytest.mark.parametrize("call", WRONG)
def test_wrong_usage_is_exit_code_2_without_a_traceback(tmp_path: Path, call: list[str]) -> None:
    finished = caseprep(call, environment(tmp_path))
    assert finished.returncode == 2
    assert "Traceback" not in finished.stderr


def test_before_there_is_anything_everything_says_so(tmp_path: Path) -> None:
    own = environment(tmp_path)
    assert "No recordings yet" in caseprep(["status"], own).stdout
    assert caseprep(["search", "anything"], own).stdout.strip() == "Nothing found."
    assert "No recordings yet" in caseprep(["report"], own).stdout
    assert caseprep(["verify"], own).returncode == 0
    unknown = caseprep(["status", "nobody.wav"], own)
    assert unknown.returncode == 2
    assert "nobody.wav" in unknown.stderr


def test_the_report_has_a_row_for_each_day_and_matter(tmp_path: Path) -> None:
    own = environment(tmp_path)
    with closing(open_catalog(f"sqlite:///{tmp_path / 'storage' / 'catalog.sqlite'}")) as catalog:
        fill(catalog, [Kept("2024-cv-1", hours=2), Kept("2024-cv-2", ends="rejected")])
    shown = caseprep(["report"], own).stdout
    assert all(row in shown for row in ("2024-05-06", "2024-cv-1", "2024-cv-2", "all"))
    assert "g6.xlarge" in shown
    assert NAME not in shown
    assert json.loads(caseprep(["report", "--json"], own).stdout)["total"]["hours_done"] == 2.0
    unknown = caseprep(["report"], {**own, "CASEPREP_CPU_INSTANCE": "c99.xlarge"})
    assert unknown.returncode == 2
    assert "CASEPREP_CPU_INSTANCE" in unknown.stderr


def test_the_shipped_models_are_listed_and_as_pinned(tmp_path: Path) -> None:
    own = environment(tmp_path)
    assert "demo" in caseprep(["models", "list"], own).stdout
    assert caseprep(["models", "verify", "demo"], own).returncode == 0
