"""What a model is: its directory, kind, and the identity that products carry. Finding one stands in `directories`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from caseprep_pipelines.storage.document import Part

Kind = Literal["whisper", "diarization"]


class ModelIdentity(Part):
    """A model directory as used."""

    name: str
    digest: str
    """Hex SHA-256 over the directory's files, by `models.digests.directory_digest`."""
    demo: bool = False
    """True for the models that ship with the project and know only the demo's language."""
    clip_seconds: float = 30.0
    """The longest clip that the model was trained for."""


@dataclass(frozen=True)
class ModelDirectory:
    """A complete model on this machine. Its digest is what was pinned; `pins.checked` compares it with the files."""

    path: Path
    identity: ModelIdentity


def kind_of(path: Path) -> Kind | None:
    """What the model in a directory is for, told by its main file; None where there is no model."""
    if (path / "config.yaml").is_file():
        return "diarization"
    return "whisper" if (path / "model.bin").is_file() else None
