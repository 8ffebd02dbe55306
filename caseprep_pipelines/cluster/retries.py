"""Steps whose pod was lost: when one is begun again, and how often. Who finds out that it was lost is `executor`.

Read with every code location, so nothing here imports Dagster's executors.
"""

import dagster as dg

from caseprep_pipelines.settings import Settings

#: How often a step is begun again whose pod was lost: a spot node that goes every ten minutes leaves a step of an hour
#: about that often, and each attempt goes on where the last one stopped.
LOST_RETRIES = 8
LOST_RETRY_SECONDS = 5


def retry_policy(settings: Settings) -> dg.RetryPolicy | None:
    """Begins a step again whose pod was lost. What becomes of faults the stage itself says."""
    if settings.executor != "kubernetes":
        return None
    return dg.RetryPolicy(max_retries=LOST_RETRIES, delay=LOST_RETRY_SECONDS)


def again_elsewhere(context: dg.AssetExecutionContext) -> None:
    """What a step does that was told to stop: unless somebody canceled the run, its node is wanted back, and it asks to
    be begun again, where it goes on with what it put away. Dagster by itself would call the step failed.
    """
    run = context.instance.get_run_by_id(context.run.run_id)
    if run is not None and run.status == dg.DagsterRunStatus.STARTED:
        context.log.warning("The step was told to stop with its pod; it goes on in another one.")
        raise dg.RetryRequested(max_retries=LOST_RETRIES, seconds_to_wait=LOST_RETRY_SECONDS)
