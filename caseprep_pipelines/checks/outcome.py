"""A check's result for one recording, before it becomes a Dagster event."""

from collections.abc import Mapping
from dataclasses import dataclass, field

#: The check that every stage has: a rejection fails it.
ACCEPTED = "accepted"


@dataclass(frozen=True)
class Outcome:
    name: str
    passed: bool
    metadata: Mapping[str, float | int | str] = field(default_factory=dict)
