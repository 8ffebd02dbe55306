"""Two archives as two code locations of one Dagster instance, as docs/sizing.md says to set them up."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from caseprep_pipelines.assets import STAGES
from caseprep_pipelines.automation import archive_sensor, sensors
from caseprep_pipelines.automation.windows import Night
from caseprep_pipelines.catalog import registry
from caseprep_pipelines.definitions import build_defs
from caseprep_pipelines.demo import demo_recordings
from caseprep_pipelines.embedded import open_instance
from caseprep_pipelines.resources.pipeline import Pipeline
from caseprep_pipelines.settings import read_settings
from caseprep_pipelines_tests.conftest import environment

PAGE = (Path(__file__).parents[2] / "docs/sizing.md").read_text()
YEARS = ("2019", "2020")
QUERY = """{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus locationOrLoadError {
  ... on RepositoryLocation { repositories {
    sensors { name } schedules { name } assetNodes { assetKey { path } partitionDefinition { name } }
  } } ... on PythonError { message } } } } } }"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def documented() -> dict[str, dict[str, str]]:
    """The environment that the page gives each location's process, by port."""
    (script,) = (block for block in blocks("sh") if "code-server" in block)
    found = {}
    for command in script.replace("\\\n", "").splitlines():
        words = shlex.split(command)
        if "code-server" in words:
            found[words[-1]] = dict(word.split("=", 1) for word in words if word.startswith("CASEPREP_"))
    return found


def free_ports(count: int) -> list[int]:
    with ExitStack() as probes:
        sockets = [probes.enter_context(socket.socket()) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in sockets]


@contextmanager
def serving(command: list[str], own: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("w") as said:
        served = subprocess.Popen(
            [sys.executable, "-m", *command], env=own, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield
        finally:
            os.killpg(served.pid, signal.SIGINT)
            try:
                served.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(served.pid, signal.SIGKILL)


def asked(address: str, seconds: float) -> list[dict[str, Any]]:
    """The locations, once both are loaded."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            body = json.dumps({"query": QUERY}).encode()
            request = urllib.request.Request(f"{address}/graphql", body, {"Content-Type": "application/json"})  # noqa: S310
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
                entries = json.load(response)["data"]["workspaceOrError"]["locationEntries"]
            if all(
                entry["loadStatus"] == "LOADED" and "repositories" in entry["locationOrLoadError"] for entry in entries
            ):
                return entries
        except OSError:
            entries = None
        assert time.monotonic() < deadline, entries
        time.sleep(0.3)


def test_the_page_s_workspace_shows_two_archives_side_by_side(tmp_path: Path) -> None:
    (workspace,) = blocks("yaml")
    *ports, page = free_ports(3)
    file = tmp_path / "workspace.yaml"
    for said, port in zip(documented(), ports, strict=True):
        workspace = workspace.replace(said, str(port))
    file.write_text(workspace)
    home = tmp_path / "dagster"
    # as on the page, the instance is there: of three processes that make Dagster's SQLite tables at once two fail
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        open_instance(home).dispose()
    with ExitStack() as running:
        for (said, own), port in zip(documented().items(), ports, strict=True):
            # the page's bucket and database are folders here
            elsewhere = {"CASEPREP_STORAGE": str(tmp_path / said), "DAGSTER_HOME": str(home)}
            where = {**environment(tmp_path, **own), **elsewhere}
            del where["CASEPREP_DATABASE_URL"]
            command = ["dagster", "code-server", "start", "-m", "caseprep_pipelines.definitions"]
            address = ["--host", "127.0.0.1", "--port", str(port)]
            running.enter_context(serving([*command, *address], where, tmp_path / f"{said}.log"))
        own = {**environment(tmp_path), "DAGSTER_HOME": str(home)}
        command = ["dagster_webserver", "-w", str(file), "-h", "127.0.0.1", "-p", str(page)]
        running.enter_context(serving(command, own, tmp_path / "page.log"))
        entries = asked(f"http://127.0.0.1:{page}", 180)
    assert [entry["name"] for entry in entries] == [
        location["grpc_server"]["location_name"] for location in yaml.safe_load(workspace)["load_from"]
    ]
    names, keys = [], []
    for entry, year in zip(entries, YEARS, strict=True):
        (repository,) = entry["locationOrLoadError"]["repositories"]
        names.append({kind: [one["name"] for one in repository[kind]] for kind in ("sensors", "schedules")})
        keys.append({"/".join(node["assetKey"]["path"]) for node in repository["assetNodes"]})
        assert keys[-1] == {f"court_{year}/{name}" for name in [*(stage.name for stage in STAGES), "archive_report"]}
        sets = {node["partitionDefinition"]["name"] for node in repository["assetNodes"] if node["partitionDefinition"]}
        assert sets == {f"recordings-{year}"}
    assert names[0] == names[1]
    assert not keys[0] & keys[1]


@pytest.fixture
def archives(tmp_path: Path) -> list[Pipeline]:
    return [
        Pipeline(
            read_settings(
                storage=str(tmp_path / said), dagster_home=tmp_path / "dagster", model="demo", diarization="demo",
                partition_set=own["CASEPREP_PARTITION_SET"], asset_key_prefix=own["CASEPREP_ASSET_KEY_PREFIX"],
            )
        )
        for said, own in documented().items()
    ]  # fmt: skip


def test_each_archive_runs_its_own_recordings_in_one_instance(archives: list[Pipeline]) -> None:
    demos = [demo for demo in demo_recordings() if demo.status == "done"][:2]
    now = datetime.now(UTC)
    with dg.DagsterInstance.ephemeral() as instance:
        keys = []
        for pipeline, demo in zip(archives, demos, strict=True):
            new = registry.NewRecording("m1", demo.path.name, str(demo.path), "ab" * 32)
            keys += [entry.partition for entry in registry.register(pipeline.catalog, [new], "upload-sensor")]
        # even a key that both have is two recordings
        assert keys[0] == keys[1]
        for pipeline, demo in zip(archives, demos, strict=True):
            result = sensors.evaluate(pipeline, instance, now)
            assert isinstance(result, dg.SensorResult)
            (request,) = result.run_requests or []
            prefix = pipeline.settings.asset_key_prefix
            assert {key.path[0] for key in request.asset_selection or []} == {prefix}
            assert instance.get_dynamic_partitions(pipeline.settings.partition_set) == [keys[0]]
            job = build_defs(pipeline.settings, pipeline=pipeline).resolve_implicit_global_asset_job_def()
            first = [dg.AssetKey([prefix, STAGES[0].name])]
            assert job.execute_in_process(
                partition_key=keys[0], instance=instance, asset_selection=first, tags=dict(request.tags)
            ).success
            (row,) = registry.recordings(pipeline.catalog, keys).values()
            assert (row.name, row.size_bytes) == (demo.path.name, demo.path.stat().st_size)
            assert instance.get_materialized_partitions(first[0]) == {keys[0]}


def test_each_archive_has_a_budget_of_its_own(archives: list[Pipeline]) -> None:
    night = Night(datetime(2026, 1, 5, 20, tzinfo=UTC), datetime(2026, 1, 6, 6, tzinfo=UTC))
    mine, other = (pipeline.settings.partition_set for pipeline in archives)
    tags = {archive_sensor.WINDOW_TAG: night.name, archive_sensor.SET_TAG: mine, archive_sensor.HOURS_TAG: "2.5"}
    with dg.DagsterInstance.ephemeral() as instance:

        @dg.job
        def work() -> None: ...

        instance.create_run_for_job(work, tags=tags)
        assert archive_sensor.spent(instance, night, mine).hours == 2.5
        assert archive_sensor.spent(instance, night, other).hours == 0
