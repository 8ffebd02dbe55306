"""One bad recording in every stage's batch, by a fault and by a rejection: the others are done, and each says why."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import soundfile

from caseprep_pipelines.assets import STAGES, stage
from caseprep_pipelines.assets.stage import Made, Recording, Stage
from caseprep_pipelines.catalog import progress, registry
from caseprep_pipelines.demo import demo_recordings
from caseprep_pipelines.errors import Fault
from caseprep_pipelines.rejections import Reason, RejectedRecording
from caseprep_pipelines.resources.pipeline import Pipeline
from caseprep_pipelines.settings import read_settings
from caseprep_pipelines_tests.end_to_end.driving import job_of, run, tick

NAMES = [stage.name for stage in STAGES]
COUNT = 2 * len(STAGES)


def broken(chosen: Stage, bad: dict[str, Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage, which fails by what `bad` says of a recording."""
    make, make_many = chosen.make, chosen.make_many

    def one(recording: Recording) -> Made:
        if recording.partition in bad:
            raise bad[recording.partition]
        assert make is not None
        return make(recording)

    def many(recordings: Iterable[Recording]) -> Iterator[tuple[Recording, Made | Exception]]:
        met: list[Recording] = []

        def good() -> Iterator[Recording]:
            for recording in recordings:
                if recording.partition in bad:
                    met.append(recording)
                else:
                    yield recording

        assert make_many is not None
        yield from make_many(good())
        yield from ((recording, bad[recording.partition]) for recording in met)

    name, replacement = ("make", one) if make is not None else ("make_many", many)
    # a stage is frozen: it is data to everybody else
    monkeypatch.setitem(chosen.__dict__, name, replacement)


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    incoming = tmp_path / "storage" / "incoming" / "2024-cv-1"
    incoming.mkdir(parents=True)
    phone = next(demo.path for demo in demo_recordings() if demo.path.suffix == ".wav")
    speech, rate = soundfile.read(phone, dtype="float32")
    for number in range(COUNT):
        soundfile.write(incoming / f"{number:02}.wav", speech[number * rate : (number + 2) * rate], rate)
    return Pipeline(
        read_settings(
            storage=str(tmp_path / "storage"), dagster_home=tmp_path / "dagster", model="demo", diarization="demo",
            language="en", incoming_settle_seconds=0,
        )
    )  # fmt: skip


def test_a_bad_recording_in_each_stage_costs_its_neighbours_nothing(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "FAULT_RETRY_SECONDS", 0)
    job, now = job_of(pipeline), datetime.now(UTC)
    with dg.DagsterInstance.ephemeral() as instance:
        requests = tick(pipeline, instance, now)
        keys = list(instance.get_dynamic_partitions("recordings"))
        rejected, faulty = keys[: len(STAGES)], keys[len(STAGES) :][::-1]
        for number, each in enumerate(STAGES):
            bad: dict[str, Exception] = {
                faulty[number]: Fault("the disk is full"),
                rejected[number]: RejectedRecording(Reason.TOO_LONG, "as if"),
            }
            with monkeypatch.context() as patched:
                broken(each, bad, patched)
                ends = [run(job, instance, request) for request in requests]
            assert failed(ends) == [faulty[number]]
            made = progress.products(pipeline.catalog, keys)
            undone = {key for key in keys if each.name not in made.get(key, {})}
            assert undone == {faulty[number]}
            faults = progress.faults(pipeline.catalog, keys)
            assert {key: list(stages) for key, stages in faults.items()} == {faulty[number]: [each.name]}

            # not before its time; then alone, through everything that is left
            now = faults[faulty[number]][each.name].last_at
            early = tick(pipeline, instance, now)
            assert faulty[number] not in {request.partition_key for request in early}
            now += timedelta(minutes=2)
            asked = tick(pipeline, instance, now)
            assert [request.partition_key for request in asked] == [faulty[number]], (asked, early)
            (alone,) = asked
            assert run(job, instance, alone).success
            requests = early
        assert requests == []
        assert tick(pipeline, instance, now + timedelta(days=1)) == []
    made = progress.products(pipeline.catalog, keys)
    assert all(sorted(made[key]) == sorted(NAMES) for key in keys)
    for number, key in enumerate(rejected):
        found = [name for name in NAMES if made[key][name].rejected]
        # the catalog is made from the transcript, not from its exports
        assert found == ([NAMES[number]] if NAMES[number] == "transcript_exports" else NAMES[number:])
        said = pipeline.products.rejected(found[-1], key)
        assert said is not None
        assert said.stage == NAMES[number]
    assert not any(product.rejected for key in faulty for product in made[key].values())
    assert len(registry.all_partitions(pipeline.catalog)) == COUNT


def failed(ends: list[Any]) -> list[str]:
    """Whom the failures of runs name."""
    events = [event for end in ends for event in end.all_events if event.is_step_failure]
    named = [event.step_failure_data.user_failure_data.metadata["failed"].value for event in events]
    return [key for keys in named for key in keys]
