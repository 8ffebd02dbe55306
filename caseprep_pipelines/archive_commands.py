"""What `caseprep archive` does and prints: a thin face of the `archive` package and of `automation.archive`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    from caseprep_pipelines.embedded import open_instance
    from caseprep_pipelines.partitions import add_partitions
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


def plan(pipeline: "Pipeline") -> dict[str, Any]:
    """What the archive's window that is on, or the next one, would begin. Changes nothing."""
    from datetime import UTC, datetime

    from caseprep_pipelines.assets import STAGES
    from caseprep_pipelines.automation import archive
    from caseprep_pipelines.automation.archive_sensor import gpu_slots, spent
    from caseprep_pipelines.automation.windows import night_at
    from caseprep_pipelines.embedded import open_instance

    now = datetime.now(UTC)
    night = night_at(archive.window(pipeline.settings), now)
    instance = open_instance(pipeline.settings.dagster_home)
    # a night that has not begun has spent nothing
    began = archive.Amount() if night is None else spent(instance, night)
    return archive.plan(pipeline, now, began, STAGES[-1].name, gpu_slots(instance))


def print_plan(found: dict[str, Any]) -> None:
    def money(amount: float | None) -> str:
        return "" if amount is None else f", about {amount:,.2f} USD"

    if found["seconds_per_audio_hour"] is None:
        rates = "Nothing was measured yet, so neither time nor cost can be told; transcribe some recordings first."
    else:
        rates = (
            f"Measured over {found['measured_audio_hours']:,.1f} hours: {found['seconds_per_audio_hour']:,.0f} s "
            f"and {found['usd_per_audio_hour']:.4f} USD an hour of audio ({found['prices']})."
        )
    at_most = "at most " if found["seconds_per_audio_hour"] is None else ""
    held = {
        None: "That is all that waits.",
        "budget": "Then the budget is used up.",
        "time": "Then the window is over.",
        "unmeasured": "A budget in money cannot be kept before a cost was measured; set CASEPREP_ARCHIVE_BUDGET_HOURS.",
    }[found["held_by"]]
    lengths = "measured" if found["bytes_per_second_measured"] else "assumed, as nothing was measured yet"
    work = "" if found["work_hours"] is None else f", {found['work_hours']:,.1f} hours of work one after the other"
    rush = f", {found['rush_recordings']:,} of them in a rush" if found["rush_recordings"] else ""
    spent = f"{found['spent_audio_hours']:,.1f} hours{money(found['spent_usd'])} are begun in it already. "
    lines = [
        f"Window     {found['window_start']} to {found['window_end']}" + (" (now)" if found["now_in_window"] else ""),
        f"Would run  {at_most}{found['recordings']:,} recordings{rush}, {found['audio_hours']:,.1f} hours of audio"
        f"{work}{money(found['cost_usd'])}",
        f"           {spent if found['spent_audio_hours'] else ''}{held}",
        f"Waiting    {found['waiting_recordings']:,} recordings, {found['waiting_audio_hours']:,.1f} hours of audio"
        f"{money(found['waiting_cost_usd'])}",
        f"Lengths    from sizes, at {found['bytes_per_second']:,} bytes a second ({lengths})",
        f"Rates      {rates}",
    ]
    print("\n".join(lines))  # noqa: T201


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
