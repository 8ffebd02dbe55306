"""An archive from its manifest on, as its owner takes it in."""

import json
import signal
import subprocess
from pathlib import Path

import dagster as dg
import pytest

from caseprep_pipelines_tests.conftest import COMMAND, caseprep, environment


def manifest(folder: Path, rows: int, *more: str) -> Path:
    """Rows of files that are there, with a digest so that nobody needs to read them, and `more` rows."""
    (folder / "tape.wav").write_bytes(b"sound")
    path = folder / "archive.csv"
    lines = [f"tape.wav,2019-cv-{number % 7},{number:064x}" for number in range(rows)]
    path.write_text("\n".join(["location,matter,sha256", *lines, *more]) + "\n")
    return path


def partitions(own: dict[str, str]) -> list[str]:
    with dg.DagsterInstance.from_config(own["CASEPREP_DAGSTER_HOME"]) as instance:
        return list(instance.get_dynamic_partitions("recordings"))


def test_bad_rows_are_named_and_the_others_are_there_in_dagster(tmp_path: Path) -> None:
    own = environment(tmp_path)
    path = manifest(tmp_path, 30, "gone.wav,2019-cv-1,", "tape.wav,Doe v. Roe,", "tape.wav,2019-cv-0," + "0" * 64)
    finished = caseprep(["archive", "register", path, "--json"], own)
    assert finished.returncode == 1, finished.stderr
    assert json.loads(finished.stdout) == {"registered": 30, "known": 1, "refused": 2}
    lines = [line for line in finished.stderr.splitlines() if str(path) in line]
    assert [line.split(": ")[0] for line in lines] == [f"{path}, line 32", f"{path}, line 33"]
    assert len(partitions(own)) == 30

    path.write_text("\n".join(path.read_text().splitlines()[:31]))
    again = caseprep(["archive", "register", path], own)
    assert again.returncode == 0, again.stderr
    assert "0 registered, 30 known before, 0 refused" in again.stdout
    assert len(partitions(own)) == 30


def test_a_quote_without_its_end_costs_its_own_row_only(tmp_path: Path) -> None:
    own = environment(tmp_path)
    rows = [f"tape.wav,2019-cv-9,{number:064x}" for number in range(100, 104)]
    path = manifest(tmp_path, 3, f'"{rows[0]}', ",,", rows[1], f'"{rows[2].replace(",", chr(34) + ",", 1)}', rows[3])
    finished = caseprep(["archive", "register", path, "--json"], own)
    assert finished.returncode == 1, finished.stderr
    assert json.loads(finished.stdout) == {"registered": 6, "known": 0, "refused": 1}
    (line,) = [line for line in finished.stderr.splitlines() if str(path) in line]
    assert line.startswith(f"{path}, line 5: the quote at character 1 has no end in its line")
    assert len(partitions(own)) == 6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{1}"], "column 2 is a second column `location`"),
        (["nowhere.csv"], "no file or folder"),
        (["s3://"], "s3://bucket/prefix/"),
        (["{0}", "--matter", "Doe v. Roe"], "no matter id"),
    ],
)
def test_a_wrong_call_is_told_in_one_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    path = manifest(tmp_path, 1)
    (tmp_path / "twice.csv").write_text("location,Location\na.wav,b.wav\n")
    given = [argument.format(path, path.with_name("twice.csv")) for argument in arguments]
    finished = caseprep(["archive", "register", *given], environment(tmp_path))
    assert finished.returncode == 2
    assert said in finished.stderr
    assert len(finished.stderr.splitlines()) == 1


def test_a_registration_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    own = environment(tmp_path)
    rows = 25_000
    path = manifest(tmp_path, rows)
    with subprocess.Popen(
        [COMMAND, "archive", "register", path], env=own, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        process.send_signal(signal.SIGKILL)
    assert "10,000 registered" in first
    finished = caseprep(["archive", "register", path, "--json"], own)
    summary = json.loads(finished.stdout)
    assert finished.returncode == 0, finished.stderr
    assert summary["known"] >= 10_000
    assert summary["registered"] + summary["known"] == rows
    assert len(partitions(own)) == rows


def test_the_plan_before_anything_was_measured_says_so(tmp_path: Path) -> None:
    own = environment(tmp_path, CASEPREP_ARCHIVE_BUDGET_HOURS="2", CASEPREP_ARCHIVE_TIME_ZONE="Europe/Berlin")
    caseprep(["archive", "register", manifest(tmp_path, 3)], own)
    shown = caseprep(["archive", "plan"], own)
    assert shown.returncode == 0, shown.stderr
    assert "3 recordings" in shown.stdout
    assert "Nothing was measured yet" in shown.stdout
    plan = json.loads(caseprep(["archive", "plan", "--json"], own).stdout)
    assert (plan["recordings"], plan["seconds_per_audio_hour"], plan["cost_usd"]) == (3, None, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CASEPREP_ARCHIVE_WINDOW_START", "8 pm"),
        ("CASEPREP_ARCHIVE_TIME_ZONE", "Berlin/Mitte"),
        ("CASEPREP_ARCHIVE_BUDGET_USD", "-1"),
        ("CASEPREP_ARCHIVE_ORDER", "oldest"),
    ],
)
def test_a_wrong_setting_is_told_in_one_line(tmp_path: Path, name: str, value: str) -> None:
    shown = caseprep(["archive", "plan"], environment(tmp_path, **{name: value}))
    assert (shown.returncode, len(shown.stderr.splitlines())) == (2, 1)
    assert name in shown.stderr
