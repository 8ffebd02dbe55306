"""The processes that read hostile bytes. `main` is a server that has everything loaded and forks a child for each task;
the child sets its own limits, does the task, reports in JSON lines, ends.

Loading takes longer than decoding a short call, so it is done once and not for each recording; and what a file does to
its child dies with the child. Started by `sandbox` as `python -m caseprep_pipelines.audio.child` with a socket as
standard input. A request is one JSON line there, with two descriptors: the socket on which the child talks, which stays
open as long as the asker lives, and the recording. When the child has ended, the server says how: one JSON line with
its wait status and processor seconds. Nothing is written but the FLAC files, and no name is reported.
"""

import contextlib
import ctypes
import json
import math
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Processor seconds that every task may use, however short the recording.
MIN_CPU_SECONDS = 120

#: A slow machine searches a file as fast as that.
_SEARCHED_BYTES_A_SECOND = 10**8

_PR_SET_PDEATHSIG = 1


def main() -> None:
    _load()
    server = socket.socket(fileno=os.dup(0))
    pid = os.getpid()
    ended, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    while True:
        line = b""
        descriptors: list[int] = []
        while not line.endswith(b"\n"):
            received, more, _, _ = socket.recv_fds(server, 1 << 16, 2)
            if not received:
                return
            line, descriptors = line + received, descriptors + more
        talk, recording = descriptors
        child = os.fork()
        if child == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for descriptor in (0, server.fileno(), ended, wake):
                os.close(descriptor)
            _work(json.loads(line), pid, talk, recording)
        os.close(talk)
        os.close(recording)
        ready, _, _ = select.select([server.fileno(), ended], [], [])
        if ended not in ready:
            # nothing is asked while a child works, so this is the asker's end
            os.kill(child, signal.SIGKILL)
        _, status, used = os.wait4(child, 0)
        os.read(ended, 1 << 10)
        server.sendall(json.dumps({"status": status, "cpu_seconds": used.ru_utime + used.ru_stime}).encode() + b"\n")


def _load() -> None:
    import av

    # what PyAV imports when a first container is opened must be there before memory is limited
    import av.audio.codeccontext
    import av.audio.stream
    import av.subtitles.codeccontext
    import av.subtitles.stream
    import av.video.codeccontext
    import av.video.stream
    import soundfile  # noqa: F401

    from caseprep_pipelines.audio import decode, media  # noqa: F401

    av.logging.set_level(None)


def _work(request: dict[str, Any], server: int, talk: int, recording: int) -> None:
    """In the child; does not return."""
    try:
        _end_with_parent(server, talk)
        say = _speaker(talk)
        say(_answer(request, recording, say))
    finally:
        # destructors of a damaged file's decoders have nothing left to contribute, and may crash
        os._exit(0)


def _answer(request: dict[str, Any], recording: int, say: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    from caseprep_pipelines.audio.decode import decode
    from caseprep_pipelines.audio.media import UnfitError, probe
    from caseprep_pipelines.audio.pieces import pieces
    from caseprep_pipelines.audio.views import View

    try:
        view = View(recording)
        # looking for what the file is made of reads it whole
        _limit(request["memory_bytes"], MIN_CPU_SECONDS + view.size / _SEARCHED_BYTES_A_SECOND)
        found = pieces(view)
        description = probe(found, request["max_seconds"], accept_truncated=request["accept_truncated"])
        if request["task"] == "probe":
            return {"done": description}
        progress = _progress(request["speed_floor"], say)
        return {
            "done": decode(
                found,
                Path(request["folder"]),
                request["max_seconds"],
                progress,
                accept_truncated=request["accept_truncated"],
            )
        }
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


def _progress(speed_floor: float, say: Callable[[dict[str, Any]], None]) -> Callable[[float], None]:
    """Reports at most four times a second, and grants processor time for the audio done, besides what it found."""
    last = 0.0
    granted, _ = resource.getrlimit(resource.RLIMIT_CPU)

    def report(seconds: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= 0.25:
            last = now
            _limit_cpu(max(granted, seconds / speed_floor))
            say({"progress": seconds})

    return report


def _speaker(talk: int) -> Callable[[dict[str, Any]], None]:
    asker = socket.socket(fileno=os.dup(talk))
    return lambda message: asker.sendall(json.dumps(message).encode() + b"\n")


def _limit(memory_bytes: int, cpu_seconds: float) -> None:
    _limit_cpu(cpu_seconds)
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


def _end_with_parent(parent: int, talk: int) -> None:
    """The socket ends with the asker everywhere; on Linux the kernel also ends us while C code holds the GIL."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    def watch() -> None:
        while os.read(talk, 4096):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
