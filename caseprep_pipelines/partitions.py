"""The partition set: one recording is one partition. Keys are made by `storage.keys`, never here."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from caseprep_pipelines.settings import Settings

if TYPE_CHECKING:
    from caseprep_pipelines.resources.pipeline import Pipeline

#: Partitions that are added in one statement: Dagster hands all of them to the database as parameters, and SQLite takes
#: no more than 32,766, PostgreSQL 65,535.
ADD_AT_ONCE = 5000

#: How often partitions that somebody else adds at the same moment are looked for again.
ADD_ATTEMPTS = 5


def recordings_partitions(settings: Settings) -> dg.DynamicPartitionsDefinition:
    """The set's name is a setting, so that an archive beyond Dagster's 100,000 can be split over code locations."""
    return dg.DynamicPartitionsDefinition(name=settings.partition_set)


def add_partitions(pipeline: "Pipeline", instance: dg.DagsterInstance) -> int:
    """Adds the partitions that the registry holds and Dagster does not; returns how many."""
    from caseprep_pipelines.catalog import registry

    pending = registry.pending_partitions(pipeline.catalog)
    for start in range(0, len(pending), ADD_AT_ONCE):
        some = pending[start : start + ADD_AT_ONCE]
        _add(pipeline.settings.partition_set, instance, some)
        registry.mark_partitions_added(pipeline.catalog, some)
    return len(pending)


def _add(partition_set: str, instance: dg.DagsterInstance, keys: list[str]) -> None:
    """Dagster adds what it has not, in two steps: of two daemons that added the same ones at once, one failed."""
    from sqlalchemy.exc import IntegrityError

    for attempt in range(1, ADD_ATTEMPTS + 1):
        try:
            instance.add_dynamic_partitions(partition_set, keys)
        except IntegrityError:
            if attempt == ADD_ATTEMPTS:
                raise
        else:
            return


def partitions_of_run(tags: Mapping[str, str], order: Sequence[str], position: Mapping[str, int]) -> Sequence[str]:
    """The partitions that a run with these tags is about; `position` is the place of each in `order`, the order of
    registration. None where the run's own are not among them."""
    first = tags.get("dagster/asset_partition_range_start") or tags.get("dagster/partition", "")
    last = tags.get("dagster/asset_partition_range_end") or first
    if first not in position or last not in position:
        return []
    return order[position[first] : position[last] + 1]
