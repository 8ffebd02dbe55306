"""The partition set: one recording is one partition. Keys are made by `storage.keys`, never here."""

import dagster as dg

from caseprep_pipelines.settings import Settings


def recordings_partitions(settings: Settings) -> dg.DynamicPartitionsDefinition:
    """The set's name is a setting, so that an archive beyond Dagster's 100,000 can be split over code locations."""
    return dg.DynamicPartitionsDefinition(name=settings.partition_set)
