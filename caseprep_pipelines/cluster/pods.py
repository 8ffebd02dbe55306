"""Why a pod does not run or did not end well, in a sentence for the person who reads the run's log.

A function of what the Kubernetes API says about the pod, as JSON; nothing is asked for here. Kubernetes' own words
stand in the sentence, because they name the node, the image or the secret. No log line of a container does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

Json = Mapping[str, Any]


class State(StrEnum):
    WAITING = "waiting"
    """For a node; may pass, as when the cluster makes one."""
    STUCK = "stuck"
    """It cannot begin until a person changes something."""
    ALIVE = "alive"
    STOPPING = "stopping"
    """It was told to stop and still has time to put its work away."""
    LOST = "lost"
    """Gone with its node, evicted or out of time."""
    STARVED = "starved"
    """Killed because it needed more memory than its limit."""
    ENDED = "ended"
    """Its process ended by itself."""


@dataclass(frozen=True)
class Condition:
    state: State
    why: str = ""


_IMAGE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
_CONTAINER = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
_MOUNT = {"FailedMount", "FailedAttachVolume"}

_TAKEN = {
    "PreemptionByScheduler": "it had to make room for a pod of higher priority",
    "DeletionByTaintManager": "its node no longer answers or no longer takes pods like it",
    "DeletionByPodGC": "its node was taken away",
    "EvictionByEvictionAPI": "its node is being emptied",
    "TerminationByKubelet": "its node is shutting down or short of resources",
}


def condition(pod: Json | None, events: Sequence[Json], now: datetime) -> Condition:
    """How a pod is; None is one that is no longer there."""
    if pod is None:
        return Condition(State.LOST, "its pod is gone, as when its node is taken away")
    status = pod.get("status", {})
    phase = status.get("phase")
    if phase == "Succeeded":
        return Condition(State.ENDED)
    if phase == "Failed":
        return Condition(*_failure(pod))
    deleted = pod["metadata"].get("deletionTimestamp")
    if deleted is not None:
        # the time by which it must have ended: the grace period is in it
        if now < _time(deleted):
            return Condition(State.STOPPING, _taken(status) or "it was told to stop")
        return Condition(State.LOST, _taken(status) or "its node no longer answers")
    if phase != "Pending":
        return Condition(State.ALIVE)
    return _pending(pod, events)


def since(pod: Json) -> datetime:
    """When the pod was made."""
    return _time(pod["metadata"]["creationTimestamp"])


def _pending(pod: Json, events: Sequence[Json]) -> Condition:
    status = pod.get("status", {})
    for container in status.get("containerStatuses", ()):
        waiting = container.get("state", {}).get("waiting") or {}
        said = waiting.get("message") or waiting.get("reason")
        if waiting.get("reason") in _IMAGE:
            return Condition(
                State.STUCK,
                f"its image {container.get('image')} cannot be pulled ({said}); check the image's name "
                "and this namespace's credentials for its registry",
            )
        if waiting.get("reason") in _CONTAINER:
            return Condition(
                State.STUCK, f"its container cannot be made ({said}); create what is missing or correct it"
            )
    scheduled = _of_type(status, "PodScheduled")
    if scheduled is not None and scheduled.get("status") == "False":
        said = scheduled.get("message") or "no node fits"
        return Condition(State.WAITING, f"it waits for a node ({said}){_advice(pod, said)}")
    for event in reversed(events):
        if event.get("reason") in _MOUNT:
            return Condition(State.STUCK, f"its volumes cannot be mounted ({event.get('message')})")
    return Condition(State.ALIVE)


def _advice(pod: Json, said: str) -> str:
    selector = ", ".join(f"{key}={value}" for key, value in pod["spec"].get("nodeSelector", {}).items())
    if "Insufficient" in said:
        return ""
    if "affinity/selector" in said:
        return f"; no node that takes pods carries {selector}"
    return "; its tolerations do not cover the taints of the nodes" if "untolerated taint" in said else ""


def _failure(pod: Json) -> tuple[State, str]:
    status = pod["status"]
    if status.get("reason") == "Evicted":
        return State.LOST, f"it was evicted from its node ({status.get('message', 'no reason given').strip()})"
    if status.get("reason") == "DeadlineExceeded":
        limit = pod["spec"].get("activeDeadlineSeconds")
        return State.LOST, f"it ran for longer than the {limit} seconds it was given (CASEPREP_STEP_HOURS)"
    for container in status.get("containerStatuses", ()):
        ended = container.get("state", {}).get("terminated") or {}
        if ended.get("reason") == "OOMKilled":
            limits = next(c.get("resources", {}) for c in pod["spec"]["containers"] if c["name"] == container["name"])
            limit = limits.get("limits", {}).get("memory", "its node's")
            return State.STARVED, f"it needed more memory than its limit of {limit} and was killed (OOMKilled)"
    taken = _taken(status)
    if taken is not None:
        return State.LOST, taken
    if status.get("reason") in ("Terminated", "NodeShutdown", "NodeLost"):
        return State.LOST, f"its node was shut down ({status.get('message', status['reason'])})"
    codes = [
        ended["exitCode"]
        for container in status.get("containerStatuses", ())
        if (ended := container.get("state", {}).get("terminated"))
    ]
    if not codes:
        return State.LOST, f"it failed ({status.get('message') or status.get('reason') or 'no reason given'})"
    said = f"its process ended with exit code {max(codes)}"
    return State.ENDED, f"{said}; its log says why: kubectl logs {pod['metadata']['name']}"


def _taken(status: Json) -> str | None:
    """Why the cluster took the pod from its node, where it did."""
    target = _of_type(status, "DisruptionTarget")
    if target is None or target.get("status") != "True":
        return None
    return _TAKEN.get(target.get("reason", ""), str(target.get("message") or target.get("reason")))


def _of_type(status: Json, kind: str) -> Json | None:
    return next((each for each in status.get("conditions", ()) if each.get("type") == kind), None)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
