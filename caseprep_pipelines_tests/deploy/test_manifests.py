"""The manifests are what Kubernetes takes, and as closed as the documentation says."""

import functools
import importlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import jsonschema
import kubernetes_validate
import pytest
import yaml

from caseprep_pipelines.settings import Settings
from caseprep_pipelines_tests.deploy.custom_kinds import CUSTOM
from caseprep_pipelines_tests.deploy.rendering import (
    KUBERNETES,
    OVERLAYS,
    ROOT,
    VARIANTS,
    Object,
    containers,
    named,
    objects,
    pod_template,
    pods,
    title,
)

VERSIONS = ("1.34", "1.35", "1.36", "1.37")
#: For what must reach into the node; the namespace `caseprep` is `restricted`.
PRIVILEGED = "caseprep-gpu"
#: Read by other programs than ours.
FOREIGN = {
    "AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_SECRET_ACCESS_KEY", "DAGSTER_COMPUTE_LOG_BUCKET",
    "DAGSTER_CURRENT_IMAGE", "DAGSTER_DISABLE_TELEMETRY", "DAGSTER_HOME", "DAGSTER_PG_URL", "HF_HUB_OFFLINE",
    "HF_TOKEN", "HOME", "PYANNOTE_METRICS_ENABLED", "TMPDIR",
}  # fmt: skip

each_variant = pytest.mark.parametrize("variant", VARIANTS)


@functools.cache
def accepts(text: str, version: str) -> str | None:
    """What Kubernetes of that version would say against an object, None where nothing."""
    try:
        kubernetes_validate.validate(json.loads(text), version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{version}: {error}"
    return None


def wrong(each: Object) -> list[str]:
    schema = CUSTOM.get((each["apiVersion"], each["kind"]))
    if schema is not None:
        found = jsonschema.Draft202012Validator(schema).iter_errors(each["spec"])
        return [f"{title(each)}: {error.json_path}: {error.message}" for error in found]
    text = json.dumps(each, sort_keys=True)
    return [f"{title(each)}: {said}" for version in VERSIONS if (said := accepts(text, version))]


@each_variant
def test_kubernetes_takes_every_object(variant: str) -> None:
    assert [said for each in objects(variant) for said in wrong(each)] == []


def test_what_kubernetes_would_refuse_is_found() -> None:
    daemon: Any = json.loads(json.dumps(named("Deployment", "caseprep-daemon")))
    daemon["spec"]["template"]["spec"]["containers"][0]["livenessprobe"] = {}
    assert wrong(daemon)
    pool: Any = json.loads(json.dumps(named("NodePool", "caseprep-gpu-spot")))
    pool["spec"]["template"]["spec"]["taint"] = []
    assert wrong(pool)


@each_variant
def test_each_object_is_there_once(variant: str) -> None:
    keys = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in objects(variant)]
    assert len(keys) == len(set(keys))


@each_variant
def test_every_image_is_pinned(variant: str) -> None:
    images = {container["image"] for _, template in pods(variant) for container in containers(template)}
    images |= set(re.findall(r"\S+/caseprep-pipelines/\S+", json.dumps([str(each) for each in objects(variant)])))
    unpinned = {image for image in images if "@sha256:" not in image}
    # its digest could not be looked up; the tag is exact, and Renovate adds the digest
    assert unpinned <= {"nvcr.io/nvidia/k8s-device-plugin:v0.18.0"}


@each_variant
def test_run_and_step_pods_get_the_pinned_images_too(variant: str) -> None:
    (code,) = containers(named("Deployment", "caseprep-code", variant)["spec"]["template"])
    environment = {entry["name"]: entry["value"] for entry in code["env"]}
    assert environment["DAGSTER_CURRENT_IMAGE"] == code["image"]
    (image,) = containers(named("DaemonSet", "caseprep-image", variant)["spec"]["template"])
    assert named("ConfigMap", "caseprep-settings", variant)["data"]["CASEPREP_GPU_IMAGE"] == image["image"]


@each_variant
def test_no_pod_without_limits_probes_and_closed_security(variant: str) -> None:
    lacking = []
    for each, template in pods(variant):
        spec = template["spec"]
        if each["metadata"]["namespace"] != PRIVILEGED and not closed_pod(spec):
            lacking.append(f"{title(each)}: is not restricted")
        for container in containers(template):
            name = f"{title(each)}, {container['name']}"
            resources = container.get("resources", {})
            for part in ("requests", "limits"):
                if not {"cpu", "memory", "ephemeral-storage"} <= set(resources.get(part, {})):
                    lacking.append(f"{name}: no {part}")
            if each["metadata"]["namespace"] != PRIVILEGED and not closed_container(container):
                lacking.append(f"{name}: is not restricted")
            if not container["securityContext"].get("readOnlyRootFilesystem"):
                lacking.append(f"{name}: can write to its image")
            # a job's pod has a deadline in place of probes
            if each["kind"] in ("Job", "CronJob"):
                job = each["spec"]["jobTemplate"]["spec"] if each["kind"] == "CronJob" else each["spec"]
                if "activeDeadlineSeconds" not in job:
                    lacking.append(f"{title(each)}: no deadline")
            elif container in spec["containers"] and not {"readinessProbe", "livenessProbe"} <= set(container):
                lacking.append(f"{name}: no probes")
    assert lacking == []


def closed_pod(spec: Object) -> bool:
    """As Pod Security's `restricted` wants a pod."""
    security = spec["securityContext"]
    volumes = {kind for volume in spec.get("volumes", ()) for kind in volume if kind != "name"}
    return (
        security["runAsNonRoot"] is True
        and security["runAsUser"] > 10_000
        and security["seccompProfile"]["type"] == "RuntimeDefault"
        and not any(spec.get(host) for host in ("hostNetwork", "hostPID", "hostIPC"))
        and volumes <= {"configMap", "secret", "emptyDir", "persistentVolumeClaim", "image"}
    )


def closed_container(container: Object) -> bool:
    security = container["securityContext"]
    return (
        security["allowPrivilegeEscalation"] is False
        and security["runAsNonRoot"] is True
        and security["capabilities"] == {"drop": ["ALL"]}
        and not security.get("privileged")
        and not any("hostPort" in port for port in container.get("ports", ()))
    )


@each_variant
def test_namespaces_enforce_it(variant: str) -> None:
    levels = {
        each["metadata"]["name"]: each["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        for each in objects(variant)
        if each["kind"] == "Namespace"
    }
    assert levels.pop(PRIVILEGED, "privileged") == "privileged"
    assert list(levels.values()) == ["restricted"]
    placed = {each["metadata"].get("namespace") for each, _ in pods(variant)}
    assert placed <= {*levels, PRIVILEGED}


def test_only_the_device_plugin_stands_outside() -> None:
    outside = {title(each) for each, _ in pods("aws+gpu-mps") if each["metadata"]["namespace"] == PRIVILEGED}
    assert outside == {"DaemonSet nvidia-device-plugin", "DaemonSet nvidia-mps"}


@each_variant
def test_every_flow_that_is_allowed_leads_to_a_port_that_exists_and_is_sent_from_the_other_side(variant: str) -> None:
    policies = [each for each in objects(variant) if each["kind"] == "NetworkPolicy"]
    assert any(
        policy["metadata"]["name"] == "default-deny" and policy["spec"]["podSelector"] == {} for policy in policies
    )
    pods_here = pods_by_label(variant)
    problems = []
    for policy in policies:
        spec, name = policy["spec"], policy["metadata"]["name"]
        chosen = [p for p in pods_here if selects(spec["podSelector"], p.labels)]
        if spec["podSelector"] and not chosen:
            problems.append(f"{name}: is about no pod")
        for rule in spec.get("ingress", ()):
            for port in rule["ports"]:
                if not any(port["port"] in pod.ports for pod in chosen) and port["port"] != MESH:
                    problems.append(f"{name}: nobody listens at {port['port']}")
            for peer in rule["from"]:
                if "podSelector" in peer and not any(selects(peer["podSelector"], pod.labels) for pod in pods_here):
                    problems.append(f"{name}: lets in nobody")
        for rule in spec.get("egress", ()):
            for peer in rule["to"]:
                if "podSelector" not in peer:
                    continue
                there = [pod for pod in pods_here if selects(peer["podSelector"], pod.labels)]
                for port in rule["ports"]:
                    if not any(port["port"] in pod.ports for pod in there) and port["port"] != MESH:
                        problems.append(f"{name}: leads to {port['port']}, where nobody listens")
    assert problems == []


#: Where the mesh's own traffic arrives, in every pod.
MESH = 15008


def pods_by_label(variant: str) -> list[Any]:
    found = [
        SimpleNamespace(
            title=title(each),
            labels=template["metadata"]["labels"],
            ports={port["containerPort"] for c in containers(template) for port in c.get("ports", ())},
        )
        for each, template in pods(variant)
    ]
    metadata = launcher()["run_k8s_config"]["pod_template_spec_metadata"]
    return [*found, SimpleNamespace(title="run and step pods", labels=metadata["labels"], ports=set())]


def selects(selector: Object, labels: Object) -> bool:
    assert set(selector) <= {"matchLabels"}
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())


def may_reach(variant: str, port: int) -> dict[str, set[str]]:
    """Who is let in at that port, by whom it is answered: both sides' policies taken together."""
    everybody = pods_by_label(variant)
    policies = [each["spec"] for each in objects(variant) if each["kind"] == "NetworkPolicy"]

    def allowed(side: str, own: Any, other: Any) -> bool:
        key = "from" if side == "ingress" else "to"
        return any(
            selects(policy["podSelector"], own.labels)
            and any(
                any("podSelector" in peer and selects(peer["podSelector"], other.labels) for peer in rule[key])
                and any(entry["port"] == port for entry in rule["ports"])
                for rule in policy.get(side, ())
            )
            for policy in policies
        )

    return {
        server.title: {
            client.title
            for client in everybody
            if allowed("ingress", server, client) and allowed("egress", client, server)
        }
        for server in everybody
        if port in server.ports
    }


def test_the_flows_are_these_and_no_others() -> None:
    web = {"Deployment caseprep-webserver", "Deployment caseprep-webserver-viewers"}
    for overlay in OVERLAYS:
        assert may_reach(overlay, 4000) == {"Deployment caseprep-code": {"Deployment caseprep-daemon", *web}}
        # nobody comes to the UI but through the proxy of the same audience
        assert may_reach(overlay, 3000) == {
            "Deployment caseprep-webserver": {"Deployment caseprep-proxy"},
            "Deployment caseprep-webserver-viewers": {"Deployment caseprep-proxy-viewers"},
        }
    assert may_reach("single-node", 5432) == {
        "StatefulSet caseprep-postgres": {
            "Deployment caseprep-code", "Deployment caseprep-daemon", "Job caseprep-migrate", "run and step pods", *web
        }
    }  # fmt: skip


@each_variant
def test_services_and_ingresses_lead_somewhere(variant: str) -> None:
    everybody = pods_by_label(variant)
    services = {each["metadata"]["name"]: each for each in objects(variant) if each["kind"] == "Service"}
    for name, service in services.items():
        behind = [pod for pod in everybody if selects({"matchLabels": service["spec"]["selector"]}, pod.labels)]
        assert len(behind) == 1, f"{name} must lead to one thing"
    for each in objects(variant):
        if each["kind"] == "Ingress":
            assert each["spec"]["tls"], "an ingress without TLS"
            (rule,) = each["spec"]["rules"]
            assert rule["host"] in each["spec"]["tls"][0]["hosts"]
            (path,) = rule["http"]["paths"]
            assert path["backend"]["service"]["name"].startswith("caseprep-proxy")


@each_variant
def test_every_name_that_is_referred_to_exists(variant: str) -> None:
    there = {(each["kind"], each["metadata"]["name"]) for each in objects(variant)}
    there |= {
        ("Secret", each["spec"]["target"]["name"]) for each in objects(variant) if each["kind"] == "ExternalSecret"
    }
    there |= {("Secret", each["spec"]["secretName"]) for each in objects(variant) if each["kind"] == "Certificate"}
    # Kubernetes' own
    there |= {("PriorityClass", "system-node-critical")}
    missing = [
        f"{title(each)} wants {kind} {name}"
        for each, template in pods(variant)
        for kind, name in referred(template)
        if (kind, name) not in there
    ]
    assert missing == []
    for binding in (each for each in objects(variant) if each["kind"] == "RoleBinding"):
        assert ("Role", binding["roleRef"]["name"]) in there
        assert all(("ServiceAccount", subject["name"]) in there for subject in binding["subjects"])


def referred(template: Object) -> Iterator[tuple[str, str]]:
    spec = template["spec"]
    yield "ServiceAccount", spec["serviceAccountName"]
    yield "PriorityClass", spec["priorityClassName"]
    for volume in spec.get("volumes", ()):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
    for container in containers(template):
        for source in container.get("envFrom", ()):
            for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                if key in source:
                    yield kind, source[key]["name"]
        for entry in container.get("env", ()):
            reference = entry.get("valueFrom", {})
            if "configMapKeyRef" in reference:
                yield "ConfigMap", reference["configMapKeyRef"]["name"]
            if "secretKeyRef" in reference and not reference["secretKeyRef"].get("optional"):
                yield "Secret", reference["secretKeyRef"]["name"]


@each_variant
def test_every_variable_is_a_setting(variant: str) -> None:
    known = {f"CASEPREP_{name.upper()}" for name in Settings.model_fields}
    data = named("ConfigMap", "caseprep-settings", variant)["data"]
    secret = {
        entry["secretKey"]
        for each in objects(variant)
        if each["kind"] == "ExternalSecret" and each["metadata"]["name"] in ("caseprep-database", "caseprep-storage")
        for entry in each["spec"]["data"]
        if "template" not in each["spec"]["target"]
    }
    own = {
        entry["name"]
        for _, template in pods(variant)
        for container in containers(template)
        if "caseprep-pipelines" in container["image"]
        for entry in container.get("env", ())
    }
    assert {*data, *secret, *own} <= known | FOREIGN


@each_variant
def test_the_settings_are_read(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from caseprep_pipelines.settings import read_settings

    for name, value in named("ConfigMap", "caseprep-settings", variant)["data"].items():
        monkeypatch.setenv(name, value)
    settings = read_settings()
    assert settings.remote
    assert settings.executor == "kubernetes"
    assert settings.kubernetes_namespace == named("Deployment", "caseprep-code", variant)["metadata"]["namespace"]


@each_variant
def test_no_secret_is_in_the_repository(variant: str) -> None:
    for each in objects(variant):
        assert not (each["kind"] == "Secret" and (each.get("data") or each.get("stringData")))


def test_rights_are_few() -> None:
    roles = {each["metadata"]["name"]: each["rules"] for each in objects("aws") if each["kind"] == "Role"}
    assert set(roles) == {"caseprep-clock", "caseprep-launch", "caseprep-stop"}
    for rules in roles.values():
        for rule in rules:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert "secrets" not in rule["resources"]
    assert not any(each["kind"].startswith("ClusterRole") for variant in VARIANTS for each in objects(variant))
    bound = {
        subject["name"] for each in objects("aws") if each["kind"] == "RoleBinding" for subject in each["subjects"]
    }
    # not the code server, not migrations, not the viewers' webserver
    assert bound == {"caseprep-run", "caseprep-daemon", "caseprep-webserver", "caseprep-clock"}


def test_viewers_can_change_nothing() -> None:
    (viewers,) = containers(named("Deployment", "caseprep-webserver-viewers")["spec"]["template"])
    assert "--read-only" in viewers["args"]
    (operators,) = containers(named("Deployment", "caseprep-webserver")["spec"]["template"])
    assert "--read-only" not in operators["args"]


def test_two_webservers_spread_over_zones_and_one_is_always_there() -> None:
    webserver = named("Deployment", "caseprep-webserver")["spec"]
    assert webserver["replicas"] == 2
    spread = {rule["topologyKey"] for rule in webserver["template"]["spec"]["topologySpreadConstraints"]}
    assert spread == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    budget = named("PodDisruptionBudget", "caseprep-webserver")["spec"]
    assert budget["minAvailable"] == 1
    assert budget["selector"]["matchLabels"].items() <= webserver["template"]["metadata"]["labels"].items()


def test_gpu_nodes_carry_what_step_pods_look_for() -> None:
    from caseprep_pipelines.cluster import placement
    from caseprep_pipelines.settings import read_settings

    settings = read_settings(executor="kubernetes", gpu_image="x")
    pod = placement.step_config(settings, gpu=True)["pod_spec_config"]
    for overlay in ("aws", "azure"):
        pools = [e["spec"] for e in objects(overlay) if e["kind"] == "NodePool" and "gpu" in e["metadata"]["name"]]
        assert len(pools) == 2
        for pool in pools:
            labels = pool["template"]["metadata"]["labels"]
            assert pod["nodeSelector"].items() <= labels.items()
            assert labels["caseprep.io/capacity"] in ("spot", "on-demand")
            for taint in pool["template"]["spec"]["taints"]:
                assert {**taint, "operator": "Equal"} in pod["tolerations"]
        # spot is tried first
        assert (
            max(pools, key=lambda pool: pool["weight"])["template"]["metadata"]["labels"]["caseprep.io/capacity"]
            == "spot"
        )
    claim = next(volume for volume in pod["volumes"] if volume["name"] == "models")["persistentVolumeClaim"]
    assert named("PersistentVolumeClaim", claim["claimName"])
    assert named("PriorityClass", pod["priorityClassName"])


def test_one_server_takes_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one node of `single-node`, labelled as the page says, fits CPU and GPU steps alike."""
    from caseprep_pipelines.cluster import placement
    from caseprep_pipelines.settings import read_settings

    for name, value in named("ConfigMap", "caseprep-settings", "single-node")["data"].items():
        monkeypatch.setenv(name, value)
    said = re.search(r'kubectl label node "\$NODE" (.*)', (ROOT / "docs/operations.md").read_text())
    assert said is not None
    labels = dict(label.split("=") for label in said[1].split())
    for gpu in (False, True):
        pod = placement.step_config(read_settings(), gpu)["pod_spec_config"]
        assert pod["nodeSelector"].items() <= labels.items()
    assert named("RuntimeClass", pod["runtimeClassName"], "single-node")


def launcher() -> dict[str, Any]:
    return yaml.safe_load((KUBERNETES / "base/dagster.yaml").read_text())["run_launcher"]["config"]  # type: ignore[no-any-return]


@pytest.fixture
def instance_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DAGSTER_HOME with the cluster's configuration, and the environment that it reads."""
    shutil.copy(KUBERNETES / "base/dagster.yaml", tmp_path)
    monkeypatch.setenv("DAGSTER_PG_URL", "postgresql://user@host/dagster")
    monkeypatch.setenv("DAGSTER_COMPUTE_LOG_BUCKET", "bucket")
    monkeypatch.setenv("CASEPREP_KUBERNETES_NAMESPACE", "caseprep")
    return tmp_path


def test_dagster_takes_its_configuration(instance_files: Path) -> None:
    from dagster._core.instance.config import dagster_instance_config

    found, _ = dagster_instance_config(str(instance_files))
    assert found["telemetry"] == {"enabled": False}
    assert found["run_monitoring"]["free_slots_after_run_end_seconds"] == 300
    for part in ("run_launcher", "compute_logs", "local_artifact_storage"):
        assert importlib.import_module(found[part]["module"])


def test_the_run_pod_that_the_launcher_makes_is_as_closed_as_the_others(
    instance_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through Dagster's own code, up to the job that it would send."""
    from dagster._core.instance.ref import InstanceRef
    from dagster_k8s.container_context import K8sContainerContext
    from dagster_k8s.job import construct_dagster_k8s_job

    monkeypatch.setattr("dagster_k8s.launcher.load_kubernetes_config", lambda **_: None)
    ref = InstanceRef.from_dir(str(instance_files))
    launcher = ref.run_launcher
    assert launcher is not None
    context = K8sContainerContext.create_for_run(dg.DagsterRun("job"), launcher, include_run_tags=True)
    job = construct_dagster_k8s_job(
        context.get_k8s_job_config("image@sha256:0", launcher), ["dagster", "--help"], "dagster-run-x",
        context.run_k8s_config, pod_name="x", component="run_worker",
    )  # fmt: skip
    made = kubernetes_client().sanitize_for_serialization(job)
    made.setdefault("apiVersion", "batch/v1")
    made.setdefault("kind", "Job")
    assert wrong(made) == []
    template = pod_template(made)
    assert template is not None
    assert closed_pod(template["spec"])
    assert all(closed_container(container) for container in containers(template))
    assert template["spec"]["serviceAccountName"] == "caseprep-run"
    labels = template["metadata"]["labels"]
    assert labels["app.kubernetes.io/component"] in ("run", "run_worker")
    assert labels["caseprep.io/reaches-database"] == "true"
    mounts = [mount["mountPath"] for c in containers(template) for mount in c["volumeMounts"]]
    assert len(mounts) == len(set(mounts))


def kubernetes_client() -> Any:
    import kubernetes

    return kubernetes.client.ApiClient()


def test_the_clock_changes_what_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    """The script of the two cron jobs, against what it would ask of Kubernetes."""
    import runpy

    import kubernetes

    asked: list[tuple[str, Any]] = []
    monkeypatch.setattr(kubernetes.config, "load_incluster_config", lambda: None)

    def ask(_self: Any, name: str, _namespace: str, change: Any) -> None:
        asked.append((name, change["spec"]))

    monkeypatch.setattr(kubernetes.client.CoreV1Api, "patch_namespaced_resource_quota", ask)
    monkeypatch.setattr(kubernetes.client.AppsV1Api, "patch_namespaced_deployment_scale", ask)
    monkeypatch.setenv("CASEPREP_KUBERNETES_NAMESPACE", "caseprep")
    for name in ("caseprep-day", "caseprep-night"):
        (container,) = containers(pod_template(named("CronJob", name)) or {})
        monkeypatch.setattr("sys.argv", ["clock.py", *container["args"]])
        runpy.run_path(str(KUBERNETES / "base/clock.py"), run_name="__main__")
    (day_quota, by_day), (warm, day_warm), (_, by_night), (_, night_warm) = asked
    assert by_day["hard"].keys() <= named("ResourceQuota", day_quota)["spec"]["hard"].keys()
    assert named("Deployment", warm)["spec"]["replicas"] == 0
    gpus = "requests.nvidia.com/gpu"
    assert int(by_night["hard"][gpus]) > int(by_day["hard"][gpus]) == 0
    assert day_warm["replicas"] > night_warm["replicas"] == 0


def test_helm_values_say_the_same_as_the_manifests() -> None:
    """The chart's own schema is not at hand: its parts go through Dagster's models, and are compared with ours."""
    from dagster_k8s.job import UserDefinedDagsterK8sConfig
    from dagster_k8s.models import k8s_snake_case_dict
    from kubernetes import client

    values = yaml.safe_load((ROOT / "deploy/helm/values.yaml").read_text())
    ours = yaml.safe_load((KUBERNETES / "base/dagster.yaml").read_text())
    config = values["runLauncher"]["config"]["k8sRunLauncher"]
    parts = {
        "pod_spec_config": k8s_snake_case_dict(client.V1PodSpec, config["runK8sConfig"]["podSpecConfig"]),
        "container_config": k8s_snake_case_dict(client.V1Container, config["runK8sConfig"]["containerConfig"]),
        "job_spec_config": k8s_snake_case_dict(client.V1JobSpec, config["runK8sConfig"]["jobSpecConfig"]),
    }
    assert UserDefinedDagsterK8sConfig.from_dict(parts)
    for name in ("backoff_limit", "ttl_seconds_after_finished"):
        assert parts["job_spec_config"][name] == launcher()["run_k8s_config"]["job_spec_config"][name]
    assert {entry["name"] for entry in config["envSecrets"]} == set(launcher()["env_secrets"])
    runs, pools = values["concurrency"]["runs"], values["concurrency"]["pools"]
    assert runs["maxConcurrentRuns"] == ours["concurrency"]["runs"]["max_concurrent_runs"]
    assert runs["tagConcurrencyLimits"] == ours["concurrency"]["runs"]["tag_concurrency_limits"]
    assert pools["defaultLimit"] == ours["concurrency"]["pools"]["default_limit"]
    monitoring = values["dagsterDaemon"]["runMonitoring"]
    assert monitoring["maxResumeRunAttempts"] == ours["run_monitoring"]["max_resume_run_attempts"]
    assert values["ingress"]["enabled"] is False
    for part in ("dagsterWebserver", "dagsterDaemon"):
        assert k8s_snake_case_dict(client.V1SecurityContext, values[part]["securityContext"])
    lock = (ROOT / "requirements.lock").read_text()
    version = re.search(r"^dagster==(\S+)", lock, re.MULTILINE)
    assert version is not None
    assert f"--version {version[1]}" in (ROOT / "deploy/helm/values.yaml").read_text()


def test_the_load_test_uploads_and_does_not_call_unfinished_work_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import runpy

    from caseprep_pipelines_tests.conftest import environment

    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["load.py", "5", "0"])
    with pytest.raises(SystemExit, match="load test failed"):
        runpy.run_path(str(KUBERNETES / "overlays/staging/load.py"), run_name="__main__")
    assert len(list((tmp_path / "storage/incoming").glob("load-*/*.wav"))) == 5
