"""The partition set: one recording is one partition. Keys are made by `storage.keys`, never here."""

from typing import TYPE_CHECKING

import dagster as dg

from caseprep_pipelines.settings import Settings

if TYPE_CHECKING:
    from caseprep_pipelines.resources.pipeline import Pipeline

#: Partitions that are added in one statement: Dagster hands all of them to the database as parameters, and SQLite takes
#: no more than 32,766, PostgreSQL 65,535.
ADD_AT_ONCE = 5000


def recordings_partitions(settings: Settings) -> dg.DynamicPartitionsDefinition:
    """The set's name is a setting, so that an archive beyond Dagster's 100,000 can be split over code locations."""
    return dg.DynamicPartitionsDefinition(name=settings.partition_set)


def add_partitions(pipeline: "Pipeline", instance: dg.DagsterInstance) -> int:
    """Adds the partitions that the registry holds and Dagster does not; returns how many."""
    from caseprep_pipelines.catalog import registry

    pending = registry.pending_partitions(pipeline.catalog)
    for start in range(0, len(pending), ADD_AT_ONCE):
        some = pending[start : start + ADD_AT_ONCE]
        instance.add_dynamic_partitions(pipeline.settings.partition_set, some)
        registry.mark_partitions_added(pipeline.catalog, some)
    return len(pending)
