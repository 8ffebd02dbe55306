"""What an operator gets wrong: one clear line in the pod's log, or about the pod, and no data is touched."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import create_engine, text

from caseprep_pipelines.cluster.pods import State, condition
from caseprep_pipelines_tests.cluster.deployment import SLIM, config_map, secret, slim_image
from caseprep_pipelines_tests.cluster.kubernetes_server import Json, KubernetesServer, running_cluster, until
from caseprep_pipelines_tests.postgres_server import PostgresServer
from caseprep_pipelines_tests.s3_server import ENVIRONMENT, Break, S3Server

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def cluster(postgres_server: PostgresServer) -> Iterator[KubernetesServer]:
    with running_cluster({SLIM: slim_image()}, reachable=(postgres_server.folder,)) as server:
        (server.folder / "models").mkdir()
        server.claims["caseprep-models"] = server.folder / "models"
        server.add_node("cpu-1", pool="cpu")
        yield server


def ended(cluster: KubernetesServer, command: list[str], settings: dict[str, str], **secrets: dict[str, str]) -> Json:
    """A pod with the mounts of ours, these settings and this command, once it has ended or cannot begin."""
    name = f"pod-{len(cluster.pods())}"
    cluster.apply(config_map("caseprep-settings", settings))
    for key, data in secrets.items():
        cluster.apply(secret(f"caseprep-{key}", data))
    mounts = [("tmp", "/tmp"), ("home", "/opt/dagster/home"), ("models", "/models")]  # noqa: S108 - the pod's own
    container = {
        "name": "caseprep",
        "image": SLIM,
        "command": ["tini", "--", *command],
        "envFrom": [
            {"configMapRef": {"name": "caseprep-settings"}},
            {"secretRef": {"name": "caseprep-database"}},
            {"secretRef": {"name": "caseprep-storage"}},
        ],
        "securityContext": {"readOnlyRootFilesystem": True},
        "volumeMounts": [{"name": volume, "mountPath": path} for volume, path in mounts],
    }
    claim = {"claimName": "caseprep-models", "readOnly": True}
    volumes: list[Json] = [{"name": each, "emptyDir": {}} for each in ("tmp", "home")]
    volumes += [{"name": "models", "persistentVolumeClaim": claim}]
    spec = {"automountServiceAccountToken": False, "containers": [container], "volumes": volumes}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})

    def state() -> Json | None:
        (pod,) = [pod for pod in cluster.pods() if pod["metadata"]["name"] == name]
        waiting = [each for each in pod["status"].get("containerStatuses", ()) if "waiting" in each["state"]]
        return pod if waiting or pod["status"]["phase"] in ("Succeeded", "Failed") else None

    return until(state, "the pod has ended", 120)  # type: ignore[no-any-return]


def lines(cluster: KubernetesServer, pod: Json, part: str) -> list[str]:
    return [line for line in cluster.log(pod).splitlines() if part in line]


def settings(s3: S3Server, **overrides: str) -> dict[str, str]:
    own = {
        "CASEPREP_STORAGE": s3.root,
        "CASEPREP_S3_ENDPOINT_URL": s3.endpoint_url,
        "CASEPREP_EXECUTOR": "kubernetes",
        "CASEPREP_GPU_IMAGE": "caseprep-pipelines/gpu",
        "CASEPREP_DAGSTER_HOME": "/opt/dagster/home",
        "CASEPREP_MODELS_DIRECTORY": "/models",
        "CASEPREP_DEVICE": "cpu",
        "HF_HUB_CACHE": "/tmp/no-hub",  # noqa: S108 - the pod's own
        "OMP_NUM_THREADS": "1",
    }
    return {**own, **overrides}


SERVE = ["dagster", "api", "grpc", "--host", "127.0.0.1", "--port", "4000"]
SERVE += ["--module-name", "caseprep_pipelines.definitions"]


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"CASEPREP_GPU_IMAGE": ""}, "caseprep: CASEPREP_GPU_IMAGE: Value error, must name the image of GPU steps"),
        ({"CASEPREP_EXECUTOR": "docker"}, "caseprep: CASEPREP_EXECUTOR: Input should be"),
        ({"CASEPREP_STORAGE": "gs://elsewhere"}, "caseprep: CASEPREP_STORAGE: Value error, must be a directory or s3"),
    ],
)
def test_a_wrong_or_missing_setting_is_one_line_of_the_code_servers_log(
    cluster: KubernetesServer, s3: S3Server, wrong: dict[str, str], line: str
) -> None:
    pod = ended(cluster, SERVE, settings(s3, **wrong), database={}, storage=ENVIRONMENT)
    assert pod["status"]["phase"] == "Failed"
    assert len([each for each in cluster.log(pod).splitlines() if each.startswith(line)]) == 1, cluster.log(pod)
    assert "Contents" not in s3.client().list_objects_v2(Bucket=s3.bucket)


def test_a_secret_that_is_absent_is_named(cluster: KubernetesServer, s3: S3Server) -> None:
    cluster.apply(secret("caseprep-database", {}))
    cluster.remove("secrets", "caseprep-database")
    pod = ended(cluster, ["caseprep", "doctor"], settings(s3), storage=ENVIRONMENT)
    told = condition(pod, [], datetime.now(UTC))
    assert told.state is State.STUCK
    assert 'secret "caseprep-database" not found' in told.why


def test_a_bucket_that_denies_access_is_one_line(cluster: KubernetesServer, faulty_s3: S3Server) -> None:
    assert faulty_s3.proxy is not None
    faulty_s3.proxy.breaks += [Break("403 AccessDenied", method, 1000) for method in ("PUT", "GET", "HEAD")]
    pod = ended(cluster, ["caseprep", "doctor"], settings(faulty_s3), database={}, storage=ENVIRONMENT)
    (line,) = lines(cluster, pod, "FAIL  Storage:")
    assert faulty_s3.bucket in line
    assert pod["status"]["phase"] == "Failed"


def test_tables_of_an_older_version_are_left_as_they_are(
    cluster: KubernetesServer, s3: S3Server, postgres_url: str
) -> None:
    database = {"CASEPREP_DATABASE_URL": postgres_url}
    engine = create_engine(postgres_url.replace("postgresql://", "postgresql+psycopg://"))

    def there() -> list[str]:
        with engine.connect() as connection:
            return sorted(connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")))

    pod = ended(cluster, ["caseprep", "doctor"], settings(s3), database=database, storage=ENVIRONMENT)
    (line,) = lines(cluster, pod, "FAIL  Database:")
    assert "has no tables yet" in line
    assert "caseprep-migrate" in line
    assert there() == []

    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num varchar(32))"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('0001')"))
    pod = ended(cluster, ["caseprep", "doctor"], settings(s3), database=database, storage=ENVIRONMENT)
    (line,) = lines(cluster, pod, "FAIL  Database:")
    assert "tables of an older version (0001)" in line
    assert there() == ["alembic_version"]
    engine.dispose()


def test_a_models_volume_that_is_empty_is_one_line_for_each_model(cluster: KubernetesServer, s3: S3Server) -> None:
    pod = ended(cluster, ["caseprep", "doctor"], settings(s3), database={}, storage=ENVIRONMENT)
    (whisper,) = lines(cluster, pod, "FAIL  Transcription model:")
    (diarization,) = lines(cluster, pod, "FAIL  Diarization model:")
    assert "caseprep models fetch large-v3-turbo" in whisper
    assert "caseprep models fetch" in diarization
    assert os.listdir(cluster.claims["caseprep-models"]) == []  # noqa: PTH208 - its names are enough
