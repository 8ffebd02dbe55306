"""A look at a running deployment through the Kubernetes API: what `caseprep doctor --cluster` says.

Like the rest of `doctor`, each check stands alone, nothing is changed, and no line holds a secret: of a secret only the
names of its keys are looked at, and the beginning of one address.
"""

import base64
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from caseprep_pipelines.cluster.placement import GPU_POOL, POOL_LABEL, PRODUCT_LABEL
from caseprep_pipelines.cluster.pods import State, condition
from caseprep_pipelines.errors import ConfigurationError, Fault
from caseprep_pipelines.settings import Settings

Json = dict[str, Any]
Line = tuple[bool | None, str]

DEPLOYMENTS = ("caseprep-code", "caseprep-daemon", "caseprep-proxy", "caseprep-webserver")
PRIORITIES = ("caseprep-rush", "caseprep-normal", "caseprep-archive")
CONFIG_MAPS = ("caseprep-settings", "caseprep-dagster")
#: Of each secret the keys without which pods cannot work.
SECRETS: dict[str, tuple[str, ...]] = {
    "caseprep-database": ("CASEPREP_DATABASE_URL", "DAGSTER_PG_URL"),
    "caseprep-storage": (),
}

_GROUPS = {
    "deployments": "/apis/apps/v1",
    "jobs": "/apis/batch/v1",
    "networkpolicies": "/apis/networking.k8s.io/v1",
    "ingresses": "/apis/networking.k8s.io/v1",
    "priorityclasses": "/apis/scheduling.k8s.io/v1",
}
_EVERYWHERE = ("nodes", "priorityclasses")


@dataclass(frozen=True)
class Deployment:
    """A namespace of a cluster, to be asked."""

    get: Callable[[str], Json | None]
    """JSON of an address; None where there is nothing. Raises `Fault` or `ConfigurationError`."""
    settings: Settings

    def all(self, kind: str) -> list[Json]:
        return list((self.get(self._address(kind)) or {}).get("items", ()))

    def one(self, kind: str, name: str) -> Json | None:
        return self.get(f"{self._address(kind)}/{name}")

    def _address(self, kind: str) -> str:
        group = _GROUPS.get(kind, "/api/v1")
        space = "" if kind in _EVERYWHERE else f"/namespaces/{self.settings.kubernetes_namespace}"
        return f"{group}{space}/{kind}"


def connect(settings: Settings) -> Deployment:
    """The cluster of `KUBECONFIG`, or the one that this process runs in. Raises `ConfigurationError` without one."""
    import kubernetes
    from kubernetes.client.rest import ApiException
    from urllib3.exceptions import HTTPError

    config = kubernetes.config
    try:
        config.load_kube_config()
    except (config.ConfigException, OSError):
        try:
            config.load_incluster_config()
        except config.ConfigException:
            raise ConfigurationError("no cluster is configured: set KUBECONFIG to the file that kubectl uses") from None
    client = kubernetes.client.ApiClient()

    def get(address: str) -> Json | None:
        try:
            answer = client.call_api(
                address, "GET", header_params={"Accept": "application/json"}, auth_settings=["BearerToken"],
                _return_http_data_only=True, _preload_content=False, _request_timeout=20,
            )  # fmt: skip
        except ApiException as error:
            if error.status == 404:
                return None
            if error.status in (401, 403):
                what = address.rpartition(f"/{settings.kubernetes_namespace}/")[2].rpartition("/v1/")[2]
                raise ConfigurationError(f"this account may not read {what}: ask for a role that may") from None
            raise Fault(f"the cluster's API answers {error.status}") from None
        except HTTPError:
            raise Fault("the cluster's API cannot be reached") from None
        found: Json = json.loads(answer.data)
        return found

    return Deployment(get, settings)


def checks() -> Iterator[tuple[str, Callable[[Deployment], Line]]]:
    yield from (
        ("Deployments", _deployments),
        ("Images", _images),
        ("Migrations", _migrations),
        ("Settings and secrets", _settings_and_secrets),
        ("Models", _models),
        ("GPU nodes", _gpu_nodes),
        ("Other nodes", _cpu_nodes),
        ("Priority classes", _priority_classes),
        ("Quota", _quota),
        ("Pods", _pods),
        ("Network policies", _network_policies),
        ("Way in", _way_in),
    )


def _deployments(cluster: Deployment) -> Line:
    found = {each["metadata"]["name"]: each for each in cluster.all("deployments")}
    space = cluster.settings.kubernetes_namespace
    missing = [name for name in DEPLOYMENTS if name not in found]
    if missing:
        return False, f"{', '.join(missing)} not in namespace {space}: apply an overlay of deploy/kubernetes"
    waiting = []
    for name, each in sorted(found.items()):
        wanted, ready = each["spec"].get("replicas", 1), each.get("status", {}).get("readyReplicas", 0)
        if ready < wanted:
            waiting.append(f"{name} has {ready} of {wanted} pods ready")
    if waiting:
        return False, f"{'; '.join(waiting)}: kubectl -n {space} describe deployment NAME says why"
    return True, f"{len(found)} ready"


def _images(cluster: Deployment) -> Line:
    images = {
        container["image"]
        for each in cluster.all("deployments")
        for container in each["spec"]["template"]["spec"]["containers"]
    }
    data = (cluster.one("configmaps", "caseprep-settings") or {}).get("data", {})
    images |= {data[name] for name in ("CASEPREP_GPU_IMAGE", "CASEPREP_CPU_IMAGE") if data.get(name)}
    versions: dict[str, list[str]] = {}
    for image in sorted(images):
        ours = re.search(r"caseprep-pipelines/([a-z-]+)(?::([^@]+))?(?:@.*)?$", image)
        if ours:
            versions.setdefault(ours[2] or "no version", []).append(ours[1])
    if len(versions) > 1:
        told = "; ".join(f"{version}: {', '.join(names)}" for version, names in versions.items())
        return False, f"of several versions ({told}): give all the same tag, or steps and services do not fit together"
    if list(versions) == ["no version"] or not versions:
        return None, "no version in the images' names: pin one, so that a restart does not change it"
    return True, f"all of version {next(iter(versions))}"


def _migrations(cluster: Deployment) -> Line:
    job = cluster.one("jobs", "caseprep-migrate")
    if job is None:
        return None, "caseprep-migrate is not there (it goes a day after it ended): the pods' logs say if it is needed"
    status = job.get("status", {})
    if status.get("succeeded"):
        return True, "the databases have the tables of the version that was deployed last"
    if status.get("active"):
        return None, "caseprep-migrate is still running; everything else waits for it"
    return False, "caseprep-migrate failed: kubectl logs job/caseprep-migrate says why; nothing was changed"


def _settings_and_secrets(cluster: Deployment) -> Line:
    wrong = [f"config map {name} is missing" for name in CONFIG_MAPS if cluster.one("configmaps", name) is None]
    for name, keys in SECRETS.items():
        found = cluster.one("secrets", name)
        if found is None:
            wrong.append(f"secret {name} is missing")
            continue
        data = {**found.get("data", {}), **found.get("stringData", {})}
        wrong += [f"secret {name} has no {key}" for key in keys if key not in data]
        if not _has_driver(found):
            wrong.append(
                f"DAGSTER_PG_URL in secret {name} must begin with postgresql+psycopg2://, the only driver with which "
                "Dagster can tell of events"
            )
    return (False, "; ".join(wrong)) if wrong else (True, "all there")


def _has_driver(secret: Json) -> bool:
    """Whether Dagster's address names its driver; nothing else of it is looked at."""
    encoded = secret.get("data", {}).get("DAGSTER_PG_URL")
    plain = base64.b64decode(encoded).decode() if encoded else secret.get("stringData", {}).get("DAGSTER_PG_URL")
    return plain is None or plain.startswith("postgresql+psycopg2://")


def _models(cluster: Deployment) -> Line:
    data = (cluster.one("configmaps", "caseprep-settings") or {}).get("data", {})
    kind, _, name = str(data.get("CASEPREP_MODELS_VOLUME", cluster.settings.models_volume)).partition(":")
    if kind == "image":
        return True, "in an image of their own"
    claim = cluster.one("persistentvolumeclaims", name)
    if claim is None:
        return False, f"volume claim {name} is missing, without which no GPU step can begin"
    phase = claim.get("status", {}).get("phase")
    if phase != "Bound":
        return False, f"volume claim {name} is {phase}: kubectl describe pvc {name} says why"
    job = cluster.one("jobs", "caseprep-models")
    if job is not None and not job.get("status", {}).get("succeeded"):
        return False, "caseprep-models has not filled the volume: kubectl logs job/caseprep-models --all-containers"
    return True, f"volume claim {name} is bound"


def _gpu_nodes(cluster: Deployment) -> Line:
    settings = cluster.settings
    nodes = [node for node in cluster.all("nodes") if _label(node, POOL_LABEL) == GPU_POOL]
    if not nodes:
        return None, f"none now: the autoscaler makes one when a step waits; else label one {POOL_LABEL}={GPU_POOL}"
    if settings.gpu_product:
        fitting = [node for node in nodes if _label(node, PRODUCT_LABEL) == settings.gpu_product]
        if not fitting:
            there = ", ".join(sorted({str(_label(node, PRODUCT_LABEL)) for node in nodes}))
            return False, f"none has a {settings.gpu_product} (CASEPREP_GPU_PRODUCT); there is {there}"
        nodes = fitting
    free = {
        node["metadata"]["name"]: int(node["status"]["allocatable"].get(settings.gpu_resource, 0)) for node in nodes
    }
    blind = [name for name, count in free.items() if not count]
    if blind:
        return False, (
            f"{', '.join(blind)} offer no {settings.gpu_resource}: check the driver and that the device plugin runs "
            "there, with the sharing that CASEPREP_GPU_RESOURCE names"
        )
    return True, f"{len(nodes)} with {sum(free.values())} × {settings.gpu_resource}"


def _cpu_nodes(cluster: Deployment) -> Line:
    pool = cluster.settings.cpu_pool
    count = sum(_label(node, POOL_LABEL) == pool for node in cluster.all("nodes"))
    if not count:
        return False, f"no node carries {POOL_LABEL}={pool}, so no CPU step can begin: label one"
    return True, f"{count}"


def _priority_classes(cluster: Deployment) -> Line:
    found = {each["metadata"]["name"] for each in cluster.all("priorityclasses")}
    missing = [name for name in PRIORITIES if name not in found]
    if missing:
        return False, f"{', '.join(missing)} missing, and pods that name them are refused: apply the overlay again"
    return True, ", ".join(PRIORITIES)


def _quota(cluster: Deployment) -> Line:
    quotas = cluster.all("resourcequotas")
    if not quotas:
        return None, "none: a mistake in a backfill could take the whole cluster"
    full = []
    for quota in quotas:
        status = quota.get("status", {})
        for name, most in status.get("hard", quota["spec"]["hard"]).items():
            used = status.get("used", {}).get(name)
            # a limit of none is a rule, not a shortage
            if used is not None and used == most and most != "0":
                full.append(f"{name} of {quota['metadata']['name']} ({used} of {most})")
    if full:
        return None, f"used up: {', '.join(full)}; more pods wait until others end"
    return True, f"{len(quotas)}, nothing used up"


def _pods(cluster: Deployment) -> Line:
    events: dict[str, list[Json]] = {}
    for event in cluster.all("events"):
        events.setdefault(event["involvedObject"].get("name", ""), []).append(event)
    stuck: list[str] = []
    waiting: list[str] = []
    count = 0
    for pod in cluster.all("pods"):
        name = pod["metadata"]["name"]
        found = condition(pod, events.get(name, ()), datetime.now(UTC))
        count += found.state in (State.ALIVE, State.STOPPING)
        if found.state in (State.STUCK, State.WAITING):
            (stuck if found.state is State.STUCK else waiting).append(f"{name}: {found.why}")
    if stuck or waiting:
        told = [*stuck, *waiting]
        more = f" and {len(told) - 5} more" if len(told) > 5 else ""
        return (False if stuck else None), "; ".join(told[:5]) + more
    return True, f"{count} running, none waits"


def _network_policies(cluster: Deployment) -> Line:
    for policy in cluster.all("networkpolicies"):
        spec = policy["spec"]
        everything = not spec.get("podSelector") and {"Ingress", "Egress"} <= set(spec.get("policyTypes", ()))
        if everything and not spec.get("ingress") and not spec.get("egress"):
            return True, "nothing may talk to anything that is not named"
    return False, (
        "no policy denies what is not named, so that anything in the cluster reaches Dagster's gRPC and UI, which have "
        "no login: apply the overlay's policies, and check that the cluster's network enforces them"
    )


def _way_in(cluster: Deployment) -> Line:
    services = {each["metadata"]["name"]: each for each in cluster.all("services")}
    bare = {name for name, each in services.items() if _component(each) == "webserver"}
    open_ones = [name for name in sorted(bare) if services[name]["spec"].get("type") in ("LoadBalancer", "NodePort")]
    if open_ones:
        return False, (
            f"service {', '.join(open_ones)} shows the webserver, which has no login, to everybody: make it ClusterIP "
            "and let people in through caseprep-proxy"
        )
    ingresses = cluster.all("ingresses")
    for ingress in ingresses:
        name = ingress["metadata"]["name"]
        if bare & set(_backends(ingress)):
            return False, (
                f"ingress {name} leads to the webserver itself, which has no login: let it lead to caseprep-proxy"
            )
        if not ingress["spec"].get("tls"):
            return False, f"ingress {name} has no certificate, so that sign-ins travel in clear: give it tls"
    if not ingresses:
        return None, "no ingress: the UI is reached through kubectl port-forward only"
    return True, "through the proxy, with TLS"


def _backends(ingress: Json) -> Iterator[str]:
    backends = [ingress["spec"].get("defaultBackend", {})]
    for rule in ingress["spec"].get("rules", ()):
        backends += [path["backend"] for path in rule.get("http", {}).get("paths", ())]
    for backend in backends:
        if "service" in backend:
            yield str(backend["service"]["name"])


def _component(service: Json) -> str | None:
    return service["spec"].get("selector", {}).get("app.kubernetes.io/component")  # type: ignore[no-any-return]


def _label(node: Json, name: str) -> str | None:
    return node["metadata"].get("labels", {}).get(name)  # type: ignore[no-any-return]
