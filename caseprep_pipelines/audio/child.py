"""The child process that reads hostile bytes: sets its own limits, does one task, reports in JSON lines, ends.

Started by `sandbox` as `python -m caseprep_pipelines.audio.child`; the request comes as one JSON line on standard
input, which stays open as long as the parent lives. Nothing is written but the FLAC files, and no name is reported.
"""

import contextlib
import ctypes
import json
import math
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Processor seconds that every task may use, however short the recording.
MIN_CPU_SECONDS = 120

_PR_SET_PDEATHSIG = 1


def main() -> None:
    request = json.loads(sys.stdin.readline())
    _end_with_parent(request["parent"])
    answer = _answer(request)
    _say(answer)
    # destructors of a damaged file's decoders have nothing left to contribute, and may crash
    os._exit(0)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    from caseprep_pipelines.audio.media import UnfitError, describe, open_media

    try:
        import av

        if request["task"] == "decode":
            # everything is loaded before memory is limited, so that the limit is the file's alone
            import soundfile  # noqa: F401

            from caseprep_pipelines.audio.decode import decode
        av.logging.set_level(None)
        _limit(request["memory_bytes"])
        container = open_media(request["descriptor"])
        description = describe(container, request["descriptor"], request["max_seconds"])
        if request["task"] == "probe":
            return {"done": description}
        progress = _progress(request["speed_floor"])
        return {"done": decode(container, Path(request["folder"]), request["max_seconds"], progress)}
    except UnfitError as error:
        return {"unfit": [error.reason, error.detail]}
    except MemoryError:
        return {"unfit": ["too-costly-to-decode", f"more than {request['memory_bytes']} bytes of memory"]}
    except Exception as error:  # whatever it is, the parent must hear of it; its message may hold names
        return {"fault": _describe_fault(error)}


def _describe_fault(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    if type(error).__name__ == "LibsndfileError":
        return "the audio could not be written; is the disk full?"
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(place.filename).name}, line {place.lineno}"


def _progress(speed_floor: float) -> Callable[[float], None]:
    """Reports at most four times a second, and grants processor time for the audio done."""
    last = 0.0

    def report(seconds: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= 0.25:
            last = now
            _limit_cpu(max(MIN_CPU_SECONDS, seconds / speed_floor))
            _say({"progress": seconds})

    return report


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _limit(memory_bytes: int) -> None:
    _limit_cpu(MIN_CPU_SECONDS)
    # a core file would hold the recording
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        loaded = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit = loaded + memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _limit_cpu(seconds: float) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = math.ceil(seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _end_with_parent(parent: int) -> None:
    """Standard input ends with the parent everywhere; on Linux the kernel also ends us while C code holds the GIL."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
