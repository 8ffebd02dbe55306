"""Scores as people and programs read them: rows by recording, speaker, condition and in total; as files and a plot."""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caseprep_pipelines.evaluation.meaning import KINDS
from caseprep_pipelines.evaluation.scoring import COLLAR_SECONDS, LIBRARIES, Counts, Scored

if TYPE_CHECKING:
    import pandas as pd

JSON, PARQUET, PLOT = "evaluation.json", "evaluation.parquet", "evaluation.png"
#: Headings on a terminal, and the rate under each.
SHOWN = {
    "WER": "wer",
    "Verbatim": "wer_verbatim",
    "Lost": "lost_rate",
    "Unmarked": "lost_unmarked_rate",
    "Exchanged": "exchanged_rate",
    "Invented": "invented_rate",
    "cpWER": "cpwer",
    "tcpWER": "tcpwer",
    "DER": "der",
    "JER": "jer",
    **{kind.capitalize(): f"recall_{kind}" for kind in KINDS},
}
_DRAWN = 30
_COLORS = {"lost": "#d55e00", "exchanged": "#b8c4ce", "invented": "#0072b2"}


@dataclass(frozen=True)
class Row:
    level: str
    """`recording`, `speaker`, `condition` or `all`."""
    condition: str
    recording: str
    speaker: str
    counts: Counts

    def rates(self) -> dict[str, float | None]:
        """Those of the counts; a speaker has no invented words."""
        return self.counts.rates() | ({"invented_rate": None} if self.level == "speaker" else {})


@dataclass(frozen=True)
class Evaluation:
    rows: tuple[Row, ...]
    problems: tuple[str, ...]
    """References and recordings that could not be compared, a line each."""
    notes: tuple[str, ...] = ()

    def of(self, level: str) -> list[Row]:
        return [row for row in self.rows if row.level == level]


def evaluation(
    scored: Sequence[tuple[str, str, Scored]], problems: Sequence[str], notes: Sequence[str] = ()
) -> Evaluation:
    """Of scores with the names of their recordings and their conditions."""
    rows = []
    conditions: dict[str, Counts] = {}
    total = Counts()
    for recording, condition, each in scored:
        rows.append(Row("recording", condition, recording, "", each.counts))
        rows += [
            Row("speaker", condition, recording, speaker, counts) for speaker, counts in sorted(each.speakers.items())
        ]
        conditions.setdefault(condition, Counts()).add(each.counts)
        total.add(each.counts)
    if len(conditions) > 1:
        rows += [Row("condition", condition, "", "", counts) for condition, counts in sorted(conditions.items())]
    rows.append(Row("all", "", "", "", total))
    return Evaluation(tuple(rows), tuple(problems), tuple(notes))


def as_json(found: Evaluation) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "tcpwer_collar_seconds": COLLAR_SECONDS,
        "libraries": {name: version(name) for name in LIBRARIES},
        "rows": [_flat(row) | {"counts": asdict(row.counts)} for row in found.rows],
        "problems": list(found.problems),
        "notes": list(found.notes),
    }


def frame(found: Evaluation) -> "pd.DataFrame":
    """Counts and rates, one row for each of the evaluation's."""
    import pandas as pd

    flat = []
    for row in found.rows:
        counts = asdict(row.counts)
        of_kinds = {}
        for kind in KINDS:
            of_kinds[kind] = counts["critical"][kind]
            of_kinds[f"{kind}_found"] = counts["critical_found"][kind]
        del counts["critical"], counts["critical_found"]
        flat.append(_flat(row) | counts | of_kinds)
    return pd.DataFrame(flat).astype(dict.fromkeys(Counts().rates(), "float64"))


def _flat(row: Row) -> dict[str, Any]:
    return {
        "level": row.level,
        "condition": row.condition,
        "recording": row.recording,
        "speaker": row.speaker,
        **row.rates(),
    }


def write(found: Evaluation, folder: Path) -> list[Path]:
    """JSON, Parquet and a plot in the folder, which must exist."""
    (folder / JSON).write_text(json.dumps(as_json(found), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    frame(found).to_parquet(folder / PARQUET, index=False)
    (folder / PLOT).write_bytes(picture(found))
    return [folder / name for name in (JSON, PARQUET, PLOT)]


def picture(found: Evaluation) -> bytes:
    """Words lost, exchanged and invented by recording, the worst first, as PNG; by condition where there are some."""
    from matplotlib.figure import Figure

    rows = found.of("condition") or found.of("recording")
    with_words = [row for row in rows if row.counts.words]
    shown = sorted(with_words, key=lambda row: -(row.rates()["wer"] or 0.0))[:_DRAWN][::-1]
    figure = Figure(figsize=(8, 1.4 + 0.32 * max(3, len(shown))), dpi=90, layout="constrained")
    axes = figure.subplots()
    left = [0.0] * len(shown)
    names = [row.recording or row.condition or "(no folder)" for row in shown]
    for part, color in _COLORS.items():
        widths = [100 * (row.rates()[f"{part}_rate"] or 0.0) for row in shown]
        axes.barh(range(len(shown)), widths, left=left, color=color, label=part, height=0.7)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(shown)), [name if len(name) <= 30 else f"{name[:28]}…" for name in names], fontsize=8)
    axes.set_xlabel("% of the words that were said", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8, frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    return drawn.getvalue()


def table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of rows, without the columns in which nothing stands; the first has no heading."""
    rates = [row.rates() for row in rows]
    used = {heading: rate for heading, rate in SHOWN.items() if any(each[rate] is not None for each in rates)}
    cells = [
        [_name(row), f"{row.counts.words:,}", *(_percent(each[rate]) for rate in used.values())]
        for row, each in zip(rows, rates, strict=True)
    ]
    return ["", "Words", *used], cells


def _name(row: Row) -> str:
    return {
        "recording": row.recording,
        "speaker": f"  {row.speaker}",
        "condition": row.condition or "(no folder)",
        "all": "all",
    }[row.level]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"
