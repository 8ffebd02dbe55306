"""What must hold before any engine is imported: nothing is reported to its makers and no hub is asked for anything.

The engines read these variables when they are imported, so every function that imports one calls `keep_private` first.
"""

import os


def keep_private() -> None:
    """Switches telemetry and hub access off for this process."""
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["DO_NOT_TRACK"] = "1"


def device_name(kind: str) -> str:
    """`cpu`, or what the GPU is called, for `cpu` or `cuda`."""
    if kind == "cpu":
        return kind
    import torch

    return str(torch.cuda.get_device_name())


def usable_cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
