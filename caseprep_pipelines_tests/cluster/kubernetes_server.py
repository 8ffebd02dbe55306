"""A small Kubernetes: the API over HTTPS, nodes, a scheduler, and containers as processes of this machine.

Dagster's launcher and executor, and `caseprep doctor --cluster`, talk to it through the real client. What it answers:

- `batch/v1` jobs: create, list (`fieldSelector=metadata.name=`), get, get `status`, delete (pods stay, as Kubernetes
  leaves them when no propagation policy is asked for);
- `v1` pods: list (`labelSelector` of equalities and keys, `fieldSelector=metadata.name=`), get, delete, `log`
  (`tailLines`, `timestamps`); events: list (`fieldSelector=involvedObject.name=`);
- get and list of what was put into it with `apply`: nodes, deployments, services, secrets, config maps, volume claims,
  quotas, network policies, ingresses, priority classes. Nobody watches, so there are no watches.

Anything else is answered with 404, what the caller's role does not grant with 403, and both are kept for the tests to
look at. Callers are known by their service account's token, which pods that mount one find where Kubernetes puts it.

What happens to a pod: it is placed by node selector, required node affinity, taints and free cpu, memory, GPUs and
other resources, higher priority first, and otherwise waits with the message that Kubernetes' scheduler gives. An image
that nobody has, a secret or a config map that is not there, keep it waiting as the kubelet does. Its containers'
commands run as processes (see `image`), with `env`, `envFrom`, `emptyDir`, `configMap`, claims and read-only roots;
one that takes more memory than its limit is killed. It ends by itself, by its deadline, by deletion with its grace
period, by eviction or with its node. Init containers, probes, quotas and
preemption are not here; nor are other users, so a container keeps the tests' own.
"""

import base64
import contextlib
import copy
import itertools
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psutil
import yaml

from caseprep_pipelines import large_pages

Json = dict[str, Any]

ADMIN = "system:admin"
_GROUPS = {
    "": "pods events nodes services secrets configmaps persistentvolumeclaims resourcequotas serviceaccounts "
    "limitranges namespaces",
    "batch": "jobs cronjobs",
    "apps": "deployments daemonsets statefulsets",
    "networking.k8s.io": "networkpolicies ingresses",
    "scheduling.k8s.io": "priorityclasses",
    "rbac.authorization.k8s.io": "roles rolebindings",
    "policy": "poddisruptionbudgets",
}
_PLURALS = {
    "NetworkPolicy": "networkpolicies", "Ingress": "ingresses", "PriorityClass": "priorityclasses"
}  # fmt: skip
_UNITS = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
          "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}  # fmt: skip
_PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>[a-z0-9.]+)/v1)(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<kind>[a-z]+)(?:/(?P<name>[^/]+)(?:/(?P<sub>[a-z]+))?)?"
)
_TOKENS = "/var/run/secrets/kubernetes.io/serviceaccount"


def quantity(text: str | float) -> float:
    """A resource quantity as a number."""
    match = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", str(text))
    assert match is not None, text
    return float(match[1]) * _UNITS[match[2]]


def stamp(at: datetime | None = None) -> str:
    return (at or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Refused(Exception):
    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


class Image:
    """An image that nodes can pull: the process that imported its modules once and forks containers."""

    def __init__(self, modules: list[str], hidden: tuple[str, ...] = ()) -> None:
        self.modules, self.hidden = modules, hidden
        self.process: subprocess.Popen[bytes] | None = None
        self.pids: dict[str, int] = {}
        self.ended: dict[str, int] = {}
        self.ready = False
        self._turn = threading.Lock()

    def pull(self, **environment: str) -> None:
        """Begins to import what the image holds, before a container needs it."""
        with self._turn:
            if self.process is not None:
                return
            command = [sys.executable, "-m", "caseprep_pipelines_tests.cluster.image", *self.modules]
            threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
            quiet = {"DAGSTER_DISABLE_TELEMETRY": "1", "PYANNOTE_METRICS_ENABLED": "0", "PYTHONWARNINGS": "ignore"}
            own = {**os.environ, **threads, **quiet, **environment}
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=own)
            threading.Thread(target=self._listen, daemon=True).start()

    def start(self, wanted: Json) -> None:
        self.pull()
        with self._turn:
            assert self.process is not None
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps({**wanted, "hidden": self.hidden}).encode() + b"\n")
            self.process.stdin.flush()

    def _listen(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            told = json.loads(line)
            if "pid" in told:
                self.pids[told["started"]] = told["pid"]
            elif "ready" in told:
                self.ready = True
            elif "ended" in told:
                self.ended[told["ended"]] = told["code"]

    def close(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
            self.process.wait(30)


class KubernetesServer:
    """The cluster. `folder` holds what its pods write; `reachable` are folders that every container sees as they are,
    such as one with a database's socket; `claims` are folders that volume claims stand for.
    """

    def __init__(self, folder: Path, images: Mapping[str, Image], reachable: tuple[Path, ...] = ()) -> None:
        self.folder, self.images, self.reachable = folder, dict(images), reachable
        self.claims: dict[str, Path] = {}
        self.objects: dict[tuple[str, str | None, str], Json] = {}
        self.requests: list[tuple[str, str, str]] = []
        """Caller, verb and resource of everything that was asked."""
        self.refused: list[str] = []
        """What was answered with 404 or 405 because it is not here, or with 403."""
        self.created: list[Json] = []
        """Every job, as it was sent."""
        self.history: list[tuple[str, str, dict[str, float]]] = []
        """Node, pod, and what all pods on the node had asked for once that pod was placed there."""
        self.tokens = {"admin": ADMIN}
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._deadlines: dict[str, float] = {}
        self._stopping = threading.Event()
        (folder / "tls").mkdir(parents=True)
        self._server = _Server(self, _certificate(folder / "tls"))
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    # What a test does

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def kubeconfig(self) -> Path:
        """A file with which `kubectl` and the Python client come in as an administrator."""
        path = self.folder / "kubeconfig"
        ca = base64.b64encode((self.folder / "tls" / "ca.crt").read_bytes()).decode()
        server = {"server": f"https://127.0.0.1:{self.port}", "certificate-authority-data": ca}
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "tests", "cluster": server}],
                    "users": [{"name": "admin", "user": {"token": "admin"}}],
                    "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "admin"}}],
                    "current-context": "tests",
                }
            )
        )
        return path

    def apply(self, *manifests: Json) -> None:
        with self._lock:
            for manifest in manifests:
                made = copy.deepcopy(manifest)
                made.setdefault("metadata", {}).setdefault("creationTimestamp", stamp())
                made["metadata"].setdefault("uid", f"uid-{next(self._numbers)}")
                self.objects[self._key(made)] = made
                if made["kind"] == "Pod":
                    made.setdefault("status", {"phase": "Pending"})

    def remove(self, kind: str, name: str, namespace: str | None = "caseprep") -> None:
        with self._lock:
            del self.objects[kind, namespace, name]

    def add_node(self, name: str, *, pool: str, gpus: int = 0, cpu: str = "16", memory: str = "64Gi") -> None:
        """A node as the overlays make it: its pool's label, and a taint where it has GPUs."""
        amounts = {"cpu": cpu, "memory": memory, "ephemeral-storage": "200Gi", "pods": "50"}
        amounts |= {"nvidia.com/gpu": str(gpus)} if gpus else {}
        taints = [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}] if gpus else []
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "labels": {"caseprep.io/pool": pool}},
                "spec": {"taints": taints},
                "status": {
                    "capacity": amounts,
                    "allocatable": amounts,
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            }
        )

    def lose_node(self, name: str) -> None:
        """The machine is gone at once, as a spot node is whose notice nobody passed on, and then its object."""
        with self._lock:
            for pod in self._pods_on(name):
                self._kill(pod, signal.SIGKILL)
                self._forget(pod)
            del self.objects["nodes", None, name]

    def drain_node(self, name: str) -> None:
        """Takes no more pods, and its pods are told to leave, with their grace period."""
        with self._lock:
            self.objects["nodes", None, name]["spec"]["unschedulable"] = True
            for pod in self._pods_on(name):
                self._disrupted(pod, "EvictionByEvictionAPI", "Eviction API: evicting")
                self._delete_pod(pod)

    def evict(self, pod: Json, message: str = "The node was low on resource: memory. ") -> None:
        """What a kubelet does that runs short of something."""
        with self._lock:
            pod = self.objects["pods", pod["metadata"]["namespace"], pod["metadata"]["name"]]
            self._kill(pod, signal.SIGKILL)
            self._finish(pod, "Failed", 137, "Error", {"reason": "Evicted", "message": message})
            self._event(pod, "Warning", "Evicted", message)

    def pods(self, **labels: str) -> list[Json]:
        """Pods with these labels, in which `__` stands for `/` and `_` for `-`; the oldest first."""
        wanted = {name.replace("__", "/").replace("_", "-"): value for name, value in labels.items()}
        with self._lock:
            found = [copy.deepcopy(pod) for (kind, *_), pod in self.objects.items() if kind == "pods"]
        return [pod for pod in found if wanted.items() <= pod["metadata"].get("labels", {}).items()]

    def log(self, pod: Json) -> str:
        path = self._folder(pod) / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def close(self) -> None:
        self._stopping.set()
        self._thread.join(10)
        with self._lock:
            for pod in [pod for (kind, *_), pod in self.objects.items() if kind == "pods"]:
                self._kill(pod, signal.SIGKILL)
        self._server.shutdown()
        self._server.server_close()

    # The control plane

    def _work(self) -> None:
        looked = 0.0
        while not self._stopping.wait(0.05):
            with self._lock:
                self._jobs()
                self._schedule()
                for pod in [pod for (kind, *_), pod in self.objects.items() if kind == "pods"]:
                    self._kubelet(pod)
                if time.monotonic() - looked > 0.3:
                    looked = time.monotonic()
                    self._watch_memory()

    def _key(self, made: Json) -> tuple[str, str | None, str]:
        kind = _PLURALS.get(made["kind"], made["kind"].lower() + "s")
        alone = kind in ("nodes", "priorityclasses", "namespaces")
        return kind, None if alone else made["metadata"].setdefault("namespace", "caseprep"), made["metadata"]["name"]

    def _jobs(self) -> None:
        """One pod for each job, which is never replaced: jobs with another backoff limit are refused at creation."""
        for job in [job for (kind, *_), job in self.objects.items() if kind == "jobs"]:
            status = job.setdefault("status", {})
            if "startTime" not in status:
                status.update(startTime=stamp(), active=1)
                template = copy.deepcopy(job["spec"]["template"])
                labels = {**template["metadata"].get("labels", {}), "job-name": job["metadata"]["name"]}
                name = f"{job['metadata']['name']}-{next(self._numbers):05d}"
                metadata = {**template["metadata"], "name": name, "labels": labels}
                owner = {"kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}
                metadata["ownerReferences"] = [{"apiVersion": "batch/v1", **owner}]
                metadata["namespace"] = job["metadata"]["namespace"]
                self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})

    def _job_of(self, pod: Json) -> Json | None:
        for owner in pod["metadata"].get("ownerReferences", ()):
            job = self.objects.get(("jobs", pod["metadata"]["namespace"], owner["name"]))
            if job is not None and job["metadata"]["uid"] == owner["uid"]:
                return job
        return None

    def _account(self, pod: Json, succeeded: bool) -> None:
        job = self._job_of(pod)
        if job is not None and job["status"].get("active"):
            job["status"].pop("active")
            job["status"]["succeeded" if succeeded else "failed"] = 1
            ended = {"type": "Complete" if succeeded else "Failed", "status": "True", "lastTransitionTime": stamp()}
            job["status"]["conditions"] = [ended]

    def _priority(self, pod: Json) -> float:
        made = self.objects.get(("priorityclasses", None, pod["spec"].get("priorityClassName", "")))
        return float(made["value"]) if made else 0.0

    def _pods_on(self, node: str) -> list[Json]:
        return [
            pod
            for (kind, *_), pod in self.objects.items()
            if kind == "pods"
            and pod["spec"].get("nodeName") == node
            and pod["status"]["phase"] in ("Pending", "Running")
        ]

    def _schedule(self) -> None:
        waiting = [
            pod
            for (kind, *_), pod in self.objects.items()
            if kind == "pods" and pod["status"]["phase"] == "Pending" and "nodeName" not in pod["spec"]
        ]
        nodes = [node for (kind, *_), node in self.objects.items() if kind == "nodes"]
        for pod in sorted(waiting, key=lambda each: -self._priority(each)):
            missing = self._missing_claim(pod)
            reasons: dict[str, int] = defaultdict(int)
            for node in sorted(nodes, key=lambda each: -_preference(pod, each)):
                why = [missing] if missing else self._unfit(pod, node)
                if not why:
                    self._place(pod, node["metadata"]["name"])
                    break
                for each in why:
                    reasons[each] += 1
            else:
                said = missing or ", ".join(sorted(f"{count} {why}" for why, count in reasons.items()))
                total = f"0/{len(nodes)} nodes are available"
                no_help = f"{len(nodes)} Preemption is not helpful for scheduling."
                message = f"{total}: {said}. preemption: {total}: {no_help}"
                condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
                if pod["status"].get("conditions") != [condition]:
                    pod["status"]["conditions"] = [condition]
                    self._event(pod, "Warning", "FailedScheduling", message)

    def _missing_claim(self, pod: Json) -> str | None:
        for volume in pod["spec"].get("volumes", ()):
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim and claim not in self.claims:
                return f'persistentvolumeclaim "{claim}" not found'
        return None

    def _unfit(self, pod: Json, node: Json) -> list[str]:
        labels, spec = node["metadata"].get("labels", {}), pod["spec"]
        if node["spec"].get("unschedulable"):
            return ["node(s) were unschedulable"]
        for taint in node["spec"].get("taints", ()):
            tolerated = any(
                each.get("key") == taint["key"]
                and each.get("effect") in (None, "", taint["effect"])
                and (each.get("operator") == "Exists" or each.get("value") == taint.get("value"))
                for each in spec.get("tolerations") or ()
            )
            if not tolerated:
                return [f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"]
        affinity = (spec.get("affinity") or {}).get("nodeAffinity", {})
        terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms")
        if not (spec.get("nodeSelector") or {}).items() <= labels.items() or (
            terms and not any(_matches(term, labels) for term in terms)
        ):
            return ["node(s) didn't match Pod's node affinity/selector"]
        free = {name: quantity(amount) for name, amount in node["status"]["allocatable"].items()}
        for other in self._pods_on(node["metadata"]["name"]):
            for name, amount in _requests(other).items():
                free[name] = free.get(name, 0.0) - amount
        return [f"Insufficient {name}" for name, amount in _requests(pod).items() if amount > free.get(name, 0.0)]

    def _place(self, pod: Json, node: str) -> None:
        pod["spec"]["nodeName"] = node
        scheduled = {"type": "PodScheduled", "status": "True"}
        pod["status"].update(conditions=[scheduled], startTime=stamp())
        total: dict[str, float] = defaultdict(float)
        for other in self._pods_on(node):
            for name, amount in _requests(other).items():
                total[name] += amount
        self.history.append((node, pod["metadata"]["name"], dict(total)))
        self._event(pod, "Normal", "Scheduled", f"Successfully assigned {pod['metadata']['name']} to {node}")

    # The kubelets

    def _kubelet(self, pod: Json) -> None:
        status = pod["status"]
        name = self._name(pod)
        if status["phase"] == "Pending" and "nodeName" in pod["spec"]:
            self._begin(pod)
        elif status["phase"] == "Running":
            image = self.images[pod["spec"]["containers"][0]["image"]]
            if name in image.ended:
                code = image.ended[name]
                code = 128 - code if code < 0 else code
                out = name in self._out_of_memory
                self._finish(
                    pod, "Succeeded" if code == 0 else "Failed", code,
                    "OOMKilled" if out else "Completed" if code == 0 else "Error", {},
                )  # fmt: skip
            elif time.monotonic() > self._deadlines.get(name, float("inf")):
                self._kill(pod, signal.SIGKILL)
            elif limit := pod["spec"].get("activeDeadlineSeconds"):
                began = datetime.fromisoformat(status["startTime"].replace("Z", "+00:00"))
                if datetime.now(UTC) - began > timedelta(seconds=limit):
                    self._kill(pod, signal.SIGKILL)
                    message = "Pod was active on the node longer than the specified deadline"
                    self._finish(pod, "Failed", 137, "Error", {"reason": "DeadlineExceeded", "message": message})
        if "deletionTimestamp" in pod["metadata"] and (
            status["phase"] in ("Succeeded", "Failed") or "nodeName" not in pod["spec"] or not self._began(pod)
        ):
            self._forget(pod)

    def _name(self, pod: Json) -> str:
        return f"{pod['metadata']['name']}-{pod['metadata']['uid']}"

    def _folder(self, pod: Json) -> Path:
        return self.folder / "pods" / self._name(pod)

    def _began(self, pod: Json) -> bool:
        return bool(pod["status"]["phase"] == "Running")

    def _begin(self, pod: Json) -> None:
        (container,) = pod["spec"]["containers"]
        image = container["image"]
        if image not in self.images:
            waiting = (pod["status"].get("containerStatuses") or [{}])[0].get("state", {}).get("waiting", {})
            if not waiting:
                said = f'failed to pull and unpack image "{image}": failed to resolve reference "{image}": not found'
                self._waits(pod, "ErrImagePull", said)
                self._event(pod, "Warning", "Failed", f'Failed to pull image "{image}": {said}')
            elif waiting["reason"] == "ErrImagePull":
                self._waits(pod, "ImagePullBackOff", f'Back-off pulling image "{image}"')
            return
        try:
            environment = self._environment(pod, container)
        except LookupError as missing:
            self._waits(pod, "CreateContainerConfigError", str(missing.args[0]))
            return
        folder = self._folder(pod)
        (folder / "root").mkdir(parents=True)
        security = container.get("securityContext") or {}
        self.images[image].start(
            {
                "name": self._name(pod),
                "command": [*(container.get("command") or ()), *(container.get("args") or ())],
                "env": environment,
                "root": str(folder / "root"),
                "log": str(folder / "log"),
                "mounts": self._mounts(pod, container, folder),
                "read_only": bool(security.get("readOnlyRootFilesystem")),
            }
        )
        pod["status"]["phase"] = "Running"
        self._state(pod, {"running": {"startedAt": stamp()}}, ready=True)

    def _environment(self, pod: Json, container: Json) -> dict[str, str]:
        namespace = pod["metadata"]["namespace"]

        def data(kind: str, name: str, optional: bool) -> dict[str, str]:
            found = self.objects.get((kind, namespace, name))
            if found is None:
                if optional:
                    return {}
                raise LookupError(f'{kind[:-1]} "{name}" not found')
            if kind == "configmaps":
                return found.get("data", {})  # type: ignore[no-any-return]
            plain = {key: base64.b64decode(value).decode() for key, value in found.get("data", {}).items()}
            return {**plain, **found.get("stringData", {})}

        values = {
            "PATH": os.environ["PATH"],
            "HOSTNAME": pod["metadata"]["name"],
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(self.port),
            # as in the images; without it `caseprep` starts itself anew, and this process is a fork of the image's
            large_pages.VARIABLE: large_pages.LARGE,
        }
        for source in container.get("envFrom") or ():
            for part, kind in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
                if part in source:
                    values |= data(kind, source[part]["name"], source[part].get("optional", False))
        for each in container.get("env") or ():
            if "valueFrom" in each:
                ((part, wanted),) = each["valueFrom"].items()
                kind = {"secretKeyRef": "secrets", "configMapKeyRef": "configmaps"}[part]
                found = data(kind, wanted["name"], wanted.get("optional", False))
                if wanted["key"] not in found and not wanted.get("optional"):
                    raise LookupError(f"couldn't find key {wanted['key']} in {kind[:-1]} {namespace}/{wanted['name']}")
                values |= {each["name"]: found[wanted["key"]]} if wanted["key"] in found else {}
            else:
                values[each["name"]] = each.get("value") or ""
        return values

    def _mounts(self, pod: Json, container: Json, folder: Path) -> list[Json]:
        sources: dict[str, tuple[Path, bool]] = {}
        for volume in pod["spec"].get("volumes") or ():
            if "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]
                sources[volume["name"]] = self.claims[claim["claimName"]], bool(claim.get("readOnly"))
                continue
            source = folder / "volumes" / volume["name"]
            source.mkdir(parents=True)
            if "configMap" in volume:
                name = volume["configMap"]["name"]
                for key, value in self.objects["configmaps", pod["metadata"]["namespace"], name]["data"].items():
                    (source / key).write_text(value)
            else:
                assert "emptyDir" in volume, volume
            sources[volume["name"]] = source, "configMap" in volume
        mounts = [
            {
                "path": mount["mountPath"],
                "source": str(sources[mount["name"]][0] / mount.get("subPath", "")),
                "read_only": bool(mount.get("readOnly")) or sources[mount["name"]][1],
            }
            for mount in container.get("volumeMounts") or ()
        ]
        if pod["spec"].get("automountServiceAccountToken", True):
            account = pod["spec"].get("serviceAccountName", "default")
            token = folder / "volumes" / ".token"
            token.mkdir(parents=True)
            self.tokens[f"{account}-{self._name(pod)}"] = account
            (token / "token").write_text(f"{account}-{self._name(pod)}")
            (token / "namespace").write_text(pod["metadata"]["namespace"])
            (token / "ca.crt").write_bytes((self.folder / "tls" / "ca.crt").read_bytes())
            mounts.append({"path": _TOKENS, "source": str(token), "read_only": True})
        return [*mounts, *({"path": str(p), "source": str(p), "read_only": False} for p in self.reachable)]

    def _waits(self, pod: Json, reason: str, message: str) -> None:
        self._state(pod, {"waiting": {"reason": reason, "message": message}}, ready=False)

    def _state(self, pod: Json, state: Json, ready: bool) -> None:
        (container,) = pod["spec"]["containers"]
        shown = {"name": container["name"], "image": container["image"], "imageID": container["image"]}
        pod["status"]["containerStatuses"] = [{**shown, "ready": ready, "restartCount": 0, "state": state}]

    def _finish(self, pod: Json, phase: str, code: int, reason: str, status: Json) -> None:
        if pod["status"]["phase"] not in ("Pending", "Running"):
            return
        ended = {"exitCode": code, "reason": reason, "finishedAt": stamp(), "startedAt": pod["status"].get("startTime")}
        self._state(pod, {"terminated": ended}, ready=False)
        pod["status"].update(phase=phase, **status)
        self._account(pod, phase == "Succeeded")

    def _forget(self, pod: Json) -> None:
        """The pod's object goes; its job counts it."""
        self._account(pod, pod["status"]["phase"] == "Succeeded")
        self.objects.pop(("pods", pod["metadata"]["namespace"], pod["metadata"]["name"]), None)

    def _delete_pod(self, pod: Json, grace: float | None = None) -> None:
        if "deletionTimestamp" in pod["metadata"]:
            return
        seconds = pod["spec"].get("terminationGracePeriodSeconds", 30) if grace is None else grace
        pod["metadata"]["deletionTimestamp"] = stamp(datetime.now(UTC) + timedelta(seconds=seconds))
        pod["metadata"]["deletionGracePeriodSeconds"] = int(seconds)
        if pod["status"]["phase"] == "Running":
            self._deadlines[self._name(pod)] = time.monotonic() + seconds
            self._kill(pod, signal.SIGTERM)

    def _disrupted(self, pod: Json, reason: str, message: str) -> None:
        target = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
        pod["status"].setdefault("conditions", []).append(target)

    def _processes(self, pod: Json) -> list[psutil.Process]:
        image = self.images.get(pod["spec"]["containers"][0]["image"])
        name = self._name(pod)
        if image is None or pod["status"]["phase"] != "Running" or name in image.ended:
            return []
        deadline = time.monotonic() + 60
        while name not in image.pids and time.monotonic() < deadline:
            time.sleep(0.01)  # its image is still being imported
        with contextlib.suppress(psutil.NoSuchProcess):
            first = psutil.Process(image.pids[name])
            return [first, *first.children(recursive=True)]
        return []

    def _kill(self, pod: Json, how: signal.Signals) -> None:
        processes = self._processes(pod)
        for process in processes if how is signal.SIGKILL else processes[:1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(how)

    _out_of_memory: set[str] = set()  # noqa: RUF012 - names are never used again

    def _watch_memory(self) -> None:
        for (kind, *_), pod in list(self.objects.items()):
            if kind != "pods" or pod["status"]["phase"] != "Running":
                continue
            limit = (pod["spec"]["containers"][0].get("resources") or {}).get("limits", {}).get("memory")
            image = self.images[pod["spec"]["containers"][0]["image"]]
            if limit is None or self._name(pod) not in image.pids:
                continue
            used = 0
            for process in self._processes(pod):
                with contextlib.suppress(psutil.Error, OSError):
                    # what it shares with the process that it was forked from is not its own
                    rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
                    used += sum(int(n) for n in re.findall(r"^Private_(?:Clean|Dirty): +(\d+)", rollup, re.M)) * 1024
            if used > quantity(limit):
                self._out_of_memory.add(self._name(pod))
                self._kill(pod, signal.SIGKILL)

    def _event(self, about: Json, kind: str, reason: str, message: str) -> None:
        namespace, number = about["metadata"]["namespace"], next(self._numbers)
        involved = {"kind": about["kind"], "name": about["metadata"]["name"], "namespace": namespace}
        self.objects["events", namespace, f"event-{number}"] = {
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": f"event-{number}", "namespace": namespace},
            "involvedObject": involved, "type": kind, "reason": reason, "message": message, "count": 1,
            "firstTimestamp": stamp(), "lastTimestamp": stamp(),
        }  # fmt: skip

    # The API

    def answer(self, method: str, url: str, token: str, body: Json | None) -> Json | str:
        parts = urlsplit(url)
        asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        match = _PATH.fullmatch(parts.path)
        group = (match["group"] or "") if match else ""
        if match is None or match["kind"] not in _GROUPS.get(group, "").split():
            raise self._unknown(method, url)
        kind, name, sub = match["kind"], match["name"], match["sub"]
        verb = {"GET": "get" if name else "list", "POST": "create", "DELETE": "delete"}.get(method)
        resource = f"{kind}/{sub}" if sub else kind
        with self._lock:
            caller = self.tokens.get(token)
            if caller is None:
                raise Refused(401, "Unauthorized", "Unauthorized")
            self.requests.append((caller, str(verb), resource))
            if not self._granted(caller, str(verb), group, resource):
                message = f'User "{caller}" cannot {verb} resource "{resource}" in API group "{group}"'
                self.refused.append(message)
                raise Refused(403, "Forbidden", message)
            answer = self._answer(str(verb), resource, match["namespace"], name, asked, body)
        if answer is None:
            raise self._unknown(method, url)
        return answer

    def _unknown(self, method: str, url: str) -> Refused:
        self.refused.append(f"{method} {url}")
        return Refused(404, "NotFound", f"this Kubernetes does not know {method} {url}")

    def _granted(self, caller: str, verb: str, group: str, resource: str) -> bool:
        if caller == ADMIN:
            return True
        for (kind, *_), binding in self.objects.items():
            if kind != "rolebindings" or not any(each["name"] == caller for each in binding["subjects"]):
                continue
            role = self.objects["roles", binding["metadata"]["namespace"], binding["roleRef"]["name"]]
            for rule in role["rules"]:
                if group in rule["apiGroups"] and resource in rule["resources"] and verb in rule["verbs"]:
                    return True
        return False

    def _answer(
        self,
        verb: str,
        resource: str,
        namespace: str | None,
        name: str | None,
        asked: dict[str, str],
        body: Json | None,
    ) -> Json | str | None:
        kind = resource.partition("/")[0]
        if verb == "list" and not {"watch"} & asked.keys():
            return {"kind": "List", "metadata": {}, "items": self._listed(kind, namespace, asked)}
        if verb == "create" and resource == "jobs" and body is not None:
            return self._create_job(namespace, body)
        found = self.objects.get((kind, namespace, str(name)))
        if found is None:
            raise Refused(404, "NotFound", f'{kind} "{name}" not found')
        if verb == "get" and resource == "pods/log":
            return self._shown_log(found, asked)
        if verb == "get" and resource in (kind, "jobs/status"):
            return copy.deepcopy(found)
        if verb == "delete" and resource == "jobs":
            del self.objects[kind, namespace, str(name)]
            return {"kind": "Status", "status": "Success"}
        if verb == "delete" and resource == "pods":
            self._delete_pod(found, None if "gracePeriodSeconds" not in asked else float(asked["gracePeriodSeconds"]))
            return copy.deepcopy(found)
        return None

    def _listed(self, kind: str, namespace: str | None, asked: dict[str, str]) -> list[Json]:
        items = [
            copy.deepcopy(each)
            for (of, place, _), each in self.objects.items()
            if of == kind and namespace in (None, place)
        ]
        for selector in filter(None, asked.get("labelSelector", "").split(",")):
            key, equals, value = selector.replace("==", "=").partition("=")
            labels = [each["metadata"].get("labels", {}) for each in items]
            kept = [has.get(key) == value if equals else key in has for has in labels]
            items = [each for each, keep in zip(items, kept, strict=True) if keep]
        for selector in filter(None, asked.get("fieldSelector", "").split(",")):
            path, _, value = selector.partition("=")
            first, second = path.split(".")
            items = [each for each in items if each[first][second] == value]
        return items

    def _create_job(self, namespace: str | None, body: Json) -> Json:
        self.created.append(copy.deepcopy(body))
        body["metadata"]["namespace"] = namespace
        if self._key(body) in self.objects:
            raise Refused(409, "AlreadyExists", f'jobs.batch "{body["metadata"]["name"]}" already exists')
        spec = body["spec"]["template"]["spec"]
        if body["spec"].get("backoffLimit") != 0 or spec.get("restartPolicy") != "Never":
            raise Refused(422, "Invalid", "this Kubernetes starts no pod again")
        names = [volume["name"] for volume in spec.get("volumes") or ()]
        if len(names) != len(set(names)):
            raise Refused(422, "Invalid", f"spec.template.spec.volumes: Duplicate value: {names}")
        for container in spec["containers"]:
            resources = container.get("resources") or {}
            for resource, amount in (resources.get("requests") or {}).items():
                limit = (resources.get("limits") or {}).get(resource)
                if limit is not None and quantity(amount) > quantity(limit):
                    raise Refused(422, "Invalid", f"resources.requests.{resource}: must be at most the limit {limit}")
            paths = [mount["mountPath"] for mount in container.get("volumeMounts") or ()]
            if len(paths) != len(set(paths)):
                raise Refused(422, "Invalid", f"volumeMounts: must be unique: {paths}")
        self.apply(body)
        return copy.deepcopy(self.objects[self._key(body)])

    def _shown_log(self, pod: Json, asked: dict[str, str]) -> str:
        lines = self.log(pod).splitlines(keepends=True)
        lines = lines[-int(asked["tailLines"]) :] if "tailLines" in asked else lines
        prefix = f"{pod['status'].get('startTime', stamp())} " if asked.get("timestamps") == "True" else ""
        return "".join(prefix + line for line in lines)


def _requests(pod: Json) -> dict[str, float]:
    total: dict[str, float] = defaultdict(float, {"pods": 1.0})
    for container in pod["spec"]["containers"]:
        resources = container.get("resources") or {}
        for name, amount in {**(resources.get("limits") or {}), **(resources.get("requests") or {})}.items():
            total[name] += quantity(amount)
    return total


def _matches(term: Json, labels: dict[str, str]) -> bool:
    for rule in term.get("matchExpressions", ()):
        assert rule["operator"] == "In", rule
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return True


def _preference(pod: Json, node: Json) -> int:
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity", {})
    rules = affinity.get("preferredDuringSchedulingIgnoredDuringExecution", ())
    return sum(rule["weight"] for rule in rules if _matches(rule["preference"], node["metadata"].get("labels", {})))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, cluster: KubernetesServer, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.cluster, self.context = cluster, context

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        wrapped = self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return wrapped, address

    def handle_error(self, *_: object) -> None:
        """A container that is killed leaves its connections."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None: ...

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        token = self.headers.get("Authorization", "").partition(" ")[2]
        code, kind = 201 if self.command == "POST" else 200, "application/json"
        try:
            answer = self.server.cluster.answer(self.command, self.path, token, body)
        except Refused as refused:
            code = refused.code
            answer = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": str(refused),
                      "reason": refused.reason, "code": code}  # fmt: skip
        if isinstance(answer, str):
            data, kind = answer.encode(), "text/plain"
        else:
            data = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - the names that http.server looks for


def _certificate(folder: Path) -> ssl.SSLContext:
    """A context for 127.0.0.1, and `ca.crt` in the folder for those who come in."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubernetes")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / "key.pem").write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.crt", folder / "key.pem")
    return context


def manifests(*files: Path) -> Iterator[Json]:
    for file in files:
        yield from filter(None, yaml.safe_load_all(file.read_text()))


def until(what: Any, why: str, seconds: float = 60) -> Any:
    """Waits until `what()` is true, and returns it."""
    deadline = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {why}"
        time.sleep(0.1)
    return value


@contextmanager
def running_cluster(images: Mapping[str, Image], reachable: tuple[Path, ...] = ()) -> Iterator[KubernetesServer]:
    with tempfile.TemporaryDirectory(prefix="caseprep-kubernetes-", ignore_cleanup_errors=True) as folder:
        cluster = KubernetesServer(Path(folder), images, reachable)
        try:
            yield cluster
        finally:
            cluster.close()
            for image in images.values():
                image.close()
