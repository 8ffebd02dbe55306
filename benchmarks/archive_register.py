"""How long registering 100,000 recordings from a manifest takes, and how much memory, on PostgreSQL and SQLite."""

import csv
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from benchmarks import Result
from benchmarks.common import clean_environment, run_watched
from caseprep_pipelines_tests.postgres_server import running_server

RECORDINGS = 100_000
MATTERS = 500


def run() -> Result:
    figures: dict[str, float | str] = {"recordings": RECORDINGS}
    with tempfile.TemporaryDirectory() as name, running_server() as server:
        folder = Path(name)
        manifest = folder / "archive.csv"
        write_manifest(manifest)
        for database, settings in (("postgresql", {"CASEPREP_DATABASE_URL": server.new_database()}), ("sqlite", {})):
            for call in ("first", "again"):
                with clean_environment(folder / database) as environment:
                    command = [str(Path(sys.executable).parent / "caseprep"), "archive", "register", str(manifest)]
                    seconds, largest, _ = run_watched(command, {**environment, **settings})
                figures[f"{database}_{call}_seconds"] = round(seconds, 1)
                figures[f"{database}_{call}_peak_mb"] = round(largest)
    return Result(ratios={}, figures=figures)


def write_manifest(path: Path) -> None:
    """Objects of a bucket that keeps versions, as an inventory lists them."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["location", "matter", "size", "etag", "version_id", "priority"])
        for number in range(RECORDINGS):
            digest = sha256(str(number).encode()).hexdigest()
            matter = f"2019-cv-{number % MATTERS:05}"
            key = f"archive/{matter}/2019/{number // 1000:03}/recording {number:06}.mp3"
            row = [f"s3://evidence/{key}", matter, 1_000_000 + number, digest[:32], digest[32:], number % 3]
            writer.writerow(row)
