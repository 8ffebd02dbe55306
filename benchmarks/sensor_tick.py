"""A tick of the upload sensors over 100,000 known objects with 100 new, by listing and by events: our own share.

What the tick waited for the bucket and the queue is subtracted; reading their answers is ours. The bucket answers at
once, from a process of its own. The catalog holds all 100,000 recordings with the products of every stage, and
Dagster all their partitions; both in SQLite.
"""

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

from benchmarks import Result, _bucket

KNOWN = 100_000
NEW = 100
ROUNDS = 3
AWS = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_EC2_METADATA_DISABLED": "true"}


def run() -> Result:
    with tempfile.TemporaryDirectory() as name, _served() as address, mock.patch.dict(os.environ, AWS):
        bench = _Bench(Path(name), address)
        listing = [bench.tick(announced=False) for _ in range(ROUNDS)]
        events = [bench.tick(announced=True) for _ in range(ROUNDS)]
        bench.close()
    return Result(
        figures={
            "known_objects": KNOWN,
            "new_objects": NEW,
            "listing_own_seconds": round(median(own for own, _ in listing), 2),
            "listing_waited_seconds": round(median(waited for _, waited in listing), 2),
            "events_own_seconds": round(median(own for own, _ in events), 2),
            "events_waited_seconds": round(median(waited for _, waited in events), 2),
        }
    )


class _Bench:
    def __init__(self, folder: Path, address: str) -> None:
        from caseprep_pipelines.automation.notified import take_announced
        from caseprep_pipelines.automation.sensors import evaluate
        from caseprep_pipelines.embedded import open_instance
        from caseprep_pipelines.resources.pipeline import Pipeline
        from caseprep_pipelines.settings import read_settings
        from caseprep_pipelines.storage.queue import open_queue

        self.address, self.evaluate, self.count = address, evaluate, 0
        self.pipeline = Pipeline(
            read_settings(
                storage=f"s3://{_bucket.BUCKET}", s3_endpoint_url=address, s3_region="us-east-1",
                dagster_home=folder / "dagster", database_url=f"sqlite:///{folder}/catalog.sqlite",
            )
        )  # fmt: skip
        self.instance = open_instance(folder / "dagster")
        queue = open_queue(f"{address}/queue", "us-east-1")
        self.by_events = lambda pipeline, now: take_announced(pipeline, queue, now)
        self._fill()

    def _fill(self) -> None:
        """What 100,000 recordings leave behind that were taken up and went through every stage."""
        from caseprep_pipelines.catalog import registry
        from caseprep_pipelines.catalog.progress import UPLOAD_SENSOR
        from caseprep_pipelines.partitions import add_partitions
        from caseprep_pipelines.storage.keys import origin_digest_of_object

        seen = {self.pipeline.objects.uri(_bucket.name(n)): n for n in range(KNOWN)}
        new = [
            registry.NewRecording(
                f"2024-cv-{n // _bucket.PAGE:04}", f"{n:07}.wav", uri,
                origin_digest_of_object(_bucket.BUCKET, _bucket.name(n), None, _bucket.etag(n), 1_000_000 + n),
            )
            for uri, n in seen.items()
        ]  # fmt: skip
        registered = registry.register(self.pipeline.catalog, new, UPLOAD_SENSOR)
        registry.observe(self.pipeline.catalog, {uri: _bucket.etag(n) for uri, n in seen.items()})
        registry.mark_taken(
            self.pipeline.catalog, {uri: entry.partition for uri, entry in zip(seen, registered, strict=True)}
        )
        add_partitions(self.pipeline, self.instance)
        self._finish([entry.partition for entry in registered])
        self._hold(KNOWN)

    def _finish(self, partitions: list[str]) -> None:
        from sqlalchemy import insert

        from caseprep_pipelines.assets import STAGES
        from caseprep_pipelines.catalog.tables import StageProduct

        made = {"version": "000001-0", "digest": "0" * 64, "code_version": "c", "inputs": "{}", "rejected": False}
        at = datetime.now(UTC)
        with self.pipeline.catalog.writing() as session:
            for stage in STAGES:
                rows: list[dict[str, Any]] = [
                    {**made, "partition": partition, "stage": stage.name, "run_id": "r", "at": at}
                    for partition in partitions
                ]
                session.execute(insert(StageProduct), rows)

    def tick(self, *, announced: bool) -> tuple[float, float]:
        """Own seconds and seconds waited of a tick that finds as many new objects as it should."""
        if announced:
            self._post(f"announce/{self.count}/{self.count + NEW}")
        self._hold(self.count + NEW)
        look = {"look": self.by_events} if announced else {}
        before = self.instance.get_dynamic_partitions("recordings")
        with _waiting() as waited:
            started = time.perf_counter()
            self.evaluate(self.pipeline, self.instance, datetime.now(UTC), **look)
            took = time.perf_counter() - started
        new = self.instance.get_dynamic_partitions("recordings")[len(before) :]
        if len(new) != NEW:
            sys.exit(f"the tick took up {len(new)} of {NEW} recordings")
        self._finish(new)
        return took - waited(), waited()

    def _hold(self, count: int) -> None:
        self.count = count
        self._post(f"hold/{count}")

    def _post(self, path: str) -> None:
        with urllib.request.urlopen(urllib.request.Request(f"{self.address}/{path}", b"", method="POST")):  # noqa: S310
            pass

    def close(self) -> None:
        self.instance.dispose()
        self.pipeline.catalog.close()


@contextmanager
def _waiting() -> Iterator[Callable[[], float]]:
    """Counts the seconds in which at least one request was out."""
    from botocore.httpsession import URLLib3Session

    spans: list[tuple[float, float]] = []
    send = URLLib3Session.send

    def timed(self: URLLib3Session, request: object) -> object:
        started = time.perf_counter()
        try:
            return send(self, request)
        finally:
            spans.append((started, time.perf_counter()))

    def waited() -> float:
        total = end = 0.0
        for start, stop in sorted(spans):
            total += max(0.0, stop - max(start, end))
            end = max(end, stop)
        return total

    with mock.patch.object(URLLib3Session, "send", timed):
        yield waited


@contextmanager
def _served() -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks._bucket"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as served:
        try:
            assert served.stdout is not None
            yield f"http://127.0.0.1:{served.stdout.readline().strip()}"
        finally:
            served.terminate()
