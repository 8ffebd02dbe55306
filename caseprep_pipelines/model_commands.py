"""What `caseprep models` prints: a thin face of the `models` package."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.settings import read_settings
from caseprep_pipelines.terminal import transfer


def fetch(name: str, source: str | None, digest: str | None) -> list[str]:
    """Fetches a model, or the two that `starter` means, and returns the lines that say where they are."""
    from caseprep_pipelines.models.directories import STARTER, STARTER_MODELS

    if name != STARTER:
        return [_fetch(name, source, digest)]
    if digest is not None:
        raise ConfigurationError(f"{STARTER} is two models: give --digest with {' or with '.join(STARTER_MODELS)}")
    lines = [_fetch(each, source, None) for each in STARTER_MODELS]
    return [
        *lines,
        f"Use them with --model {STARTER} --diarization {STARTER}, or set CASEPREP_MODEL={STARTER} and "
        f"CASEPREP_DIARIZATION={STARTER}.",
    ]


def print_choices() -> None:
    """What there is to fetch, and what suits this machine."""
    from caseprep_pipelines.models.choices import CHOICES, is_here, recommended, this_machine

    settings = read_settings()
    best, why = recommended(this_machine(settings.device))
    console = Console()
    for choice in CHOICES:
        marks = (
            f"{' *' if choice.name == best else ''}{' (here)' if is_here(choice, settings.models_directory) else ''}"
        )
        console.print(f"{choice.name}{marks}", markup=False, highlight=False, soft_wrap=True)
        line = f"    {choice.hears}, {choice.size:g} GB from the {choice.source}: {choice.note}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"\n* suits this machine, {why}.", markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"Get it with `caseprep models fetch {best}`; others by OWNER/NAME as on the hub, or --from a directory or S3.",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip


def _fetch(name: str, source: str | None, digest: str | None) -> str:
    from caseprep_pipelines.models.fetch import fetch as fetch_model

    settings = read_settings()
    with transfer(name) as progress:
        model = fetch_model(
            name,
            source or settings.model_store,
            settings.models_directory,
            token=settings.hub_token,
            expected_digest=digest,
            endpoint_url=settings.s3_endpoint_url,
            region=settings.s3_region,
            progress=progress,
        )
    return f"{name} is in {model.path}, digest {model.identity.digest}"


def rows() -> list[dict[str, Any]]:
    from caseprep_pipelines.models.listing import list_models

    return [asdict(row) for row in list_models(read_settings().models_directory)]


def print_rows(found: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("Model", "Kind", "Size", "Digest", "Files", "Where"):
        table.add_column(heading)
    for row in found:
        intact = {True: "as pinned", False: "CHANGED", None: "not pinned"}[row["intact"]]
        name = f"{row['name']} (demo)" if row["demo"] and row["name"] != "demo" else row["name"]
        table.add_row(name, row["kind"], f"{row['size'] / 1e6:.1f} MB", row["digest"] or "", intact, str(row["where"]))
    Console().print(table)


def verify(names: list[str]) -> tuple[list[str], list[str]]:
    """One line for each model file that is not as pinned, and one for each model that has no pin.

    The second are no fault of anybody's: the hub's cache, for one, fills without this project. Raises
    `ConfigurationError` for a name that is no model's.
    """
    from caseprep_pipelines.models.listing import list_models
    from caseprep_pipelines.models.pins import verify as verify_model

    directory = read_settings().models_directory
    found = list_models(directory)
    unknown = set(names) - {row.name for row in found}
    if unknown:
        raise ConfigurationError(f"no model here is called {sorted(unknown)[0]}; caseprep models list names them")
    problems: list[str] = []
    unpinned: list[str] = []
    for row in found:
        if names and row.name not in names:
            continue
        wrong = verify_model(Path(row.where), directory)
        if wrong is not None:
            problems.extend(f"{row.name}: {what}; fetch the model again" for what in wrong)
        elif row.demo:
            problems.append(f"{row.name}: it ships with its digests, and they are gone; install the project again")
        else:
            unpinned.append(
                f"{row.name}: not pinned, so nothing to compare with; `caseprep models fetch {row.name}` pins it, and "
                "so does its first use"
            )
    return problems, unpinned
