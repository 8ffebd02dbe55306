"""What `caseprep archive simulate` and `plan` say to an operator."""

import json
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from caseprep_pipelines import archive_commands
from caseprep_pipelines.automation import archive
from caseprep_pipelines.catalog import registry, tables
from caseprep_pipelines.catalog.progress import ARCHIVE
from caseprep_pipelines.resources.pipeline import Pipeline
from caseprep_pipelines.settings import read_settings
from caseprep_pipelines_tests.conftest import caseprep, environment

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return Pipeline(read_settings(storage=str(tmp_path / "storage"), dagster_home=tmp_path / "dagster"))


def simulated(pipeline: Pipeline, **options: Any) -> dict[str, Any]:
    given = {"hours": None, "uploads": None, "gpus": None, "reclaim_hours": 8.0, "seed": 0, **options}
    return archive_commands.simulate(pipeline, **given)


def test_more_gpus_are_quicker_spot_is_cheaper_and_all_day_ends_sooner(pipeline: Pipeline) -> None:
    found = simulated(pipeline, hours=300)
    rows = {(row["gpus"], row["spot"], row["all_day"]): row for row in found["settings"]}
    assert len(rows) == 4 * 2 * 2
    ends = [rows[gpus, False, False]["hours_to_finish"] for gpus in (1, 2, 4, 8)]
    assert ends == sorted(ends, reverse=True)
    assert all(
        rows[gpus, True, day]["cost_per_audio_hour"] < rows[gpus, False, day]["cost_per_audio_hour"]
        for gpus, _, day in rows
    )
    assert rows[1, False, True]["hours_to_finish"] < rows[1, False, False]["hours_to_finish"]
    assert found == simulated(pipeline, hours=300)


def test_what_waits_is_what_is_simulated(pipeline: Pipeline) -> None:
    new = [
        registry.NewRecording("m1", f"{n}.mp3", f"s3://court/{n}", f"{n:064x}"[::-1], size_bytes=8000 * 3600)
        for n in range(1, 31)
    ]
    registry.register(pipeline.catalog, new, ARCHIVE)
    found = simulated(pipeline, gpus=3)
    assert (found["recordings"], found["audio_hours"], found["lengths"]) == (30, 30, "waiting")
    assert {row["gpus"] for row in found["settings"]} == {3}


def test_a_person_is_told_what_the_figures_stand_on(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    archive_commands.print_simulation(simulated(pipeline, hours=20, uploads=5, gpus=1))
    said = capsys.readouterr().out
    assert "from the shipped table, as nothing was measured yet. Its GPU rates are assumed for an L4" in said
    assert "5 hours uploaded a day" in said
    assert "g6.xlarge spot" in said
    assert all(words in said for words in ("on demand", "20:00 to 06:00", "all day"))


def test_the_command_prints_json_for_scripts(tmp_path: Path) -> None:
    done = caseprep(["archive", "simulate", "--hours", "5", "--gpus", "2", "--json"], environment(tmp_path))
    assert done.returncode == 0
    assert [row["gpus"] for row in json.loads(done.stdout)["settings"]] == [2] * 4
    wrong = caseprep(["archive", "simulate", "--gpus", "0"], environment(tmp_path))
    assert wrong.returncode == 2
    assert "--gpus" in wrong.stderr


def test_a_plan_says_which_lengths_were_measured(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    def lengths() -> str:
        archive_commands.print_plan(archive.plan(pipeline, NOON, archive.Amount(), "transcript_catalog", 1))
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Lengths")]
        return line.removeprefix("Lengths    ")

    def register(*names: str, by: str = ARCHIVE) -> str:
        new = [
            registry.NewRecording("m", name, f"s3://court/{name}", sha256(name.encode()).hexdigest(), size_bytes=3600)
            for name in names
        ]
        return registry.register(pipeline.catalog, new, by)[-1].partition

    def transcribed(partition: str, seconds: float) -> None:
        with pipeline.catalog.writing() as session:
            session.add(
                tables.StageRun(
                    partition=partition, stage="raw_transcript", version="000001-0", matter="m", run_id="r",
                    started=NOON, wall_seconds=1.0, cpu_seconds=1.0, gpu_seconds=0.0, audio_seconds=seconds,
                    device="cpu", batch_size=None, snr_db=None, rejected=False,
                )
            )  # fmt: skip

    assert lengths() == "assumed, as no size is known"
    register("a.mp4", "b.wav", "c.wav")
    assert lengths() == "from sizes, bytes a second: 8,000 in all (assumed, as no such file was measured yet)"
    transcribed(register("done.wav", by="transcribe"), 1.0)
    assert lengths() == (
        "from sizes, bytes a second: 3,600 in .wav (measured); 8,000 else (assumed, as no such file was measured yet)"
    )
    transcribed(register("done.mp4", by="transcribe"), 0.01)
    assert lengths() == "from sizes, bytes a second: 3,600 in .wav, 360,000 in .mp4 (measured)"
