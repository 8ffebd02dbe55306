"""Rates: a line through what was measured, and the shipped table where nothing was."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caseprep_pipelines.assets import STAGES
from caseprep_pipelines.catalog import speed
from caseprep_pipelines.catalog.database import Catalog
from caseprep_pipelines.fleet.rates import fitted, rates, shipped
from caseprep_pipelines_tests.catalog.conftest import catalog, catalog_url
from caseprep_pipelines_tests.report.archives import MONDAY, Kept, fill

__all__ = ["catalog", "catalog_url"]

NAMES = [stage.name for stage in STAGES]


def sums_of(runs: list[tuple[float, float]]) -> speed.StageSums:
    """Of runs given as hours and seconds."""
    return speed.StageSums(
        len(runs), sum(h for h, _ in runs), sum(s for _, s in runs), sum(h * h for h, _ in runs),
        sum(h * s for h, s in runs),
    )  # fmt: skip


def test_the_shipped_table_knows_every_stage() -> None:
    assert list(shipped()) == NAMES


@given(st.floats(0, 100), st.floats(0, 1000), st.lists(st.integers(1, 60), min_size=2, unique=True))
def test_runs_on_a_line_give_the_line(base: float, slope: float, hours: list[int]) -> None:
    rate = fitted(sums_of([(h / 10, base + slope * h / 10) for h in hours]))
    assert rate.per_recording == pytest.approx(base, abs=1e-3)
    assert rate.per_audio_hour == pytest.approx(slope, abs=1e-3)


@given(st.lists(st.tuples(st.floats(0.01, 10), st.floats(0, 1e4)), min_size=1, max_size=30))
def test_no_part_is_negative_and_the_whole_takes_as_long_as_it_did_at_least(runs: list[tuple[float, float]]) -> None:
    rate = fitted(sums_of(runs))
    assert min(rate.per_recording, rate.per_audio_hour) >= 0
    assert sum(rate.seconds(h) for h, _ in runs) == pytest.approx(sum(s for _, s in runs), rel=1e-3, abs=1e-3)


def test_what_was_measured_comes_before_the_table(catalog: Catalog) -> None:
    fill(catalog, [Kept(hours=1), Kept(hours=3)])
    now = MONDAY + timedelta(days=1)
    found, assumed = rates(speed.by_stage(catalog, now, ["raw_transcript"]), NAMES)
    assert found["raw_transcript"].seconds(2) == pytest.approx(1440)
    assert found["transcript"].seconds(2) == pytest.approx(720)
    assert found["speaker_turns"] == shipped()["speaker_turns"]
    assert assumed == [name for name in NAMES if name not in ("raw_transcript", "transcript")]


def test_a_gpu_stage_measured_on_a_processor_says_nothing_of_a_gpu(catalog: Catalog) -> None:
    fill(catalog, [Kept()])
    now = MONDAY + timedelta(days=1)
    assert "transcript" not in speed.by_stage(catalog, now, ["transcript"])
    assert speed.by_stage(catalog, now + 2 * speed.RECENT, []) == {}
