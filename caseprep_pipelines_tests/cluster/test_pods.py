"""Why a pod does not run: each of Kubernetes' ways of saying it becomes a sentence that says what to do."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from caseprep_pipelines.cluster.pods import State, condition

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def pod(phase: str, *, container: dict[str, Any] | None = None, metadata: dict[str, Any] | None = None, **status: Any):  # type: ignore[no-untyped-def]
    states = [{"name": "dagster", "image": "registry/gpu:1", "state": container}] if container else []
    resources = {"limits": {"memory": "12Gi"}}
    return {
        "metadata": {"name": "step", "creationTimestamp": "2026-05-01T11:59:00Z", **(metadata or {})},
        "spec": {
            "nodeSelector": {"caseprep.io/pool": "gpu"},
            "activeDeadlineSeconds": 43200,
            "containers": [{"name": "dagster", "resources": resources}],
        },
        "status": {"phase": phase, "containerStatuses": states, **status},
    }


def unscheduled(message: str) -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return pod("Pending", conditions=[condition])


def disrupted(reason: str) -> dict[str, Any]:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "told by the control plane"}
    return pod("Failed", conditions=[condition])


@pytest.mark.parametrize(
    ("found", "state", "words"),
    [
        (None, State.LOST, "node is taken away"),
        (pod("Running"), State.ALIVE, ""),
        (pod("Pending"), State.ALIVE, ""),
        (pod("Succeeded"), State.ENDED, ""),
        (unscheduled("0/2 nodes are available: 2 Insufficient nvidia.com/gpu."), State.WAITING, "Insufficient"),
        (
            unscheduled("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."),
            State.WAITING,
            "carries caseprep.io/pool=gpu",
        ),
        (
            unscheduled("0/1 nodes are available: 1 node(s) had untolerated taint {other: yes}."),
            State.WAITING,
            "tolerations",
        ),
        (pod("Pending", container={"waiting": {"reason": "ErrImagePull", "message": "not found"}}), State.STUCK,
         "registry/gpu:1 cannot be pulled \\(not found\\)"),
        (pod("Pending", container={"waiting": {"reason": "CreateContainerConfigError",
                                               "message": 'secret "caseprep-database" not found'}}),
         State.STUCK, 'secret "caseprep-database" not found'),
        (pod("Failed", container={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}), State.STARVED,
         "limit of 12Gi"),
        (pod("Failed", container={"terminated": {"exitCode": 3, "reason": "Error"}}), State.ENDED, "kubectl logs step"),
        (pod("Failed", reason="Evicted", message="The node was low on resource: memory. "), State.LOST,
         "low on resource: memory"),
        (pod("Failed", reason="DeadlineExceeded"), State.LOST, "43200 seconds.*CASEPREP_STEP_HOURS"),
        (pod("Failed", reason="Terminated", message="imminent node shutdown"), State.LOST, "imminent node shutdown"),
        (pod("Failed", message="who knows"), State.LOST, "who knows"),
        (disrupted("PreemptionByScheduler"), State.LOST, "higher priority"),
        (disrupted("DeletionByPodGC"), State.LOST, "taken away"),
        (disrupted("Unheard"), State.LOST, "told by the control plane"),
    ],
)  # fmt: skip
def test_every_way_a_pod_can_be_is_told(found: dict[str, Any] | None, state: State, words: str) -> None:
    told = condition(found, [], NOW)
    assert told.state is state
    assert re.search(words, told.why)


def test_a_pod_that_was_told_to_stop_has_its_time_and_no_more() -> None:
    def deleted(at: datetime) -> State:
        return condition(pod("Running", metadata={"deletionTimestamp": at.isoformat()}), [], NOW).state

    assert deleted(NOW + timedelta(seconds=30)) is State.STOPPING
    assert deleted(NOW - timedelta(seconds=30)) is State.LOST


def test_a_volume_that_cannot_be_mounted_is_told_from_the_events() -> None:
    events = [{"reason": "FailedMount", "message": 'persistentvolumeclaim "caseprep-models" not found'}]
    told = condition(pod("Pending"), events, NOW)
    assert told.state is State.STUCK
    assert "caseprep-models" in told.why
