"""What `caseprep status` shows of a few recordings, and of more than fit a screen."""

from pathlib import Path

import pytest

from caseprep_pipelines import reporting
from caseprep_pipelines.assets import STAGES
from caseprep_pipelines.catalog import loading, progress, registry
from caseprep_pipelines.rejections import REMEDIES, Reason, Rejection
from caseprep_pipelines.resources.pipeline import Pipeline
from caseprep_pipelines.settings import read_settings

LAST = STAGES[-1].name


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return Pipeline(read_settings(storage=str(tmp_path / "storage"), dagster_home=tmp_path / "dagster"))


def register(pipeline: Pipeline, count: int, matter: str = "m1") -> list[str]:
    first = len(registry.all_partitions(pipeline.catalog))
    new = [
        registry.NewRecording(matter, f"call {n}.mp3", f"/calls/{n}", f"{n:064x}"[::-1])
        for n in range(first, first + count)
    ]
    return [entry.partition for entry in registry.register(pipeline.catalog, new, "test")]


def finish(pipeline: Pipeline, key: str, *notes: str) -> None:
    for stage in STAGES:
        progress.record_product(
            pipeline.catalog, key, stage.name, version="000001-a", digest="0" * 64, code_version="", inputs={},
            rejected=False, run_id="r", notes=notes if stage.name == "normalized_audio" else (),
        )  # fmt: skip


def fail(pipeline: Pipeline, key: str) -> None:
    loading.record_fault(pipeline.catalog, key, "transcript", "Fault", "the disk is full")


def reject(pipeline: Pipeline, key: str) -> None:
    reason = Reason.EMPTY
    loading.record_rejection(
        pipeline.catalog, Rejection(partition=key, stage="transcript", reason=reason, remedy=REMEDIES[reason])
    )


def test_few_recordings_are_all_shown(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    done, failed, rejected, waiting = register(pipeline, 4)
    finish(pipeline, done)
    fail(pipeline, failed)
    finish(pipeline, rejected)
    reject(pipeline, rejected)
    counts = reporting.print_status(pipeline, None, None)
    said = capsys.readouterr().out
    assert all(key in said for key in (done, failed, rejected, waiting))
    assert "4 recordings: 1 done, 1 waiting, 1 failed, 1 rejected." in said
    assert counts == {"done": 1, "waiting": 1, "failed": 1, "rejected": 1}


def test_what_cannot_be_taken_up_is_named_before_all(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline.objects.write_bytes("incoming/2024-CV-1/a.wav", b"a")
    reporting.print_status(pipeline, None, None)
    assert capsys.readouterr().out.startswith("incoming/2024-CV-1/ is not taken up: ")


def test_of_many_those_that_need_somebody_are_shown(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    keys = register(pipeline, 200)
    for key in keys[:60]:
        reject(pipeline, key)
    fail(pipeline, keys[150])
    reporting.print_status(pipeline, None, None)
    said = capsys.readouterr().out
    assert len(said.splitlines()) == 1 + reporting.ROWS + 2
    assert keys[150] in said.splitlines()[1]
    assert keys[199] not in said
    assert "200 recordings: 139 waiting, 1 failed, 60 rejected." in said
    assert "11 more failed or rejected" in said


@pytest.mark.parametrize("standing", ["done", "waiting", "failed", "rejected"])
def test_everyone_is_counted_where_each_row_says_that_it_stands(
    pipeline: Pipeline, standing: progress.Standing
) -> None:
    keys = register(pipeline, 12)
    register(pipeline, 3, "m2")
    for key in keys[:4]:
        finish(pipeline, key)
    for key in keys[2:6]:
        fail(pipeline, key)
    for key in keys[5:8]:
        reject(pipeline, key)
    rows = reporting.status(pipeline, only=standing)
    assert {row["status"] for row in rows} == {standing}
    assert progress.standings(pipeline.catalog, LAST)[standing] == len(rows)
    assert rows == [row for row in reporting.status(pipeline) if row["status"] == standing]
    assert progress.standings(pipeline.catalog, LAST, "m2")["waiting"] == 3


def test_asking_for_one_standing_shows_only_that(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    done, waiting = register(pipeline, 2)
    finish(pipeline, done)
    reporting.print_status(pipeline, None, "waiting")
    said = capsys.readouterr().out
    assert waiting in said
    assert done not in said
    assert "2 recordings: 1 done, 1 waiting." in said


def test_pages_of_any_length_give_every_recording_once(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = register(pipeline, 7)
    monkeypatch.setattr(reporting, "PAGE", 3)
    assert [row["recording"] for row in reporting.status(pipeline)] == keys
    assert [row["recording"] for row in reporting.status(pipeline, limit=5)] == keys[:5]


def test_what_people_must_hear_of_a_recording_is_said(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    (key,) = register(pipeline, 1)
    finish(pipeline, key, "Sound is missing.", "The file is 2 recordings.")
    reporting.print_status(pipeline, None, None)
    said = capsys.readouterr().out.splitlines()
    assert "call 0.mp3: Sound is missing." in said
    assert "call 0.mp3: The file is 2 recordings." in said
    (row,) = reporting.status(pipeline, key)
    assert row["notes"] == ["Sound is missing.", "The file is 2 recordings."]
    reporting.print_recordings([row])
    assert "  Sound is missing." in capsys.readouterr().out.splitlines()


def test_of_more_than_fit_a_screen_the_notes_are_counted(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = register(pipeline, reporting.ROWS + 2)
    for key in keys:
        finish(pipeline, key, "Sound is missing.")
    reporting.print_status(pipeline, None, None)
    assert f"{len(keys)} more with a note about their sound" in capsys.readouterr().out
    reporting.print_status(pipeline, "another", None)
    assert "note" not in capsys.readouterr().out
