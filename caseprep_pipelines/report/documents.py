"""The report as a document: a product like any other, without a wall time, so that an equal report is no new version.

Hours are hours of audio unless they say otherwise; money is USD; days are UTC.
"""

from typing import Literal

from caseprep_pipelines.storage.document import Document, Part


class Figures(Part):
    """Of a day, a matter or everything. A recording counts as done on the day on which its first transcript came into
    the catalog; what making it took, on whatever days, counts there too."""

    recordings_in: int
    """Registered."""
    hours_in: float
    """Of those whose length is known; it is not before they were normalized."""
    rejected: int
    """Of those registered: where they stand now."""
    failed: int
    waiting: int
    recordings_done: int
    hours_done: float
    wall_hours: float
    """Work on those done, in wall hours of one worker: what ran side by side counts each for itself."""
    cpu_hours: float
    gpu_hours: float
    """Wall hours for which a GPU was held."""
    hours_per_wall_hour: float | None
    """Hours done by an hour of work."""
    cost: float
    """Of those done."""
    cost_per_hour: float | None
    spent: float
    """On everything that ran: also on what was rejected, is not finished or was made again. Of a day: on that day."""
    wait_hours_median: float | None
    """Clock hours from registration to the first transcript."""
    wait_hours_95: float | None
    """The 95th percentile of the same."""
    flagged_share: float | None
    """Of the utterances of those done, how many carry a suspicion flag."""
    spans_without_words: int
    """Stretches of detected speech for which no words came back, in those done."""
    snr_db_median: float | None
    """Over recordings; of each its worst channel."""
    demo: int
    """Of those done, how many were made with demo models."""


class OfDay(Part):
    day: str
    """`YYYY-MM-DD`."""


class OfMatter(Part):
    matter: str


# of two bases pydantic puts the last one's fields first
class Day(Figures, OfDay):
    """The figures of one day."""


class Matter(Figures, OfMatter):
    """The figures of one matter."""


class StageFigures(Part):
    stage: str
    runs: int
    """Versions made, rejections included."""
    hours: float
    wall_hours: float
    cpu_hours: float
    gpu_hours: float
    hours_per_wall_hour: float | None
    cost: float
    cost_per_hour: float | None


class ArchiveReport(Document):
    """Hours, speed, cost, waiting and quality of the archive: in all, by day, by matter and by stage."""

    document: Literal["archive_report"] = "archive_report"
    schema_version: Literal[1] = 1
    prices: str
    """What cost was counted with, in words."""
    total: Figures
    days: tuple[Day, ...]
    """Oldest first; days on which nothing happened are left out."""
    matters: tuple[Matter, ...]
    """By matter id."""
    stages: tuple[StageFigures, ...]
    """In the order in which they first ran."""
