"""The archive in figures: what came in, what is done, how fast, for how much, how long people waited, how good it is.

The database adds up the runs (`catalog.frames`), pandas groups what is left. How the figures are shown stands in
`shown`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from caseprep_pipelines.catalog import frames
from caseprep_pipelines.catalog.database import Catalog
from caseprep_pipelines.report.documents import ArchiveReport, Day, Figures, Matter, StageFigures
from caseprep_pipelines.report.prices import Rates

if TYPE_CHECKING:
    import pandas as pd
    from pydantic.fields import FieldInfo

_HOUR = 3600.0


def archive_report(catalog: Catalog, rates: Rates) -> ArchiveReport:
    """The whole report. 100,000 recordings take seconds."""
    import pandas as pd

    recordings = frames.outcomes(catalog)
    recordings["cost"] = _cost(recordings, rates)
    recordings["wait_hours"] = (recordings["done_at"] - recordings["registered_at"]).dt.total_seconds() / _HOUR
    work = frames.work_by_day(catalog)
    work["cost"] = _cost(work, rates)

    registered, done = (recordings[at].dt.strftime("%Y-%m-%d") for at in ("registered_at", "done_at"))
    everything = pd.Series("", index=recordings.index, dtype="string")
    total = _figures(recordings, everything, everything, recordings.groupby(everything)["cost"].sum())
    days = _figures(recordings, registered, done, work.groupby("day")["cost"].sum())
    matters = recordings["matter"]
    by_matter = _figures(recordings, matters, matters, recordings.groupby(matters)["cost"].sum())
    return ArchiveReport(
        prices=rates.basis,
        total=Figures(**_rows(total)[""]) if len(total) else _nothing(),
        days=tuple(Day(day=day, **row) for day, row in _rows(days).items()),
        matters=tuple(Matter(matter=matter, **row) for matter, row in _rows(by_matter).items()),
        stages=tuple(StageFigures(stage=stage, **row) for stage, row in _rows(_stages(work)).items()),
    )


def _cost(seconds: "pd.DataFrame", rates: Rates) -> "pd.Series[Any]":
    """A GPU is paid for by the hour that it is held, with its machine; other work by the hours of its processors."""
    return (seconds["gpu_seconds"] * rates.gpu_hour + seconds["cpu_only_seconds"] * rates.cpu_hour) / _HOUR


def _figures(
    recordings: "pd.DataFrame", came_in: "pd.Series[Any]", done_in: "pd.Series[Any]", spent: "pd.Series[Any]"
) -> "pd.DataFrame":
    """`Figures` by group. `came_in` and `done_in` say, row by row, which group a recording counts in."""
    import pandas as pd

    arrived = recordings.groupby(came_in)
    status = recordings["status"]
    finished = recordings[status == "done"]
    made = finished.groupby(done_in[status == "done"])
    sums = made[["audio_seconds", "wall_seconds", "cpu_seconds", "gpu_seconds", "cost"]].sum()
    wait = made["wait_hours"]
    said = made["utterances"].sum()
    columns = {
        "recordings_in": arrived.size(),
        "hours_in": arrived["audio_seconds"].sum() / _HOUR,
        **{name: (status == name).groupby(came_in).sum() for name in ("rejected", "failed", "waiting")},
        "recordings_done": made.size(),
        "hours_done": sums["audio_seconds"] / _HOUR,
        **{f"{name}_hours": sums[f"{name}_seconds"] / _HOUR for name in ("wall", "cpu", "gpu")},
        "hours_per_wall_hour": _ratio(sums["audio_seconds"], sums["wall_seconds"]),
        "cost": sums["cost"],
        "cost_per_hour": _ratio(sums["cost"], sums["audio_seconds"] / _HOUR),
        "spent": spent,
        "wait_hours_median": wait.median(),
        "wait_hours_95": wait.quantile(0.95),
        "flagged_share": _ratio(made["flagged_utterances"].sum(), said),
        "spans_without_words": made["unspoken_spans"].sum(),
        "snr_db_median": made["snr_db"].median(),
        "demo": made["demo"].sum(),
    }
    frame = pd.DataFrame({name: column.astype("Float64") for name, column in columns.items()})
    return frame.sort_index()


def _stages(work: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    sums = work.groupby("stage", sort=False)[
        ["runs", "audio_seconds", "wall_seconds", "cpu_seconds", "gpu_seconds", "cost"]
    ].sum()
    hours = sums["audio_seconds"] / _HOUR
    return pd.DataFrame(
        {
            "runs": sums["runs"].astype("Float64"),
            "hours": hours,
            **{f"{name}_hours": sums[f"{name}_seconds"] / _HOUR for name in ("wall", "cpu", "gpu")},
            # registration does not know how long a recording is
            "hours_per_wall_hour": _ratio(sums["audio_seconds"].where(hours > 0), sums["wall_seconds"]),
            "cost": sums["cost"],
            "cost_per_hour": _ratio(sums["cost"], hours),
        }
    )


def _ratio(amount: "pd.Series[Any]", of: "pd.Series[Any]") -> "pd.Series[Any]":
    """Missing where there is nothing to divide by."""
    return amount / of.where(of > 0)


def _rows(frame: "pd.DataFrame") -> dict[str, dict[str, Any]]:
    """Each group's figures, as the documents want them: whole counts, six decimals, and 0 or None for what is not."""
    import pandas as pd

    fields = {**Figures.model_fields, **StageFigures.model_fields}

    def value(name: str, found: Any) -> Any:
        if pd.isna(found):
            return None if _optional(fields[name]) else 0
        return int(found) if fields[name].annotation is int else round(float(found), 6)

    return {
        str(group): {str(name): value(str(name), found) for name, found in row.items()}
        for group, row in frame.to_dict("index").items()
    }


def _nothing() -> Figures:
    return Figures(**{name: None if _optional(field) else 0 for name, field in Figures.model_fields.items()})


def _optional(field: "FieldInfo") -> bool:
    return field.annotation == float | None


def write_tables(report: ArchiveReport, folder: Path) -> None:
    """The report's tables as Parquet: `days.parquet`, `matters.parquet`, `stages.parquet`."""
    import pandas as pd

    for name, kind, rows in (
        ("days", Day, report.days),
        ("matters", Matter, report.matters),
        ("stages", StageFigures, report.stages),
    ):
        # an empty table has its columns too, and what may be missing is a number all the same
        types = {
            column: "string" if field.annotation is str else "int64" if field.annotation is int else "float64"
            for column, field in kind.model_fields.items()
        }
        frame = pd.DataFrame([row.model_dump() for row in rows], columns=list(types))
        frame.astype(types).to_parquet(folder / f"{name}.parquet", index=False)
