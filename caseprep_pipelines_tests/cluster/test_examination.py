"""`caseprep doctor --cluster`: a deployment as it ships is all right; each thing that is wrong is one line."""

import copy
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from caseprep_pipelines.cli import app
from caseprep_pipelines.doctor import Finding, examine_cluster
from caseprep_pipelines.settings import Settings, read_settings
from caseprep_pipelines_tests.cluster.deployment import BASE, config_map, secret
from caseprep_pipelines_tests.cluster.kubernetes_server import Json, KubernetesServer, manifests, running_cluster

URLS = {
    "CASEPREP_DATABASE_URL": "postgresql://caseprep:hunter2@database/catalog",
    "DAGSTER_PG_URL": "postgresql+psycopg2://caseprep:hunter2@database/dagster",
}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesServer]:
    """What ships, applied and running."""
    with running_cluster({}) as server:
        choose(monkeypatch, server.kubeconfig)
        for made in shipped():
            server.apply(made)
        server.add_node("cpu-1", pool="cpu")
        server.add_node("gpu-1", pool="gpu", gpus=4)
        yield server
        assert server.refused == []


def choose(monkeypatch: pytest.MonkeyPatch, kubeconfig: Path) -> None:
    """Sets KUBECONFIG, which the client reads when it is imported: by a process once, by these tests often."""
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))


@cache
def shipped() -> tuple[Json, ...]:
    return tuple(_shipped())


def _shipped() -> Iterator[Json]:
    files = [*BASE.glob("*.yaml"), *(BASE / "web").glob("*.yaml")]
    known = {"Deployment", "Service", "NetworkPolicy", "Ingress", "PriorityClass", "ResourceQuota", "ConfigMap"}
    for made in manifests(*files):
        kind = made.get("kind")  # Dagster's own files have none
        if kind == "Deployment":
            made["status"] = {"readyReplicas": made["spec"].get("replicas", 1)}
            for container in made["spec"]["template"]["spec"]["containers"]:
                container["image"] += ":1.2.0" if "caseprep-pipelines" in container["image"] else ""
        if kind in known:
            yield made
    (settings,) = manifests(BASE / "settings.yaml")
    settings["data"] |= {"CASEPREP_GPU_IMAGE": "registry.example/caseprep-pipelines/gpu:1.2.0@sha256:0"}
    yield settings
    yield config_map("caseprep-dagster", {"dagster.yaml": "", "workspace.yaml": ""})
    yield secret("caseprep-database", URLS)
    yield secret("caseprep-storage", {"AWS_ACCESS_KEY_ID": "hunter2"})
    yield {"kind": "Job", "metadata": {"name": "caseprep-migrate"},
           "status": {"startTime": "2026-01-01T00:00:00Z", "succeeded": 1}}  # fmt: skip
    yield {"kind": "PersistentVolumeClaim", "metadata": {"name": "caseprep-models"}, "status": {"phase": "Bound"}}


def settings(**overrides: object) -> Settings:
    return read_settings(storage="s3://nothing", **overrides)


def found(**overrides: object) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine_cluster(settings(**overrides))}


def test_what_ships_is_all_right(cluster: KubernetesServer) -> None:
    findings = found()
    assert {name: finding.line for name, finding in findings.items() if not finding.ok} == {}
    assert findings["GPU nodes"].line == "1 with 4 × nvidia.com/gpu"
    assert findings["Images"].line == "all of version 1.2.0"


def test_the_command_prints_it_and_fails_where_something_is_wrong(cluster: KubernetesServer) -> None:
    run = CliRunner().invoke(app, ["doctor", "--cluster"])
    assert run.exit_code == 0, run.output
    assert "ok    Way in: through the proxy, with TLS" in run.output
    cluster.remove("secrets", "caseprep-storage")
    assert CliRunner().invoke(app, ["doctor", "--cluster", "--json"]).exit_code == 1


Change = Callable[[KubernetesServer], None]


def edited(kind: str, name: str, *path: Any, to: Any, namespace: str | None = "caseprep") -> Change:
    """Changes one field of an object."""

    def change(server: KubernetesServer) -> None:
        made = copy.deepcopy(server.objects[kind, namespace, name])
        inside = made
        for step in path[:-1]:
            inside = inside[step]
        inside[path[-1]] = to
        server.apply(made)

    return change


def removed(kind: str, name: str, namespace: str | None = "caseprep") -> Change:
    return lambda server: server.remove(kind, name, namespace)


def stuck_pod(server: KubernetesServer) -> None:
    container = {"name": "dagster", "image": "nobody/has-this:1"}
    state = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}}
    status = {"phase": "Pending", "containerStatuses": [{**container, "state": state}]}
    spec = {"containers": [container], "nodeSelector": {"no": "where"}}
    server.apply({"kind": "Pod", "metadata": {"name": "step"}, "spec": spec, "status": status})


def homeless_pod(server: KubernetesServer) -> None:
    said = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
    no_node = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": said}
    server.apply({"kind": "Pod", "metadata": {"name": "step"},
                  "spec": {"containers": [{"name": "dagster", "image": "x"}], "nodeSelector": {"no": "where"}},
                  "status": {"phase": "Pending", "conditions": [no_node]}})  # fmt: skip


BACKEND = ("spec", "rules", 0, "http", "paths", 0, "backend", "service", "name")
DRIVERLESS = {**URLS, "DAGSTER_PG_URL": "postgresql://caseprep:hunter2@database/dagster"}


@pytest.mark.parametrize(
    ("change", "name", "ok", "words"),
    [
        (removed("deployments", "caseprep-daemon"), "Deployments", False, "caseprep-daemon not in namespace caseprep"),
        (edited("deployments", "caseprep-webserver", "status", to={"readyReplicas": 1}), "Deployments", False,
         "caseprep-webserver has 1 of 2 pods ready"),
        (edited("configmaps", "caseprep-settings", "data", "CASEPREP_GPU_IMAGE", to="caseprep-pipelines/gpu:1.1.0"),
         "Images", False, "1.1.0: gpu"),
        (edited("jobs", "caseprep-migrate", "status", to={"startTime": "x", "failed": 1}), "Migrations", False,
         "kubectl logs job/caseprep-migrate"),
        (removed("jobs", "caseprep-migrate"), "Migrations", None, "not there"),
        (removed("secrets", "caseprep-database"), "Settings and secrets", False, "secret caseprep-database is missing"),
        (removed("configmaps", "caseprep-dagster"), "Settings and secrets", False, "config map caseprep-dagster"),
        (edited("secrets", "caseprep-database", "stringData", to={}), "Settings and secrets", False,
         "has no CASEPREP_DATABASE_URL"),
        (edited("secrets", "caseprep-database", "stringData", to=DRIVERLESS), "Settings and secrets", False,
         "postgresql\\+psycopg2://"),
        (removed("persistentvolumeclaims", "caseprep-models"), "Models", False, "claim caseprep-models is missing"),
        (edited("persistentvolumeclaims", "caseprep-models", "status", "phase", to="Pending"), "Models", False,
         "is Pending"),
        (removed("nodes", "gpu-1", None), "GPU nodes", None, "autoscaler makes one"),
        (edited("nodes", "gpu-1", "status", "allocatable", to={"cpu": "8"}, namespace=None), "GPU nodes", False,
         "gpu-1 offer no nvidia.com/gpu"),
        (removed("nodes", "cpu-1", None), "Other nodes", False, "caseprep.io/pool=cpu"),
        (removed("priorityclasses", "caseprep-rush", None), "Priority classes", False, "caseprep-rush missing"),
        (edited("resourcequotas", "caseprep", "status",
                to={"hard": {"requests.nvidia.com/gpu": "16"}, "used": {"requests.nvidia.com/gpu": "16"}}),
         "Quota", None, "requests.nvidia.com/gpu of caseprep \\(16 of 16\\)"),
        (stuck_pod, "Pods", False, "step: its image nobody/has-this:1 cannot be pulled"),
        (homeless_pod, "Pods", None, "step: it waits for a node"),
        (removed("networkpolicies", "default-deny"), "Network policies", False, "no login"),
        (edited("ingresses", "caseprep", *BACKEND, to="caseprep-webserver"), "Way in", False,
         "ingress caseprep leads to the webserver itself"),
        (edited("services", "caseprep-webserver", "spec", "type", to="LoadBalancer"), "Way in", False, "to everybody"),
        (edited("ingresses", "caseprep", "spec", "tls", to=[]), "Way in", False, "no certificate"),
        (removed("ingresses", "caseprep"), "Way in", None, "port-forward"),
    ],
)  # fmt: skip
def test_each_thing_that_is_wrong_is_one_line(
    cluster: KubernetesServer, change: Change, name: str, ok: bool | None, words: str
) -> None:
    change(cluster)
    findings = found()
    assert findings[name].ok is ok
    assert re.search(words, findings[name].line), findings[name].line
    assert "\n" not in findings[name].line
    # and nothing else is wrong, but what the same change makes wrong
    assert sum(finding.ok is False for finding in findings.values()) <= 1
    assert not any("hunter2" in finding.line for finding in findings.values())


def test_a_gpu_that_no_node_has_is_told_with_those_that_are_there(cluster: KubernetesServer) -> None:
    edited("nodes", "gpu-1", "metadata", "labels",
           to={"caseprep.io/pool": "gpu", "nvidia.com/gpu.product": "NVIDIA-L4"}, namespace=None)(cluster)  # fmt: skip
    assert found(gpu_product="NVIDIA-L4")["GPU nodes"].ok
    wrong = found(gpu_product="NVIDIA-A100")["GPU nodes"]
    assert wrong.ok is False
    assert "there is NVIDIA-L4" in wrong.line


def test_an_account_that_may_not_look_is_told_at_what(cluster: KubernetesServer) -> None:
    cluster.tokens["admin"] = "clerk"
    findings = found()
    cluster.refused.clear()
    assert all(finding.ok is False for finding in findings.values())
    assert findings["Deployments"].line == "this account may not read deployments: ask for a role that may"
    assert findings["GPU nodes"].line == "this account may not read nodes: ask for a role that may"


def test_without_a_cluster_there_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    choose(monkeypatch, tmp_path / "none")
    (finding,) = found().values()
    assert finding.ok is False
    assert "set KUBECONFIG" in finding.line
