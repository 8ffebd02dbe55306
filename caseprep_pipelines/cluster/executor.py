"""Steps as pods: Dagster's `k8s_job_executor`, which here also says why a pod does not run and waits for none for ever.

Dagster's own knows of a step's job only whether it failed: not why, and a pod that cannot begin (no node, no image, no
secret) it waits for without end. So what looks after the steps is wrapped; beginning and stopping them stays Dagster's.
"""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

# Dagster names these nowhere else; the upper bound of the version in pyproject.toml and the tests stand for them
from dagster._core.events import DagsterEvent
from dagster._core.execution.plan.objects import StepFailureData
from dagster._core.executor.step_delegating import CheckStepHealthResult, StepHandler, StepHandlerContext
from dagster_shared.error import SerializableErrorInfo

from caseprep_pipelines.cluster.placement import priority_class
from caseprep_pipelines.cluster.pods import Condition, State, condition, since
from caseprep_pipelines.partitions import partitions_of_run
from caseprep_pipelines.settings import Settings

if TYPE_CHECKING:
    from dagster_k8s.executor import K8sStepHandler

#: A step that was killed for its memory is tried once more: the batch that was too large may have been saved by then.
MEMORY_RETRIES = 1

#: What a person must change (an image's name, a secret) is waited for this long, because registries have bad minutes.
STUCK = timedelta(minutes=5)


def pods_executor(settings: Settings, stages: Collection[str]) -> dg.ExecutorDefinition:
    """The executor of a cluster, configured as Dagster's own. A step of these stages that is given up counts as a fault
    of its recordings.
    """
    from dagster_k8s.executor import k8s_job_executor

    stock: Any = k8s_job_executor

    def create(context: dg.InitExecutorContext) -> dg.Executor:
        executor = stock.executor_creation_fn(context)
        executor._step_handler = ExplainedSteps(executor._step_handler, settings, stages)
        return executor  # type: ignore[no-any-return]

    return dg.ExecutorDefinition(
        name="k8s",
        config_schema=stock.config_schema,
        requirements=stock.get_requirements,
        executor_creation_fn=create,
        description="Each step in a pod of its own; the run's log says why one does not run.",
    )


class ExplainedSteps(StepHandler):
    """Begins and stops steps as `inner` does, and looks at their pods."""

    def __init__(self, inner: "K8sStepHandler", settings: Settings, stages: Collection[str]) -> None:
        self._inner = inner
        pending = timedelta(minutes=settings.pending_minutes)
        self._longest = {State.WAITING: pending, State.STUCK: min(STUCK, pending)}
        self._settings = settings
        self._stages = frozenset(stages)
        self._said: dict[str, str] = {}
        self._ended: set[str] = set()
        self._cleared = False

    @property
    def name(self) -> str:
        return str(self._inner.name)

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        if not self._cleared:
            self._cleared = True
            self._stop_steps_of_the_run_before(step_handler_context)
        self._give_priority(step_handler_context)
        return self._inner.launch_step(step_handler_context)

    def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        return self._inner.terminate_step(step_handler_context)

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        context = step_handler_context
        result = self._inner.check_step_health(context)
        job = self._inner._get_k8s_step_job_name(context)
        pod, found = self._look(context, job)
        if found.state is State.STOPPING:
            # begun again now, it would run twice at once
            self._say(context, job, f"The pod of {job} is stopping: {found.why}.")
            return CheckStepHealthResult.healthy()
        if not result.is_healthy or found.state in (State.LOST, State.STARVED):
            why = f"{result.unhealthy_reason or f'Lost {job}.'} The pod: {found.why}."
            if found.state is State.STARVED and self._attempt(context) >= MEMORY_RETRIES:
                return self._give_up(context, why)
            return CheckStepHealthResult.unhealthy(why)
        if pod is not None and found.state in self._longest:
            self._say(context, job, f"The pod of {job} has not begun: {found.why}.")
            longest = self._longest[found.state]
            if datetime.now(UTC) - since(pod) >= longest:
                # left behind, it could still begin when nobody waits for it any more
                list(self._inner.terminate_step(context))
                minutes = f"{longest.total_seconds() / 60:g}"
                return self._give_up(context, f"{job} had not begun after {minutes} min: {found.why}.")
        if found.state is State.ENDED:
            # what it logged last may not have been read yet; by the next look it has
            if job in self._ended:
                return CheckStepHealthResult.unhealthy(f"The pod of {job} ended and left no word of the step's end.")
            self._ended.add(job)
        return CheckStepHealthResult.healthy()

    def _look(self, context: StepHandlerContext, job: str) -> tuple[dict[str, Any] | None, Condition]:
        client, namespace = self._inner._api_client.core_api, self._namespace(context)
        plain = client.api_client.sanitize_for_serialization
        pods = plain(client.list_namespaced_pod(namespace, label_selector=f"job-name={job}"))["items"]
        pod = max(pods, key=since, default=None)
        events = []
        if pod is not None and pod.get("status", {}).get("phase") == "Pending":
            selector = f"involvedObject.name={pod['metadata']['name']}"
            events = plain(client.list_namespaced_event(namespace, field_selector=selector))["items"]
        return pod, condition(pod, events, datetime.now(UTC))

    def _namespace(self, context: StepHandlerContext) -> str:
        return str(self._inner._get_container_context(context).namespace)

    def _attempt(self, context: StepHandlerContext) -> int:
        """How often the step was begun again already."""
        known = context.execute_step_args.known_state
        return known.get_retry_state().get_attempt_count(_step(context)) if known else 0

    def _say(self, context: StepHandlerContext, job: str, line: str) -> None:
        if self._said.get(job) != line:
            self._said[job] = line
            context.instance.report_engine_event(line, context.dagster_run, step_key=_step(context))

    def _give_up(self, context: StepHandlerContext, why: str) -> CheckStepHealthResult:
        """Fails the step at once: begun again, it would end the same way. It counts as a fault of its recordings, so
        that the sensors wait before they drive them again, longer each time.
        """
        self._count_faults(context, why)
        error = SerializableErrorInfo(f"Step {_step(context)}: {why}", stack=[], cls_name=None)
        DagsterEvent.step_failure_event(
            context.get_step_context(_step(context)), StepFailureData(error=error, user_failure_data=None)
        )
        # the executor reads the failure from the log like any other
        return CheckStepHealthResult.healthy()

    def _give_priority(self, context: StepHandlerContext) -> None:
        """Tags of a run do not reach its steps' pods; what Dagster takes from the executor's configuration does."""
        wanted = priority_class(context.dagster_run.tags.get("dagster/priority", "0"))
        of_step = self._inner._per_step_k8s_config.setdefault(context.get_step_context(_step(context)).step.op_name, {})
        of_step.setdefault("pod_spec_config", {}).setdefault("priority_class_name", wanted)

    def _count_faults(self, context: StepHandlerContext, why: str) -> None:
        from caseprep_pipelines.catalog import progress
        from caseprep_pipelines.catalog.database import open_catalog
        from caseprep_pipelines.catalog.loading import record_fault

        # an asset's step is its key, the parts joined by two underscores
        stage = _step(context).rpartition("__")[2]
        if stage not in self._stages:
            return
        run = context.dagster_run
        order = context.instance.get_dynamic_partitions(self._settings.partition_set)
        mine = partitions_of_run(run.tags, order, {partition: at for at, partition in enumerate(order)})
        catalog = open_catalog(self._settings.catalog_url, migrate=False)
        try:
            made = progress.made_by_run(catalog, stage, mine, run.run_id)
            for partition in mine:
                if partition not in made:
                    record_fault(catalog, partition, stage, "Fault", why)
        finally:
            catalog.close()

    def _stop_steps_of_the_run_before(self, context: StepHandlerContext) -> None:
        """A run that is started in place of one whose worker was lost ends what that one left running: steps that
        nobody watches any more, and pods that would still begin when this run's have long finished.
        """
        parent = context.dagster_run.parent_run_id
        run = context.instance.get_run_by_id(parent) if parent else None
        if run is None or not run.is_finished:
            return
        client, namespace = self._inner._api_client, self._namespace(context)
        selector = f"dagster/run-id={parent},dagster/op"
        names = {
            pod.metadata.labels["job-name"]
            for pod in client.core_api.list_namespaced_pod(namespace, label_selector=selector).items
            if pod.status.phase in ("Pending", "Running")
        }
        for name in sorted(names):
            client.delete_job(job_name=name, namespace=namespace)
            context.instance.report_engine_event(f"Stopped {name}, which the run before left.", context.dagster_run)


def _step(context: StepHandlerContext) -> str:
    (step,) = context.step_tags
    return str(step)
