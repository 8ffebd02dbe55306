"""The report as people see it: rows of a table, Markdown, a picture. Only figures, days, matter ids and stages."""

import io
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta
from itertools import compress
from math import isfinite
from typing import TYPE_CHECKING

from caseprep_pipelines.report.documents import ArchiveReport, Figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Of `cells`.
HEADINGS = (
    *("In", "Done", "Rejected", "Failed", "Waiting", "Hours", "Speed", "$/hour", "Spent", "Wait", "95 %", "Flagged"),
    "SNR",
)
STAGE_HEADINGS = ("Runs", "Hours", "Wall hours", "CPU hours", "GPU hours", "Speed", "$/hour", "Cost")

#: What a page shows; the document and its Parquet files hold all.
_DAYS, _MATTERS, _DRAWN_DAYS = 31, 50, 92
#: Keeps a figure and its unit on one line.
_SPACE = "\N{NO-BREAK SPACE}"
_INK, _IN, _DONE, _WARM = "#333333", "#b8c4ce", "#0072b2", "#d55e00"


def cells(figures: Figures) -> list[str]:
    """What stands under `HEADINGS`; empty where there is no figure, or nobody rejected, failed or waiting."""
    return [
        f"{figures.recordings_in:,}",
        f"{figures.recordings_done:,}",
        *(f"{number:,}" if number else "" for number in (figures.rejected, figures.failed, figures.waiting)),
        _hours(figures.hours_done),
        _speed(figures.hours_per_wall_hour),
        _money(figures.cost_per_hour),
        _money(figures.spent or None),
        clock_hours(figures.wait_hours_median),
        clock_hours(figures.wait_hours_95),
        "" if figures.flagged_share is None else f"{figures.flagged_share:.1%}",
        "" if figures.snr_db_median is None else f"{figures.snr_db_median:.0f}{_SPACE}dB",
    ]


def latest_days(report: ArchiveReport, most: int = _DAYS) -> list[tuple[str, Figures]]:
    """The newest first."""
    return [(day.day, day) for day in report.days[: -most - 1 : -1]]


def largest_matters(report: ArchiveReport, most: int = _MATTERS) -> list[tuple[str, Figures]]:
    """By hours registered, then by id."""
    ordered = sorted(report.matters, key=lambda matter: (-matter.hours_in, matter.matter))
    return [(matter.matter, matter) for matter in ordered[:most]]


def summary(report: ArchiveReport) -> str:
    """Everything in one row, and what the money was counted with; Markdown."""
    return f"{_table('', [('all', report.total)])}\n\nCost is counted with {report.prices}.\n"


def by_day(report: ArchiveReport) -> str:
    return _table("Day", latest_days(report))


def by_matter(report: ArchiveReport) -> str:
    return _table("Matter", largest_matters(report))


def by_stage(report: ArchiveReport) -> str:
    rows = [
        [
            f"`{stage.stage}`",
            f"{stage.runs:,}",
            *(_hours(hours) for hours in (stage.hours, stage.wall_hours, stage.cpu_hours, stage.gpu_hours)),
            _speed(stage.hours_per_wall_hour),
            _money(stage.cost_per_hour),
            _money(stage.cost),
        ]
        for stage in report.stages
    ]
    return _markdown(["Stage", *STAGE_HEADINGS], rows)


def picture(report: ArchiveReport) -> bytes:
    """Hours, cost and waiting on the latest days, as PNG of some 30 kB; the same bytes for the same report."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    shown = report.days[-_DRAWN_DAYS:]
    days = [date.fromisoformat(day.day) for day in shown]
    figure = Figure(figsize=(8, 6.6), dpi=90, layout="constrained")
    hours, money, waiting = figure.subplots(3, 1, sharex=True)
    for axes, title in ((hours, "Hours of audio"), (money, "USD per hour of audio"), (waiting, "Clock hours waited")):
        axes.set_title(title, loc="left", fontsize=10, color=_INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8, colors=_INK)
    hours.bar(days, [day.hours_in for day in shown], width=0.9, color=_IN, label="registered")
    hours.bar(days, [day.hours_done for day in shown], width=0.5, color=_DONE, label="done")
    _line(money, days, [day.cost_per_hour for day in shown], _DONE, "of recordings done that day")
    _line(waiting, days, [day.wait_hours_median for day in shown], _DONE, "median")
    _line(waiting, days, [day.wait_hours_95 for day in shown], _WARM, "95th percentile")
    for axes in (hours, money, waiting):
        highest = axes.dataLim.ymax
        axes.set_ylim(0, highest * 1.1 if isfinite(highest) and highest > 0 else 1)
        axes.legend(fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderpad=0)
    if days:
        # never less than a week, or the axis would count hours
        first = min(days[0], days[-1] - timedelta(days=6))
        half = timedelta(hours=12)
        waiting.set_xlim(datetime.combine(first, time()) - half, datetime.combine(days[-1], time()) + half)
        locator = AutoDateLocator(minticks=2, maxticks=8)
        waiting.xaxis.set_major_locator(locator)
        waiting.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    return drawn.getvalue()


def _line(axes: "Axes", days: Sequence[date], values: Iterable[float | None], color: str, label: str) -> None:
    # a gap where there is no figure
    known = [float("nan") if value is None else value for value in values]
    axes.plot(days, known, marker="o", markersize=3, linewidth=1, color=color, label=label)  # type: ignore[arg-type]


def table(rows: Sequence[tuple[str, Figures]]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of the rows without the columns in which nothing stands; the first is for the rows' names."""
    filled = [cells(figures) for _, figures in rows]
    used = [any(column) for column in zip(*filled, strict=True)] if filled else [True] * len(HEADINGS)
    named = zip((name for name, _ in rows), filled, strict=True)
    return ["", *compress(HEADINGS, used)], [[name, *compress(row, used)] for name, row in named]


def _table(heading: str, rows: Sequence[tuple[str, Figures]]) -> str:
    headings, filled = table(rows)
    return _markdown([heading, *headings[1:]], filled)


def _markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    align = ["---", *["---:"] * (len(headings) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (headings, align, *rows))


def _hours(hours: float) -> str:
    return f"{hours:,.1f}" if hours >= 10 else f"{hours:.2f}"


def _speed(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:,.1f}{_SPACE}×"


def _money(amount: float | None) -> str:
    if amount is None:
        return ""
    return f"{amount:,.2f}" if amount >= 1 else f"{amount:.4f}"


def clock_hours(hours: float | None) -> str:
    """Clock time as people say it; empty where there is none."""
    if hours is None:
        return ""
    if hours < 1:
        return f"{hours * 60:.0f}{_SPACE}min"
    return f"{hours:.1f}{_SPACE}h" if hours < 48 else f"{hours / 24:.1f}{_SPACE}d"
