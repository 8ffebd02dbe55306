"""The deployment as `deploy/kubernetes/base` describes it, in the tests' Kubernetes, on a real PostgreSQL and S3 API.

Its settings, roles, priority classes, Dagster configuration, code server and daemon are the files that ship; what a
test must have otherwise (addresses, demo models, looks every second instead of every minute) is changed here.
"""

import json
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from caseprep_pipelines.demo import demo_recordings, write_matters
from caseprep_pipelines_tests.cluster.kubernetes_server import (
    Image,
    Json,
    KubernetesServer,
    manifests,
    running_cluster,
    until,
)
from caseprep_pipelines_tests.postgres_server import PostgresServer
from caseprep_pipelines_tests.s3_server import ENVIRONMENT, S3Server

BASE = Path(__file__).parents[2] / "deploy" / "kubernetes" / "base"
SLIM, GPU = "caseprep-pipelines/slim", "caseprep-pipelines/gpu"

#: What a container of each image would import before it does anything.
_PROJECT = ["dagster._cli", "dagster._daemon.cli", "dagster_k8s.executor", "dagster_postgres", "dagster_aws.s3"]
_PROJECT += ["caseprep_pipelines.definitions", "caseprep_pipelines.catalog.loading", "caseprep_pipelines.cli"]
_SPEECH = ["faster_whisper", "torch", "pyannote.audio", "caseprep_pipelines_tests.cluster.saving_at_once"]
#: The slim image does not have these, so nothing that runs in it may ask for them.
_NOT_IN_SLIM = ("torch", "ctranslate2", "faster_whisper", "pyannote", "pyannote.audio")


def slim_image() -> Image:
    return Image(_PROJECT, _NOT_IN_SLIM)


def images() -> dict[str, Image]:
    return {SLIM: slim_image(), GPU: Image(_PROJECT + _SPEECH)}


@dataclass
class Deployment:
    cluster: KubernetesServer
    s3: S3Server
    instance: dg.DagsterInstance
    catalog_url: str
    code_port: int
    web_port: int
    holds: Path
    """See `saving_at_once`."""

    def upload(self, *names: str, matter: str | None = None) -> None:
        """Puts demo recordings, and their matters' files, where a clerk would."""
        client, prefix = self.s3.client(), "some/prefix/incoming"
        for demo in demo_recordings():
            if demo.path.name in names:
                key = f"{prefix}/{matter or demo.matter}/{demo.path.name}"
                client.upload_file(str(demo.path), self.s3.bucket, key)
        folder = self.cluster.folder / "matters"
        write_matters(folder)
        for file in folder.rglob("matter.toml"):
            client.upload_file(str(file), self.s3.bucket, f"{prefix}/{file.relative_to(folder)}")

    @contextmanager
    def location(self) -> Iterator[Any]:
        """The code location and its workspace, as the webserver sees them."""
        from dagster._core.workspace.context import WorkspaceProcessContext
        from dagster._core.workspace.load_target import GrpcServerTarget

        target = GrpcServerTarget(host="127.0.0.1", port=self.code_port, socket=None, location_name="caseprep")
        with WorkspaceProcessContext(self.instance, target) as process:
            request = process.create_request_context()
            yield request, request.get_code_location("caseprep").get_repositories()["__repository__"]

    def turn_on(self, sensor: str) -> None:
        with self.location() as (_, repository):
            self.instance.start_sensor(repository.get_sensor(sensor))

    def runs(self, **filters: Any) -> list[dg.DagsterRun]:
        return list(self.instance.get_runs(filters=dg.RunsFilter(**filters)))

    def ended(self, run_id: str, seconds: float = 120) -> dg.DagsterRun:
        def finished() -> dg.DagsterRun | None:
            run = self.instance.get_run_by_id(run_id)
            return run if run is not None and run.is_finished else None

        return until(finished, f"run {run_id} ends", seconds)  # type: ignore[no-any-return]

    def said(self, run_id: str) -> str:
        """Every message in a run's log, with the errors'."""
        lines = []
        for entry in self.instance.all_logs(run_id):
            event = entry.dagster_event
            lines.append(f"{event.step_key if event else ''}: {entry.user_message} {event.message if event else ''}")
            for data in (event.event_specific_data,) if event else ():
                error = getattr(data, "error", None)
                lines.append(f"{event.step_key}: {error.message}" if error else "")
        return "\n".join(lines)

    def launch(self, partition: str, steps: dict[str, Json], priority: int = 0) -> str:
        """Asks for a run of some assets, as the UI does, each with something else that its step asks Kubernetes for."""
        from dagster_graphql.client.query import LAUNCH_PIPELINE_EXECUTION_MUTATION
        from dagster_graphql.test.utils import execute_dagster_graphql

        wanted = {
            "selector": {
                "repositoryLocationName": "caseprep",
                "repositoryName": "__repository__",
                "pipelineName": "__ASSET_JOB",
                "assetSelection": [{"path": [name]} for name in steps],
            },
            "runConfigData": {"execution": {"config": {"per_step_k8s_config": steps}}},
            "executionMetadata": {
                "tags": [
                    {"key": "dagster/partition", "value": partition},
                    {"key": "dagster/priority", "value": str(priority)},
                ]
            },
        }
        with self.location() as (request, _):
            answer = execute_dagster_graphql(request, LAUNCH_PIPELINE_EXECUTION_MUTATION, {"executionParams": wanted})
        return str(answer.data["launchPipelineExecution"]["run"]["runId"])

    def saved(self, stage: str) -> list[str]:
        """What a stage has put away in the storage root."""
        listed = self.s3.client().list_objects_v2(Bucket=self.s3.bucket, Prefix=f"some/prefix/checkpoints/{stage}/")
        return [each["Key"] for each in listed.get("Contents", ())]

    def start(self, name: str, file: str) -> Json:
        """Starts a pod as a deployment's controller would."""
        made = next(each for each in manifests(BASE / file) if each["kind"] == "Deployment")
        template = made["spec"]["template"]
        container = template["spec"]["containers"][0]
        container["args"] = [
            {"4000": str(self.code_port), "3000": str(self.web_port), "0.0.0.0": "127.0.0.1"}.get(each, each)  # noqa: S104
            for each in container.get("args", ())
        ]
        metadata = {"name": name, "namespace": "caseprep", "labels": template["metadata"]["labels"]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        self.cluster.apply(pod)
        return pod

    def migrate(self) -> None:
        """Runs the job that makes the tables."""
        job = next(
            each for each in manifests(BASE / "setup-jobs.yaml") if each["metadata"]["name"] == "caseprep-migrate"
        )
        self.cluster.apply(job)
        status = self.cluster.objects["jobs", "caseprep", "caseprep-migrate"].get
        until(lambda: (status("status") or {}).get("conditions"), "the migrations have ended", 120)
        (pod,) = self.cluster.pods(job_name="caseprep-migrate")
        assert pod["status"]["phase"] == "Succeeded", self.cluster.log(pod)

    def cancel(self, run_id: str) -> None:
        """Asks the webserver to stop a run, as a person at its page does."""
        from dagster_graphql import DagsterGraphQLClient

        DagsterGraphQLClient("127.0.0.1", port_number=self.web_port).terminate_run(run_id)

    def serving(self, name: str = "caseprep-code") -> bool:
        """Whether the code server, or the webserver, answers; it must not have ended."""
        (pod,) = [pod for pod in self.cluster.pods() if pod["metadata"]["name"] == name]
        assert pod["status"]["phase"] != "Failed", self.cluster.log(pod)
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.code_port if name == "caseprep-code" else self.web_port)) == 0


def settings(deployment: Deployment, **overrides: str) -> dict[str, str]:
    """The config map `caseprep-settings` as it ships, with a test's addresses and the demo models."""
    (shipped,) = manifests(BASE / "settings.yaml")
    own = {
        "CASEPREP_STORAGE": deployment.s3.root,
        "CASEPREP_S3_ENDPOINT_URL": deployment.s3.endpoint_url,
        "CASEPREP_MODEL": "demo",
        "CASEPREP_DIARIZATION": "demo",
        "CASEPREP_DEVICE": "cpu",
        "CASEPREP_SENSOR_INTERVAL_SECONDS": "5",
        "DAGSTER_COMPUTE_LOG_BUCKET": deployment.s3.bucket,
        "OMP_NUM_THREADS": "1",
    }
    return {**shipped["data"], **own, **overrides}


def dagster_yaml(s3: S3Server) -> Json:
    """The shipped configuration with looks as often as a test wants."""
    shipped = yaml.safe_load((BASE / "dagster.yaml").read_text())
    shipped["run_coordinator"]["config"] = {"dequeue_interval_seconds": 1}
    shipped["run_monitoring"]["poll_interval_seconds"] = 2
    shipped["compute_logs"]["config"]["endpoint_url"] = s3.endpoint_url
    return shipped  # type: ignore[no-any-return]


@contextmanager
def running_deployment(postgres: PostgresServer, s3: S3Server) -> Iterator[Deployment]:
    with (
        tempfile.TemporaryDirectory(prefix="caseprep-holds-") as holds,
        running_cluster(images(), reachable=(postgres.folder, Path(holds))) as cluster,
    ):
        for image in cluster.images.values():
            image.pull(TEST_HOLDS=holds)
        with socket.socket() as code, socket.socket() as web:
            for chosen in (code, web):
                chosen.bind(("127.0.0.1", 0))
            code_port, web_port = code.getsockname()[1], web.getsockname()[1]
        dagster_url, catalog_url = postgres.new_database(), postgres.new_database()
        # SQLAlchemy's own choice is psycopg 3, with which dagster-postgres cannot tell of events
        dagster_url = dagster_url.replace("postgresql://", "postgresql+psycopg2://")
        home = cluster.folder / "home"
        home.mkdir()
        here = {"storage": {"postgres": {"postgres_url": dagster_url}}, "telemetry": {"enabled": False}}
        (home / "dagster.yaml").write_text(json.dumps(here))
        (cluster.folder / "models").mkdir()
        cluster.claims["caseprep-models"] = cluster.folder / "models"
        with dg.DagsterInstance.from_config(str(home)) as instance:
            deployment = Deployment(cluster, s3, instance, catalog_url, code_port, web_port, Path(holds))
            workspace = {"grpc_server": {"host": "127.0.0.1", "port": code_port, "location_name": "caseprep"}}
            cluster.apply(
                *manifests(BASE / "access.yaml", BASE / "priority-classes.yaml"),
                config_map("caseprep-settings", settings(deployment)),
                config_map(
                    "caseprep-dagster",
                    {
                        "dagster.yaml": yaml.safe_dump(dagster_yaml(s3)),
                        "workspace.yaml": yaml.safe_dump({"load_from": [workspace]}),
                    },
                ),
                secret("caseprep-database", {"DAGSTER_PG_URL": dagster_url, "CASEPREP_DATABASE_URL": catalog_url}),
                secret("caseprep-storage", ENVIRONMENT),
            )
            cluster.add_node("cpu-1", pool="cpu")
            cluster.add_node("gpu-1", pool="gpu", gpus=1)
            yield deployment


def config_map(name: str, data: dict[str, str]) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def secret(name: str, data: dict[str, str]) -> Json:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}
