"""Which models there are to fetch, and which of them suit a machine: what `caseprep models fetch` shows without a name.

Where a model comes from is known to `fetch` and `starter`.
"""

from dataclasses import dataclass
from pathlib import Path

from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.models.directories import (
    STARTER,
    resolve_diarization,
    resolve_whisper,
)

_GB = 10**9
#: Less than cards of 6 and 8 GB have free. Weights in half precision, and room for a batch of 16 clips.
_TURBO_MEMORY = 5.5 * _GB
TURBO = "large-v3-turbo"
SMALL = "small"


@dataclass(frozen=True)
class Choice:
    name: str
    hears: str
    """Words, speakers or both."""
    size: float
    """Gigabytes to load, about."""
    source: str
    note: str


CHOICES = (
    Choice(
        STARTER, "words and speakers", 0.2, "package registry", "Whisper base, segmentation 3.0 and CAM++, no account"
    ),
    Choice(SMALL, "words", 0.5, "hub", "fewer errors than starter, at about a third of its speed"),
    Choice(TURBO, "words", 1.6, "hub", "few errors, fast on a GPU of 6 GB and more"),
    Choice("large-v3", "words", 3.1, "hub", "for rare languages, on a GPU of 10 GB and more"),
    Choice("pyannote/speaker-diarization-community-1", "speakers", 0.03, "hub", "accept its conditions there first"),
)


@dataclass(frozen=True)
class Machine:
    gpu_memory: int | None
    """Bytes of its first GPU that CTranslate2 can use, or None."""


def this_machine(device: str) -> Machine:
    """`device` is the setting: where it is `cpu`, no GPU counts."""
    if device == "cpu":
        return Machine(None)
    try:
        import ctranslate2

        if not ctranslate2.get_cuda_device_count():
            return Machine(None)
        import torch

        return Machine(torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else None)
    except ImportError:
        return Machine(None)


def recommended(machine: Machine) -> tuple[str, str]:
    """The model for words that suits a machine best, and a line that says why."""
    if machine.gpu_memory is None:
        return STARTER, f"no GPU: {STARTER} to begin with at once, {SMALL} for fewer errors where time is no matter"
    memory = f"a GPU of {machine.gpu_memory / 2**30:.0f} GiB"
    if machine.gpu_memory < _TURBO_MEMORY:
        return SMALL, f"{memory}: {SMALL}, since {TURBO} needs 6 GB"
    return TURBO, f"{memory}: {TURBO}"


def is_here(choice: Choice, models_directory: Path) -> bool:
    """Whether a choice is on this machine already, wherever a run would find it."""
    resolvers = [resolve_whisper] * ("words" in choice.hears) + [resolve_diarization] * ("speakers" in choice.hears)
    try:
        for resolve in resolvers:
            resolve(choice.name, models_directory)
    except ConfigurationError:
        return False
    return True
