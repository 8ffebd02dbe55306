"""What `caseprep archive` does and prints: a thin face of the packages `archive` and `fleet` and of
`automation.archive`."""

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
    began = archive.Amount() if night is None else spent(instance, night, pipeline.settings.partition_set)
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
        f"Lengths    {_lengths(found['bytes_per_second'], found['bytes_per_second_assumed'])}",
        f"Rates      {rates}",
    ]
    print("\n".join(lines))  # noqa: T201


#: Kinds of file whose bytes a second are shown: of an archive's many spellings those that most have.
_KINDS = 4


def _lengths(rates: dict[str, int | None], assumed: int) -> str:
    """What lengths were told from, the commonest kinds of file first."""
    measured = [f"{rate:,} in {kind or 'others'}" for kind, rate in rates.items() if rate is not None][:_KINDS]
    some = f"{', '.join(measured)} (measured)"
    if None not in rates.values():
        return f"from sizes, bytes a second: {some}" if measured else "assumed, as no size is known"
    guess = f"{assumed:,} {'else' if measured else 'in all'} (assumed, as no such file was measured yet)"
    return f"from sizes, bytes a second: {some + '; ' if measured else ''}{guess}"


#: Hours of audio that are simulated where nothing waits and nobody says how many.
_EXAMPLE_HOURS = 500.0
#: Days over which uploads come.
_UPLOAD_DAYS = 5


def simulate(
    pipeline: "Pipeline",
    *,
    hours: float | None,
    uploads: float | None,
    gpus: int | None,
    reclaim_hours: float,
    seed: int,
) -> dict[str, Any]:
    """What the settings that an operator would consider cost, and how long people would wait. Changes nothing."""
    from dataclasses import asdict
    from datetime import UTC, datetime
    from random import Random

    from caseprep_pipelines.assets import STAGES, batches
    from caseprep_pipelines.automation import archive
    from caseprep_pipelines.catalog import speed, waiting
    from caseprep_pipelines.fleet import comparison, rates, workload
    from caseprep_pipelines.fleet.simulation import Fleet, Stage
    from caseprep_pipelines.resources.pipeline import Pipeline

    settings, catalog, now = pipeline.settings, pipeline.catalog, datetime.now(UTC)
    most = batches(settings)
    stages = [Stage(stage.name, most[stage.name], stage.gpu, stage.in_children) for stage in STAGES]
    sums = speed.by_stage(catalog, now, [stage.name for stage in stages if stage.gpu])
    found, assumed = rates.rates(sums, most)

    rng, lengths = Random(seed), "waiting"  # noqa: S311 - a simulation
    if hours is None:
        rows = waiting.waiting(catalog, settings.archive_order)
        backlog = [row.hours for row in archive.candidates(rows, (), speed.measured(catalog, now))]
    else:
        backlog, lengths = workload.lengths_for(rng, hours), "assumed"
    if not backlog and not uploads:
        backlog, lengths = workload.lengths_for(rng, _EXAMPLE_HOURS), "assumed"
    if not backlog:
        lengths = "assumed"
    start, end = (
        int(clock[:2]) + int(clock[3:]) / 60 for clock in (settings.archive_window_start, settings.archive_window_end)
    )
    fleet = Fleet(window=comparison.ALL_DAY if start == end else (start, end))
    # it begins with a whole night
    arrivals = [
        *workload.archive(backlog, fleet.window[0] * workload.HOUR),
        *workload.uploads(rng, uploads or 0.0, _UPLOAD_DAYS),
    ]
    on_demand, spot = (
        Pipeline(settings.model_copy(update={"pricing": pricing})).rates for pricing in ("on-demand", "spot")
    )
    compared = comparison.compare(
        arrivals, stages, found, fleet,
        on_demand=on_demand, spot=spot, reclaim_hours=reclaim_hours,
        gpus=comparison.GPUS if gpus is None else (gpus,), seed=seed,
    )  # fmt: skip
    return {
        "recordings": len(arrivals),
        "audio_hours": round(sum(arrival.hours for arrival in arrivals), 2),
        "uploaded_hours_a_day": uploads or 0.0,
        "lengths": lengths,
        "window": f"{settings.archive_window_start} to {settings.archive_window_end}",
        "rates": {name: {**asdict(rate), "measured": name not in assumed} for name, rate in found.items()},
        "prices": {"on_demand": on_demand.basis, "spot": spot.basis},
        "spot_reclaim_hours": reclaim_hours,
        "seed": seed,
        "fleet": asdict(fleet),
        "settings": [
            {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(row).items()}
            for row in compared
        ],
    }


def print_simulation(found: dict[str, Any]) -> None:
    """A row for each setting, and what the figures stand on."""
    from rich.table import Table

    from caseprep_pipelines.report.shown import clock_hours

    table = Table(box=None, pad_edge=False)
    headings = ("GPUs", "Nodes", "Archive runs", "$/hour", "Cost", "Finished", "Draft", "95 %", "Done", "95 %", "Work")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("Nodes", "Archive runs") else "right", no_wrap=True)
    for row in found["settings"]:
        waits = (row["draft_median"], row["draft_95"], row["catalogued_median"], row["catalogued_95"])
        table.add_row(
            str(row["gpus"]),
            "spot" if row["spot"] else "on demand",
            "all day" if row["all_day"] else found["window"],
            f"{row['cost_per_audio_hour']:.4f}",
            f"{row['cost']:,.2f}",
            *(clock_hours(hours) for hours in (row["hours_to_finish"], *waits)),
            f"{row['gpu_worked']:.0%}",
        )
    lengths = "as they wait" if found["lengths"] == "waiting" else "an assumed mixture"
    uploads = f", {found['uploaded_hours_a_day']:g} hours uploaded a day" if found["uploaded_hours_a_day"] else ""
    assumed = [name for name, rate in found["rates"].items() if not rate["measured"]]
    measured = [name for name in found["rates"] if name not in assumed]
    rates = f"measured here: {', '.join(measured)}; from the shipped table: {', '.join(assumed) or 'none'}"
    if not measured:
        rates = "from the shipped table, as nothing was measured yet"
    if assumed:
        rates += ". Its GPU rates are assumed for an L4: transcribe some recordings on your own GPU first"
    lines = [
        f"Simulated  {found['recordings']:,} recordings, {found['audio_hours']:,.1f} hours of audio "
        f"({lengths}{uploads}), seed {found['seed']}",
        f"Rates      {rates}.",
        f"Prices     on demand: {found['prices']['on_demand']}",
        f"           spot: {found['prices']['spot']}; a node is reclaimed every {found['spot_reclaim_hours']:g} hours",
        "Not in it  disks, traffic, the database, Dagster's own pods, and what fails",
    ]
    console = Console()
    # a figure that is cut off is none
    console.width = max(console.width, console.measure(table, options=console.options.update(width=1000)).maximum)
    console.print(table)
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


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
