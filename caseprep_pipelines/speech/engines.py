"""What must hold before any engine is imported: nothing is reported to its makers and no hub is asked for anything.

The engines read these variables when they are imported, so every function that imports one calls `keep_private` first.
"""

import ctypes
import gc
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

CPU = "cpu"
"""What `device_name` calls it; any other name is a GPU's."""


def keep_private() -> None:
    """Switches telemetry and hub access off for this process.

    onnxruntime, on which the detector of speech runs, reports to its maker from native code since 1.31, where no
    blocked socket of Python shows it; all that showed was a device id in the user's cache directory. It reads its
    variable when it is imported.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["DO_NOT_TRACK"] = "1"


def import_pyannote() -> Any:
    """The package `pyannote.audio`, silent and private. Nothing else in the project may import it first."""
    keep_private()
    for name in ("pyannote", "lightning", "lightning.pytorch", "lightning.fabric", "torio", "torchcodec"):
        logging.getLogger(name).setLevel(logging.ERROR)
    import pyannote.audio
    from pyannote.audio.pipelines import clustering
    from pyannote.audio.telemetry import set_telemetry_metrics

    set_telemetry_metrics(False)
    # it prints to standard output when it cannot find as many speakers as asked for
    vars(clustering)["print"] = lambda *_, **__: None
    return pyannote.audio


@contextmanager
def quietly() -> Iterator[None]:
    """Without the warnings of engines, which are about themselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def give_back_memory() -> None:
    """Returns to the system and to the GPU what a finished piece of work no longer needs: the C library keeps freed
    memory for itself, and so does torch, while the next stage or another process may be short of it."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # glibc's; others have none


def gpu_bytes(fraction: float) -> int:
    """So much of the GPU's memory; torch is held to it from now on. CTranslate2 knows no bound, so its callers derive
    how much they ask of it at once."""
    import torch

    torch.cuda.set_per_process_memory_fraction(fraction)
    return int(fraction * torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)


def device_name(kind: str) -> str:
    """`cpu`, or what the GPU is called, for `cpu` or `cuda`."""
    if kind == CPU:
        return kind
    import torch

    return str(torch.cuda.get_device_name())


def usable_cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
