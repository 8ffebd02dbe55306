"""Small archives to report on: recordings registered, worked on and finished at times that a test chooses."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import update

from caseprep_pipelines.catalog import loading, progress, registry
from caseprep_pipelines.catalog.database import Catalog
from caseprep_pipelines.catalog.tables import Recording, TranscriptVersion
from caseprep_pipelines.rejections import REMEDIES, Reason, Rejection
from caseprep_pipelines_tests.catalog.examples import recording, sha, transcript

MONDAY = datetime(2024, 5, 6, tzinfo=UTC)
#: Nobody may find this in a report.
NAME = "jane roe's call"


@dataclass(frozen=True)
class Kept:
    """A recording and what becomes of it. An hour of it is twelve minutes of GPU and six of one core."""

    matter: str = "m1"
    registered: datetime = MONDAY
    hours: int = 1
    ends: str = "done"
    """Or `rejected`, `failed`, `waiting`."""
    after: timedelta = timedelta(hours=2)
    """From registration to the transcript."""
    snr_db: float = 20.0


def fill(catalog: Catalog, archive: Sequence[Kept]) -> list[str]:
    """Puts the recordings into the catalog; returns their keys."""
    new = [recording(f"{NAME} {number}", kept.matter) for number, kept in enumerate(archive)]
    keys = [entry.partition for entry in registry.register(catalog, new, "test")]
    for key, kept in zip(keys, archive, strict=True):
        _move(catalog, Recording, key, registered_at=kept.registered)
        if kept.ends != "waiting":
            run(catalog, key, "raw_transcript", kept, gpu_seconds=720.0 * kept.hours, snr_db=kept.snr_db)
        if kept.ends == "done":
            run(catalog, key, "transcript", kept, cpu_seconds=360.0 * kept.hours)
            # 720 five-second utterances are an hour; the first of each hour carries a flag
            said = ["Really?", *["Yes."] * 719] * kept.hours
            loading.load_transcript(catalog, transcript(key, *said, matter=kept.matter), "000001-a", sha(key))
            _move(catalog, TranscriptVersion, key, loaded_at=kept.registered + kept.after)
        elif kept.ends == "rejected":
            reason = Reason.EMPTY
            found = Rejection(partition=key, stage="transcript", reason=reason, remedy=REMEDIES[reason])
            loading.record_rejection(catalog, found)
        elif kept.ends == "failed":
            loading.record_fault(catalog, key, "transcript", "Fault", "the disk is full")
    return keys


def run(
    catalog: Catalog, key: str, stage: str, kept: Kept, *, version: str = "000001-a", gpu_seconds: float = 0.0,
    cpu_seconds: float = 60.0, snr_db: float | None = None,
) -> None:  # fmt: skip
    """One version of one stage's product, made an hour after registration."""
    record = {
        "run_id": "r",
        "started": (kept.registered + timedelta(hours=1)).isoformat(),
        "wall_seconds": gpu_seconds or cpu_seconds,
        "cpu_seconds": cpu_seconds,
        "gpu_seconds": gpu_seconds,
        "audio_seconds": 3600.0 * kept.hours,
        "device": "NVIDIA L4" if gpu_seconds else "cpu",
        "snr_db": snr_db,
    }
    progress.record_product(
        catalog, key, stage, version=version, digest=sha(key), code_version="", inputs={}, rejected=False, run_id="r",
        record=record,
    )  # fmt: skip


def _move(catalog: Catalog, table: type[Recording] | type[TranscriptVersion], key: str, **values: datetime) -> None:
    with catalog.writing() as session:
        session.execute(update(table).where(table.partition == key).values(**values))
