"""Four GPUs over 2,000 recordings in simulation: how busy they are, and what is wasted with spot reclaims."""

import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import Result

#: Where the picture of docs/sizing.md goes.
PICTURE = Path(__file__).parent.parent / "docs/images/sizing.png"
RECORDINGS = 2000
SEED = 1


def run() -> Result:
    from caseprep_pipelines.assets import STAGES
    from caseprep_pipelines.fleet import workload
    from caseprep_pipelines.fleet.rates import shipped
    from caseprep_pipelines.fleet.simulation import Fleet, Stage, simulate

    stages = [Stage(stage.name, stage.batch, stage.gpu, stage.in_children) for stage in STAGES]
    archive = workload.archive(workload.lengths(random.Random(SEED), RECORDINGS))
    four = Fleet(gpus=4, pod_seconds=8, load_seconds=15)
    started = time.perf_counter()
    steady = simulate(archive, stages, dict(shipped()), four, SEED)
    took = time.perf_counter() - started
    reclaimed = simulate(archive, stages, dict(shipped()), replace(four, reclaim_every=600, notice_seconds=30), SEED)
    few = simulate(archive, stages, dict(shipped()), replace(four, most_runs=8, archive_runs=4), SEED)
    draw(stages, dict(shipped()))
    return Result(
        figures={
            "recordings": RECORDINGS,
            "audio_hours": round(sum(arrival.hours for arrival in archive)),
            "gpus": four.gpus,
            "busy_share": round(steady.busy, 3),
            "busy_share_with_the_run_limits_of_one_machine": round(few.busy, 3),
            "busy_share_with_a_node_reclaimed_every_ten_minutes": round(reclaimed.busy, 3),
            "wasted_share_with_a_node_reclaimed_every_ten_minutes": round(reclaimed.wasted, 4),
            "nodes_reclaimed": reclaimed.reclaimed,
            "simulation_seconds": round(took, 2),
        }
    )


def draw(stages: list[Any], rates: dict[str, Any]) -> None:
    """The picture of docs/sizing.md: an archive by number of GPUs, and uploads by their hours a day."""
    from matplotlib.figure import Figure

    from caseprep_pipelines.fleet import comparison, workload
    from caseprep_pipelines.fleet.simulation import Fleet
    from caseprep_pipelines.report.prices import rates as prices

    on_demand, spot = (prices("g6.xlarge", "c6i.xlarge", pricing) for pricing in ("on-demand", "spot"))

    def rows(arrivals: list[workload.Arrival], gpus: tuple[int, ...]) -> list[comparison.Row]:
        given = {"on_demand": on_demand, "spot": spot, "reclaim_hours": 8.0, "gpus": gpus, "seed": SEED}
        return list(comparison.compare(arrivals, stages, rates, Fleet(window=(20, 6)), **given))  # type: ignore[arg-type]

    ink, blue, orange, grey = "#333333", "#0072b2", "#d55e00", "#8a99a6"
    figure = Figure(figsize=(8, 5.6), dpi=90, layout="constrained")
    (days, money), (waits, upload_money) = figure.subplots(2, 2)
    counts = (1, 2, 3, 4, 6, 8)
    archive = workload.archive(workload.lengths_for(random.Random(SEED), 1300), 20 * workload.HOUR)
    found = rows(archive, counts)
    for all_day, color, label in ((True, blue, "all day"), (False, orange, "20:00 to 06:00")):
        ours = [row for row in found if row.all_day == all_day and not row.spot]
        days.plot(counts, [row.hours_to_finish / 24 for row in ours], "o-", color=color, label=label)
    for spots, color, label in ((False, blue, "on demand"), (True, orange, "spot")):
        ours = [row for row in found if row.all_day and row.spot == spots]
        money.plot(counts, [row.cost_per_audio_hour for row in ours], "o-", color=color, label=label)
    amounts = (5, 10, 20, 40, 80, 160)
    uploaded = [rows(workload.uploads(random.Random(SEED), hours, 3), (2,))[0] for hours in amounts]
    waits.plot(amounts, [row.draft_95 * 60 for row in uploaded], "o-", color=grey, label="draft, 95th percentile")
    waits.plot(amounts, [row.catalogued_median * 60 for row in uploaded], "o-", color=blue, label="all, median")
    waits.plot(amounts, [row.catalogued_95 * 60 for row in uploaded], "o-", color=orange, label="all, 95th percentile")
    upload_money.plot(amounts, [row.cost_per_audio_hour for row in uploaded], "o-", color=blue, label="on demand")
    for axes, title, across in (
        (days, "1,300 hours: days to finish", "GPUs"),
        (money, "1,300 hours: USD per hour of audio", "GPUs"),
        (waits, "Uploads, at most 2 GPUs: minutes waited", "hours uploaded a day"),
        (upload_money, "Uploads: USD per hour of audio", "hours uploaded a day"),
    ):
        axes.set_title(title, loc="left", fontsize=10, color=ink)
        axes.set_xlabel(across, fontsize=8, color=ink)
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8, colors=ink)
        axes.legend(fontsize=8, frameon=False)
        for line in axes.lines:
            line.set(markersize=3, linewidth=1)
    figure.savefig(PICTURE, metadata={"Software": None})
