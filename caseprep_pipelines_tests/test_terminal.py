"""The closing table keeps its columns, and what people must know stands below it."""

import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from caseprep_pipelines import terminal
from caseprep_pipelines.rejections import REMEDIES, Reason


def entry(name: str, status: str = "done", **more: Any) -> dict[str, Any]:
    figures = {"duration_seconds": 4_210.0, "speakers": 3, "words": 10_211, "flagged": 12, "folder": "m/x"}
    return {"input": name, "status": status, "reason": None, **(figures if status == "done" else {}), **more}


REMEDY = REMEDIES[Reason.TRUNCATED]
SUMMARY = [
    entry("a-deposition-with-a-very-long-name-that-nobody-shortened-2024-03-04.m4a", notes=["Sound is missing."]),
    entry("ende.wav"),
    entry("half.wav", "rejected", reason="truncated", detail="states 6.0 s and holds 3.0 s", remedy=REMEDY),
    entry("changing.wav", "rejected", reason="changed-during-reading", remedy="Wait."),
    entry("broken.ts", "failed", reason="the disk is full; free some " + "space " * 30, remedy="Run it again."),
]  # fmt: skip


def printed(summary: list[dict[str, Any]], width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width).print(terminal.summary_table(summary, width))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 100, 200])
def test_every_recording_has_one_line_and_no_line_is_cut(width: int) -> None:
    lines = printed(SUMMARY, width)
    assert len(lines) == 1 + len(SUMMARY)
    assert all(len(line.rstrip()) <= width for line in lines)
    assert lines[0].split() == ["Recording", "Result", "Length", "Speakers", "Words", "Flagged"]
    assert [line.split()[-4:] for line in lines[1:3]] == [["1:10:10", "3", "10211", "12"]] * 2
    assert lines[1].split()[0].endswith("04.m4a")


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=120).map(lambda text: f"x{text.replace('/', '')}")


@given(NAMES, st.sampled_from([str(reason) for reason in Reason]), st.integers(80, 160))
def test_no_name_and_no_reason_moves_the_columns(name: str, reason: str, width: int) -> None:
    summary = [*SUMMARY, entry(name), entry(name, "rejected", reason=reason)]
    lines = printed(summary, width)
    assert len(lines) == 1 + len(summary)
    assert all(line.split()[-1] == "12" for line in (lines[1], lines[2], lines[6]))


def test_below_the_table_stands_why_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_summary(SUMMARY, Path("out"))
    said = capsys.readouterr().out
    assert "2024-03-04.m4a: Sound is missing." in said
    assert "half.wav: rejected (truncated: states 6.0 s and holds 3.0 s). The file ends before" in said
    assert "--accept-truncated" in said
    assert "broken.ts: failed. the disk is full; free some space" in said
    assert said.count("Run it again.") == 1


def test_a_name_with_line_ends_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_summary([entry("line\nbreak\u202e.wav", notes=["Sound is missing."])], Path("out"))
    assert "line\ufffdbreak\ufffd.wav: Sound is missing." in capsys.readouterr().out.splitlines()
