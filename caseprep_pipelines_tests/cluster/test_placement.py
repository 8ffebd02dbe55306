"""Where steps go on Kubernetes: the tags of the graph, and what Dagster makes of them."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from syrupy.assertion import SnapshotAssertion

from caseprep_pipelines.cluster.placement import TAG, op_tags, priority_class
from caseprep_pipelines.definitions import build_defs
from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.settings import Settings, read_settings

GPU_STAGES = {"raw_transcript", "speaker_turns"}


def settings_of(folder: Path, **overrides: object) -> Settings:
    own = {"storage": str(folder), "executor": "kubernetes", "gpu_image": "registry.example/caseprep-pipelines/gpu:1"}
    return read_settings(**(own | overrides))


def placed(settings: Settings) -> dict[str, Any]:
    """What each op of the graph asks Kubernetes for."""
    defs = build_defs(settings)
    nodes = [
        node
        for job in (defs.resolve_implicit_global_asset_job_def(), defs.resolve_job_def("sweep"))
        for node in job.all_node_defs
    ]
    return {node.name: json.loads(node.tags[TAG]) if TAG in node.tags else None for node in nodes}


def gpu_pod(folder: Path, **overrides: object) -> dict[str, Any]:
    return placed(settings_of(folder, **overrides))["raw_transcript"]["pod_spec_config"]  # type: ignore[no-any-return]


def test_on_one_machine_nothing_is_asked_of_kubernetes(tmp_path: Path) -> None:
    settings = read_settings(storage=str(tmp_path))
    assert set(placed(settings).values()) == {None}
    assert op_tags(settings, gpu=True) == {}
    defs = build_defs(settings)
    assert defs.executor is dg.in_process_executor
    assert all(node.retry_policy is None for node in graph_ops(defs) if node.name != "archive_report")


def test_on_a_cluster_every_step_has_its_place(tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    shown = placed(settings_of(tmp_path, cpu_image="registry.example/caseprep-pipelines/slim:1"))
    on_gpus = {name for name, config in shown.items() if "nvidia.com/gpu" in json.dumps(config["container_config"])}
    assert on_gpus == GPU_STAGES
    assert {json.dumps(shown[name], sort_keys=True) for name in shown if name not in GPU_STAGES} == {
        json.dumps(shown["sweep_leftovers"], sort_keys=True)
    }
    assert {"gpu": shown["raw_transcript"], "cpu": shown["transcript"]} == snapshot


def graph_ops(defs: dg.Definitions) -> list[Any]:
    return list(defs.resolve_implicit_global_asset_job_def().all_node_defs)


def test_a_step_whose_pod_was_lost_is_begun_again(tmp_path: Path) -> None:
    defs = build_defs(settings_of(tmp_path))
    assert isinstance(defs.executor, dg.ExecutorDefinition)
    assert defs.executor.name == "k8s"
    for op in graph_ops(defs):
        assert op.retry_policy is not None, op.name
        assert op.retry_policy.max_retries >= 2


@pytest.mark.parametrize("resource", ["nvidia.com/mig-1g.10gb", "nvidia.com/gpu.shared"])
def test_a_slice_or_a_share_of_a_gpu_is_asked_for_by_its_name(tmp_path: Path, resource: str) -> None:
    resources = placed(settings_of(tmp_path, gpu_resource=resource))["speaker_turns"]["container_config"]["resources"]
    for part in ("requests", "limits"):
        assert resources[part][resource] == "1"
        assert "nvidia.com/gpu" not in resources[part]


def test_a_product_and_a_runtime_can_be_chosen(tmp_path: Path) -> None:
    pod = gpu_pod(tmp_path, gpu_product="NVIDIA-L4", gpu_runtime_class="nvidia")
    assert pod["nodeSelector"] == {"caseprep.io/pool": "gpu", "nvidia.com/gpu.product": "NVIDIA-L4"}
    assert pod["runtimeClassName"] == "nvidia"
    assert "runtimeClassName" not in gpu_pod(tmp_path)


def test_spot_and_on_demand_nodes_can_be_chosen(tmp_path: Path) -> None:
    assert "affinity" not in gpu_pod(tmp_path)
    preferred = gpu_pod(tmp_path, gpu_capacity="prefer-spot")["affinity"]["nodeAffinity"]
    assert list(preferred) == ["preferredDuringSchedulingIgnoredDuringExecution"]
    for capacity in ("spot", "on-demand"):
        pod = gpu_pod(tmp_path, gpu_capacity=capacity)
        assert list(pod["affinity"]["nodeAffinity"]) == ["requiredDuringSchedulingIgnoredDuringExecution"]
        assert json.dumps(["caseprep.io/capacity", capacity])[1:-1].split(", ")[1] in json.dumps(pod["affinity"])
        assert any("scalesetpriority" in each["key"] for each in pod["tolerations"]) == (capacity == "spot")


def test_models_come_from_a_volume_or_from_an_image(tmp_path: Path) -> None:
    def models(**overrides: object) -> dict[str, Any]:
        return next(volume for volume in gpu_pod(tmp_path, **overrides)["volumes"] if volume["name"] == "models")

    assert models()["persistentVolumeClaim"] == {"claimName": "caseprep-models", "readOnly": True}
    image = "registry.example/caseprep-pipelines/models@sha256:0"
    assert models(models_volume=f"image:{image}")["image"]["reference"] == image


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"gpu_image": ""}, "CASEPREP_GPU_IMAGE: .*image of GPU steps"),
        ({"models_volume": "caseprep-models"}, "CASEPREP_MODELS_VOLUME: .*claim:NAME or image:REFERENCE"),
        ({"gpu_capacity": "cheap"}, "CASEPREP_GPU_CAPACITY"),
        ({"step_hours": 0}, "CASEPREP_STEP_HOURS"),
        ({"executor": "docker"}, "CASEPREP_EXECUTOR"),
    ],
)
def test_what_cannot_work_is_refused_with_its_variable(tmp_path: Path, overrides: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        settings_of(tmp_path, **overrides)


@pytest.mark.parametrize(
    ("priority", "wanted"),
    [
        ("10", "caseprep-rush"),
        ("0", "caseprep-normal"),
        ("-10", "caseprep-archive"),
        ("somebody's own", "caseprep-normal"),
    ],
)
def test_pods_have_the_priority_of_their_run(priority: str, wanted: str) -> None:
    assert priority_class(priority) == wanted
