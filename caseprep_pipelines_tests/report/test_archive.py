"""The report's figures, on both databases."""

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, event

from caseprep_pipelines.catalog.database import Catalog
from caseprep_pipelines.catalog.tables import Base
from caseprep_pipelines.report import shown
from caseprep_pipelines.report.archive import archive_report, write_tables
from caseprep_pipelines.report.prices import Rates
from caseprep_pipelines_tests.report.archives import MONDAY, NAME, Kept, fill, run

#: Round, so that sums can be done in the head: an hour of a recording is 0.2 GPU hours and 0.1 hours of a core.
RATES = Rates(gpu_hour=1.0, cpu_hour=0.1, basis="own prices")
DAY = timedelta(days=1)


def test_one_recording_is_reported_in_full(catalog: Catalog) -> None:
    fill(catalog, [Kept(hours=2)])
    total = archive_report(catalog, RATES).total
    assert (total.recordings_in, total.recordings_done, total.hours_in, total.hours_done) == (1, 1, 2.0, 2.0)
    assert (total.gpu_hours, total.wall_hours) == pytest.approx((0.4, 0.6))
    assert total.hours_per_wall_hour == pytest.approx(2 / 0.6)
    assert total.cost == total.spent == pytest.approx(0.4 * 1.0 + 0.2 * 0.1)
    assert total.cost_per_hour == pytest.approx(0.21)
    assert (total.wait_hours_median, total.wait_hours_95) == (2.0, 2.0)
    assert (total.flagged_share, total.snr_db_median, total.demo) == (pytest.approx(1 / 720, abs=1e-6), 20.0, 0)


def test_before_there_is_anything_the_report_is_empty(catalog: Catalog, tmp_path: Path) -> None:
    report = archive_report(catalog, RATES)
    assert (report.total.recordings_in, report.total.cost_per_hour, report.days) == (0, None, ())
    write_tables(report, tmp_path)
    assert "cost_per_hour" in pd.read_parquet(tmp_path / "days.parquet")
    assert shown.picture(report)


def test_a_day_shows_what_came_in_and_what_was_finished_on_it(catalog: Catalog) -> None:
    fill(catalog, [Kept(after=timedelta(hours=30)), Kept(hours=3), Kept(ends="waiting"), Kept(ends="rejected")])
    monday, tuesday = archive_report(catalog, RATES).days
    assert (monday.day, monday.recordings_in, monday.rejected, monday.waiting) == ("2024-05-06", 4, 1, 1)
    assert (monday.hours_done, tuesday.day, tuesday.recordings_in, tuesday.hours_done) == (3.0, "2024-05-07", 0, 1.0)
    # the work of both was done on Monday, and so was that for what was rejected; the cost goes with the recording
    assert (monday.spent, tuesday.spent) == (pytest.approx(4 * 0.21 + 0.2), 0.0)
    assert (monday.cost, tuesday.cost) == (pytest.approx(3 * 0.21), pytest.approx(0.21))


def test_waiting_is_from_registration_to_the_first_transcript(catalog: Catalog) -> None:
    fill(catalog, [Kept(after=timedelta(hours=hours)) for hours in range(1, 22)])
    total = archive_report(catalog, RATES).total
    assert (total.wait_hours_median, total.wait_hours_95) == (11.0, 20.0)


def test_each_matter_pays_for_itself(catalog: Catalog) -> None:
    fill(catalog, [Kept("m2", hours=2, snr_db=5.0), Kept("m1"), Kept("m2", ends="failed")])
    one, two = archive_report(catalog, RATES).matters
    assert (one.matter, one.cost, one.failed, one.snr_db_median) == ("m1", pytest.approx(0.21), 0, 20.0)
    assert (two.matter, two.cost, two.failed, two.snr_db_median) == ("m2", pytest.approx(0.42), 1, 5.0)
    # what failed took a GPU too
    assert two.spent == pytest.approx(0.42 + 0.2, abs=0.01)


def test_stages_show_where_time_and_money_go(catalog: Catalog) -> None:
    fill(catalog, [Kept(hours=2), Kept()])
    recognition, merging = archive_report(catalog, RATES).stages
    assert (recognition.stage, recognition.runs, recognition.hours) == ("raw_transcript", 2, 3.0)
    assert (recognition.hours_per_wall_hour, merging.hours_per_wall_hour) == (5.0, 10.0)
    assert (recognition.cost_per_hour, merging.cost_per_hour) == pytest.approx((0.2, 0.01))


def test_what_is_made_again_is_paid_for_again_and_done_once(catalog: Catalog) -> None:
    kept = Kept()
    [key] = fill(catalog, [kept])
    run(catalog, key, "raw_transcript", kept, version="000002-b", gpu_seconds=720.0)
    total = archive_report(catalog, RATES).total
    assert (total.hours_done, total.cost) == (1.0, pytest.approx(0.41))


ARCHIVES = st.lists(
    st.builds(
        Kept,
        matter=st.sampled_from(["m1", "m2", "m3"]),
        registered=st.integers(0, 3).map(lambda days: MONDAY + days * DAY),
        hours=st.integers(1, 2),
        ends=st.sampled_from(["done", "rejected", "failed", "waiting"]),
        after=st.integers(1, 60).map(lambda hours: timedelta(hours=hours)),
    ),
    max_size=6,
)


@given(archive=ARCHIVES)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_days_and_matters_add_up_to_the_whole(catalog: Catalog, archive: list[Kept]) -> None:
    with catalog.writing() as session:
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(delete(table))
    fill(catalog, archive)
    report = archive_report(catalog, RATES)
    assert report.total.recordings_in == len(archive)
    for name in ("recordings_in", "recordings_done", "rejected", "failed", "waiting", "hours_done", "cost", "spent"):
        for groups in (report.days, report.matters):
            assert sum(getattr(group, name) for group in groups) == pytest.approx(getattr(report.total, name), abs=1e-4)
    assert report.total.recordings_done == sum(kept.ends == "done" for kept in archive)


def test_a_larger_archive_takes_no_more_queries(catalog: Catalog) -> None:
    """With 100,000 recordings a query for each would take minutes."""
    fill(catalog, [Kept()] * 20)
    statements: list[str] = []
    event.listen(catalog.engine, "before_cursor_execute", lambda _c, _k, statement, *_: statements.append(statement))
    archive_report(catalog, RATES)
    assert len([statement for statement in statements if statement.startswith("SELECT")]) == 2


def test_the_tables_are_parquet_with_every_day(catalog: Catalog, tmp_path: Path) -> None:
    fill(catalog, [Kept(registered=MONDAY + number * DAY) for number in range(3)])
    folder = tmp_path / "tables"
    folder.mkdir()
    write_tables(archive_report(catalog, RATES), folder)
    days = pd.read_parquet(folder / "days.parquet")
    assert list(days["day"]) == ["2024-05-06", "2024-05-07", "2024-05-08"]
    assert days["hours_done"].sum() == 3.0
    assert sorted(path.name for path in folder.iterdir()) == ["days.parquet", "matters.parquet", "stages.parquet"]


def test_nothing_shown_names_a_recording(catalog: Catalog) -> None:
    fill(catalog, [Kept(), Kept(ends="rejected"), Kept(ends="failed")])
    report = archive_report(catalog, RATES)
    pages = [shown.summary(report), shown.by_day(report), shown.by_matter(report), shown.by_stage(report)]
    for page in (*pages, report.model_dump_json()):
        assert NAME not in page
        assert "Really?" not in page
    assert "m1" in shown.by_matter(report)


def test_the_picture_is_small_and_the_same_for_the_same_report(catalog: Catalog) -> None:
    fill(catalog, [Kept(registered=MONDAY + number * DAY) for number in range(5)])
    report = archive_report(catalog, RATES)
    picture = shown.picture(report)
    assert picture == shown.picture(report)
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 40_000


def test_columns_in_which_nothing_stands_are_left_out(catalog: Catalog) -> None:
    fill(catalog, [Kept(), Kept(ends="rejected")])
    headings, [row] = shown.table([("all", archive_report(catalog, RATES).total)])
    assert "Rejected" in headings
    assert "Failed" not in headings
    assert dict(zip(headings, row, strict=True))["Wait"] == "2.0\N{NO-BREAK SPACE}h"
