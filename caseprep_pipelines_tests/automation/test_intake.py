"""Taking up uploads: never twice, never half-written, whatever the daemon and the clocks did."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caseprep_pipelines.automation.intake import misplaced, settled, take_new
from caseprep_pipelines.catalog import registry
from caseprep_pipelines.resources.pipeline import Pipeline
from caseprep_pipelines.settings import read_settings
from caseprep_pipelines.storage.recordings import is_recording

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return Pipeline(read_settings(storage=str(tmp_path / "storage"), dagster_home=tmp_path / "dagster"))


def put(pipeline: Pipeline, name: str, content: bytes = b"sound", at: datetime = NOW) -> Path:
    path = Path(pipeline.settings.storage) / "incoming" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (at.timestamp(), at.timestamp()))
    return path


def test_a_file_is_taken_when_it_has_settled_and_never_again(pipeline: Pipeline) -> None:
    put(pipeline, "2024-cv-1/call.wav")
    first = take_new(pipeline, NOW)
    assert (first.new, first.settling) == ((), 1)
    second = take_new(pipeline, LATER)
    assert len(second.new) == 1
    assert take_new(pipeline, LATER + timedelta(days=1)).new == ()
    row = registry.recording(pipeline.catalog, second.new[0])
    assert row is not None
    assert (row.matter, row.name) == ("2024-cv-1", "call.wav")


def test_a_file_that_is_still_written_is_left(pipeline: Pipeline) -> None:
    put(pipeline, "2024-cv-1/call.wav", b"half")
    take_new(pipeline, NOW)
    put(pipeline, "2024-cv-1/call.wav", b"half and half", at=NOW)
    assert take_new(pipeline, LATER).new == ()
    assert len(take_new(pipeline, LATER + timedelta(minutes=5)).new) == 1


def test_an_old_time_stamp_does_not_make_a_new_file_whole(pipeline: Pipeline) -> None:
    put(pipeline, "2024-cv-1/copied.wav", at=NOW - timedelta(days=900))
    assert take_new(pipeline, NOW).new == ()


def test_two_files_of_one_second_are_both_taken(pipeline: Pipeline) -> None:
    put(pipeline, "2024-cv-1/a.wav", b"a")
    put(pipeline, "2024-cv-1/b.wav", b"b")
    take_new(pipeline, NOW)
    assert len(take_new(pipeline, LATER).new) == 2


def test_what_arrived_while_nobody_looked_is_taken(pipeline: Pipeline) -> None:
    for number in range(5):
        put(pipeline, f"2024-cv-1/{number}.wav", str(number).encode(), at=NOW - timedelta(hours=number))
    take_new(pipeline, NOW + timedelta(days=1))
    assert len(take_new(pipeline, NOW + timedelta(days=1, minutes=5)).new) == 5


def test_the_same_bytes_twice_in_a_matter_are_one_recording(pipeline: Pipeline) -> None:
    put(pipeline, "2024-cv-1/a.wav")
    put(pipeline, "2024-cv-1/copy of a.wav")
    put(pipeline, "2024-cv-2/a.wav")
    take_new(pipeline, NOW)
    assert len(take_new(pipeline, LATER).new) == 2


def test_new_bytes_under_an_old_name_are_a_new_recording(pipeline: Pipeline) -> None:
    put(pipeline, "2024-cv-1/a.wav", b"first")
    take_new(pipeline, NOW)
    first = take_new(pipeline, LATER).new
    put(pipeline, "2024-cv-1/a.wav", b"second", at=LATER)
    take_new(pipeline, LATER)
    second = take_new(pipeline, LATER + timedelta(minutes=5)).new
    assert len(second) == 1
    assert second != first


def test_a_tick_takes_its_share_and_the_next_one_the_rest(tmp_path: Path) -> None:
    settings = read_settings(storage=str(tmp_path / "s"), dagster_home=tmp_path / "d", sensor_max_new=2)
    pipeline = Pipeline(settings)
    for number in range(5):
        put(pipeline, f"2024-cv-1/{number}.wav", str(number).encode())
    take_new(pipeline, NOW)
    taken = [take_new(pipeline, LATER) for _ in range(3)]
    assert [len(intake.new) for intake in taken] == [2, 2, 1]
    assert [intake.left for intake in taken] == [3, 1, 0]


def test_folders_that_are_no_matters_are_told_and_loose_files_are_unfiled(pipeline: Pipeline) -> None:
    put(pipeline, "Doe v. Roe/a.wav", b"a")
    put(pipeline, "loose.wav", b"b")
    take_new(pipeline, NOW)
    intake = take_new(pipeline, LATER)
    assert (len(intake.new), intake.misplaced) == (1, 1)
    assert intake.new[0].startswith("unfiled-")


def test_each_folder_that_is_no_matter_is_named_with_what_to_do_while_recordings_lie_in_it(pipeline: Pipeline) -> None:
    put(pipeline, "2024-CV-1/a.wav", b"a")
    put(pipeline, "2024-cv-2/a.wav", b"b")
    put(pipeline, "Notes on it/.DS_Store", b"c")
    (line,) = misplaced(pipeline)
    assert line.startswith("incoming/2024-CV-1/ is not taken up: '2024-CV-1' is no matter id: use the firm's number")


@pytest.mark.parametrize(
    "name",
    [".hidden.wav", "matter/.DS_Store", "matter/matter.toml", "matter/call.wav.part", "matter/call.WAV.TMP", "a/b~"],
)
def test_what_is_no_recording_is_left_alone(name: str) -> None:
    assert not is_recording(name)


@given(since=st.integers(0, 120), modified=st.integers(-120, 120), settle=st.integers(1, 60))
def test_settled_means_that_both_clocks_have_stood_still(since: int, modified: int, settle: int) -> None:
    whole = settled(NOW - timedelta(seconds=since), NOW - timedelta(seconds=modified), NOW, timedelta(seconds=settle))
    assert whole == (since >= settle and modified >= settle)


def test_a_listing_that_took_all_the_time_still_leaves_some_to_take_something_up(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(pipeline, "2024-cv-1/a.wav")
    take_new(pipeline, NOW)
    clock = iter([0.0, *[31.0] * 5])  # the listing ends a second after the tick's time
    monkeypatch.setattr("caseprep_pipelines.automation.intake.time", SimpleNamespace(monotonic=lambda: next(clock)))
    assert len(take_new(pipeline, LATER).new) == 1
