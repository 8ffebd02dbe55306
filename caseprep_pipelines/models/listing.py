"""Which models this machine has: what `caseprep models list` shows. Quick: no file's content is read."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from caseprep_pipelines.models.digests import model_files
from caseprep_pipelines.models.directories import STARTER, STARTER_MODELS, hub_snapshots
from caseprep_pipelines.models.identity import Kind, kind_of
from caseprep_pipelines.models.pins import DEMO_MODELS, PINS_FILE, find_pin, looks_pinned, read_pins


@dataclass(frozen=True)
class ModelRow:
    name: str
    """By which `--model` or `--diarization` takes it."""
    kind: Kind
    where: Path
    size: int
    """Bytes."""
    digest: str | None
    """The first twelve hex digits of the pinned digest, or None where the model has no pin."""
    demo: bool
    intact: bool | None
    """Whether names and sizes are as pinned (`pins.verify` reads the files); None where the model has no pin."""


def list_models(models_directory: Path, hub_cache: Path | None = None) -> list[ModelRow]:
    """Models that ship with the project, lie in the models directory or the hub's cache, or were used from elsewhere.

    Raises `ConfigurationError` where the pins cannot be read.
    """
    rows = []
    for name, path in _places(models_directory, hub_cache):
        kind = kind_of(path)
        if kind is None:
            continue
        pinned = find_pin(path, models_directory)
        rows.append(
            ModelRow(
                name=name,
                kind=kind,
                where=path,
                size=_size(path),
                digest=pinned.digest[:12] if pinned else None,
                demo=path.parent == DEMO_MODELS,
                intact=looks_pinned(path, models_directory),
            )
        )
    return rows


def _places(models_directory: Path, hub_cache: Path | None) -> Iterator[tuple[str, Path]]:
    for kind in ("whisper", "diarization"):
        yield "demo", DEMO_MODELS / kind
    for path in sorted(each for pattern in ("*", "*/*") for each in models_directory.glob(pattern)):
        name = path.relative_to(models_directory)
        # The second level holds OWNER/NAME, but also the parts of a model.
        if not any(part.startswith(".") for part in name.parts) and (len(name.parts) == 1 or not kind_of(path.parent)):
            yield STARTER if name.as_posix() in STARTER_MODELS else name.as_posix(), path
    yield from hub_snapshots(hub_cache)
    yield from ((key, Path(key)) for key in read_pins(models_directory / PINS_FILE) if key.startswith("/"))


def _size(path: Path) -> int:
    try:
        return sum(file.stat().st_size for file in model_files(path).values())
    except OSError:
        return 0
