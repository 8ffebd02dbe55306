"""Where each step's pod runs on Kubernetes and what it gets there, made from the settings; as plain data.

This is the one place for it: image, node, GPU, volumes, limits and security of a step pod. Dagster hands it to the pod
as the op tag `dagster-k8s/config`, because nothing else reaches step pods: tags of jobs and runs do not. What pods
have in common with the deployments (service account, environment) stands in the launcher's configuration; lists from
there and from here are joined, so a volume here must not have a name that is used there for another one.
"""

from typing import Any

from caseprep_pipelines.settings import Settings

#: The op tag that dagster-k8s reads.
TAG = "dagster-k8s/config"

#: Names that the cluster's nodes and objects carry; `deploy/kubernetes` gives them.
POOL_LABEL, GPU_POOL = "caseprep.io/pool", "gpu"
CAPACITY_LABEL = "caseprep.io/capacity"
PRODUCT_LABEL = "nvidia.com/gpu.product"
GPU_TAINT = {"key": "nvidia.com/gpu", "operator": "Equal", "value": "present", "effect": "NoSchedule"}
#: AKS puts this taint on spot nodes by itself; the other clouds put none.
AZURE_SPOT_TAINT = {
    "key": "kubernetes.azure.com/scalesetpriority", "operator": "Equal", "value": "spot", "effect": "NoSchedule"
}  # fmt: skip
PRIORITY_CLASS, RUSH_CLASS, ARCHIVE_CLASS = "caseprep-normal", "caseprep-rush", "caseprep-archive"

#: The only places that a pod can write to; both vanish with it.
WORK_MOUNT, SHARED_MEMORY_MOUNT = "/tmp", "/dev/shm"  # noqa: S108 - a volume of the pod's own
MODELS_MOUNT = "/models"
#: Run pods have another place for temporary files; of a variable that is there twice, the last counts.
_HOME = [{"name": "HOME", "value": WORK_MOUNT}, {"name": "TMPDIR", "value": WORK_MOUNT}]

#: The user that the images are made for.
USER = 10001

#: A GPU step that is told to stop finishes its batch and puts away what it has: a few seconds, more on a slow store.
#: Clouds that take a spot node back give it 30 s (GCP, Azure) to 120 s (AWS) in all.
GRACE_SECONDS = {True: 90, False: 30}

#: Two recordings are decoded at once, 2 GB each at most, beside Python with Dagster's packages (0.3 GB).
CPU_RESOURCES = {"requests": {"cpu": "2", "memory": "3Gi"}, "limits": {"cpu": "4", "memory": "6Gi"}}
CPU_WORKERS = 2
#: torch, faster-whisper and pyannote take 1.0 GB before any work, clustering of an hour 0.8 GB, two hours 3 GB.
GPU_RESOURCES = {"requests": {"cpu": "3", "memory": "8Gi"}, "limits": {"cpu": "8", "memory": "12Gi"}}
#: GiB of a node's disk that most recordings need less than; the limit is a setting.
DISK_REQUEST = 8


def op_tags(settings: Settings, *, gpu: bool = False) -> dict[str, Any]:
    """The tags that place a step; none where steps do not run in pods."""
    return {TAG: step_config(settings, gpu)} if settings.executor == "kubernetes" else {}


def priority_class(priority: str) -> str:
    """Of a run's pods, by the run's priority in Dagster's queue: what goes first there goes first on the nodes."""
    number = int(priority) if priority.removeprefix("-").isdigit() else 0
    return RUSH_CLASS if number > 0 else ARCHIVE_CLASS if number < 0 else PRIORITY_CLASS


def step_config(settings: Settings, gpu: bool) -> dict[str, Any]:
    """What the pod of a step is made from, by the parts that dagster-k8s names; every field as Kubernetes writes it."""
    container, pod = (_gpu_step if gpu else _cpu_step)(settings)
    return {
        "container_config": {
            **container,
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "runAsNonRoot": True,
                "capabilities": {"drop": ["ALL"]},
            },
        },
        "pod_spec_config": {
            **pod,
            "priorityClassName": PRIORITY_CLASS,
            # Dagster starts a step again and knows it; a pod that Kubernetes starts again it would not know
            "restartPolicy": "Never",
            # of the pod, not of its job: waiting for a node does not count
            "activeDeadlineSeconds": int(settings.step_hours * 3600),
            "terminationGracePeriodSeconds": GRACE_SECONDS[gpu],
            # a step talks to storage and database; only run workers ask Kubernetes for anything
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        },
        "job_spec_config": {
            "backoffLimit": 0,
            # a pod that is told to stop counts as failed once it has stopped: begun again sooner, it would run twice
            "podReplacementPolicy": "Failed",
            "ttlSecondsAfterFinished": 3600,
        },
    }


def _cpu_step(settings: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
    container = {
        **({"image": settings.cpu_image} if settings.cpu_image else {}),
        "resources": _resources(CPU_RESOURCES, settings),
        "env": [
            {"name": "CASEPREP_WORKERS", "value": str(CPU_WORKERS)},
            {"name": "OMP_NUM_THREADS", "value": "1"},
            *_HOME,
        ],
        "volumeMounts": [{"name": "work", "mountPath": WORK_MOUNT}],
    }
    pod = {
        "nodeSelector": {POOL_LABEL: settings.cpu_pool},
        "volumes": [{"name": "work", "emptyDir": {"sizeLimit": f"{settings.work_gigabytes}Gi"}}],
    }
    return container, pod


def _gpu_step(settings: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
    one = {settings.gpu_resource: "1"}
    container = {
        "image": settings.gpu_image,
        "resources": _resources(GPU_RESOURCES, settings, one),
        "env": [
            {"name": "CASEPREP_MODELS_DIRECTORY", "value": MODELS_MOUNT},
            *_HOME,
        ],
        "volumeMounts": [
            {"name": "work", "mountPath": WORK_MOUNT},
            {"name": "shared-memory", "mountPath": SHARED_MEMORY_MOUNT},
            {"name": "models", "mountPath": MODELS_MOUNT, "readOnly": True},
        ],
    }
    affinity = _capacity_affinity(settings.gpu_capacity)
    pod = {
        "nodeSelector": {
            POOL_LABEL: GPU_POOL,
            **({PRODUCT_LABEL: settings.gpu_product} if settings.gpu_product else {}),
        },
        "tolerations": [GPU_TAINT, *([AZURE_SPOT_TAINT] if settings.gpu_capacity != "on-demand" else [])],
        **({"affinity": affinity} if affinity else {}),
        **({"runtimeClassName": settings.gpu_runtime_class} if settings.gpu_runtime_class else {}),
        "volumes": [
            {"name": "work", "emptyDir": {"sizeLimit": f"{settings.work_gigabytes}Gi"}},
            # a container's own is 64 MB, which torch's worker processes overflow
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}},
            {"name": "models", **_models_source(settings.models_volume)},
        ],
    }
    return container, pod


def _resources(
    amounts: dict[str, dict[str, str]], settings: Settings, one: dict[str, str] | None = None
) -> dict[str, dict[str, str]]:
    """Requests and limits in full: what is not said here would be the launcher's, which is for run workers."""
    disk = {"requests": f"{min(DISK_REQUEST, settings.work_gigabytes)}Gi", "limits": f"{settings.work_gigabytes + 1}Gi"}
    return {part: {**of, **(one or {}), "ephemeral-storage": disk[part]} for part, of in amounts.items()}


def _models_source(models: str) -> dict[str, Any]:
    kind, _, name = models.partition(":")
    if kind == "image":
        return {"image": {"reference": name, "pullPolicy": "IfNotPresent"}}
    return {"persistentVolumeClaim": {"claimName": name, "readOnly": True}}


def _capacity_affinity(capacity: str) -> dict[str, Any] | None:
    def labelled(value: str) -> dict[str, Any]:
        return {"matchExpressions": [{"key": CAPACITY_LABEL, "operator": "In", "values": [value]}]}

    if capacity == "any":
        return None
    if capacity == "prefer-spot":
        rule = {"weight": 100, "preference": labelled("spot")}
        return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [rule]}}
    terms = {"nodeSelectorTerms": [labelled(capacity)]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
