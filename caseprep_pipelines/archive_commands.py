"""What `caseprep archive` does and prints: a thin face of the `archive` package and of `automation.archive`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from caseprep_pipelines.archive.manifests import Refusal
    from caseprep_pipelines.archive.registering import Count
    from caseprep_pipelines.resources.pipeline import Pipeline

#: Where nobody watches, a line is printed each time so many more recordings are through.
_LINE_EVERY = 10_000


def register(
    pipeline: "Pipeline", source: str, matter: str | None, priority: int, *, quiet: bool = False
) -> dict[str, int]:
    """Registers an archive and adds its partitions; refusals go to standard error, a line each."""
    from caseprep_pipelines.archive import manifests, registering
    from caseprep_pipelines.embedded import add_partitions, open_instance
    from caseprep_pipelines.resources.pipeline import s3_client

    buckets = manifests.Buckets(lambda: s3_client(pipeline.settings))
    with pipeline.work_folder() as work:
        entries = manifests.read(source, buckets, Path(work))
        with _Progress(quiet) as progress:
            count = registering.register(
                pipeline.catalog,
                entries,
                buckets,
                incoming=_incoming(pipeline),
                matter=matter,
                priority=priority,
                refused=progress.refused,
                progress=progress.registered,
            )
            if count.registered or count.known:
                progress.say("adding partitions")
                add_partitions(pipeline, open_instance(pipeline.settings.dagster_home))
    return {"registered": count.registered, "known": count.known, "refused": count.refused}


def print_registered(summary: dict[str, int]) -> None:
    found = f"{summary['registered']} registered, {summary['known']} known before, {summary['refused']} refused"
    print(f"{found}." if sum(summary.values()) else "There are no recordings in it.")  # noqa: T201
    if summary["registered"]:
        print("They wait for the archive's window; caseprep archive plan shows what runs then.")  # noqa: T201


def _incoming(pipeline: "Pipeline") -> str:
    """The folder of uploads as entries name it: an absolute path or an `s3://` address, nothing encoded."""
    from urllib.parse import unquote

    folder = pipeline.settings.incoming_prefix.rstrip("/")
    path = pipeline.objects.local_path(folder)
    return f"{path}/" if path is not None else f"{unquote(pipeline.objects.uri(folder))}/"


class _Progress:
    """A count on a terminal, a line now and then elsewhere; refusals a line each."""

    def __init__(self, quiet: bool) -> None:
        self.console = Console(stderr=True)
        self.live = self.console.is_terminal and not quiet
        self.status = self.console.status("reading")
        self.quiet, self.said = quiet, 0

    def __enter__(self) -> "_Progress":
        if self.live:
            self.status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.status.stop()

    def say(self, what: str) -> None:
        if self.live:
            self.status.update(what)

    def registered(self, count: "Count") -> None:
        line = f"{count.registered:,} registered, {count.known:,} known before, {count.refused:,} refused"
        self.say(line)
        if not self.live and not self.quiet and count.seen >= self.said + _LINE_EVERY:
            self.said = count.seen
            print(line, file=sys.stderr)  # noqa: T201

    def refused(self, refusal: "Refusal") -> None:
        line = f"{refusal.place}: {refusal.why}"
        self.console.print(line.encode(errors="replace").decode(), markup=False, highlight=False, soft_wrap=True)
