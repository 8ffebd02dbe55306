"""Runs one task of `child` in a process of its own and turns its end, whatever it is, into a result or a verdict.

What the file did to its process (crash, memory, processor time) is the recording's fault; what the world did (a full
disk, a signal from outside, a standstill) is not.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from caseprep_pipelines.audio.limits import Limits
from caseprep_pipelines.errors import Fault
from caseprep_pipelines.rejections import Reason, RejectedRecording

#: Seconds without any word from the child after which it is ended: storage that does not answer.
STANDSTILL_SECONDS = 600.0

_CHILD = (sys.executable, "-m", "caseprep_pipelines.audio.child")

#: What the child needs of the environment; credentials are not for a process that parses strangers' files.
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV")

#: Ends that a file can bring about in the program that reads it.
_CRASHES = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP})


def run(
    task: str,
    original: Path,
    limits: Limits,
    *,
    folder: Path | None = None,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """The task's result. Raises `RejectedRecording` or `Fault`."""
    try:
        descriptor = os.open(original, os.O_RDONLY)
    except OSError as error:
        raise Fault(f"The recording cannot be read: {os.strerror(error.errno or 0)}.") from error
    try:
        request = {
            "task": task,
            "parent": os.getpid(),
            "descriptor": descriptor,
            "folder": str(folder),
            "max_seconds": limits.max_seconds,
            "memory_bytes": limits.decode_memory_bytes,
            "speed_floor": limits.decode_speed_floor,
        }
        child = subprocess.Popen(
            _CHILD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=(descriptor,),
            env=_environment(),
            start_new_session=True,
        )
    except OSError as error:
        raise Fault(f"No process could be started to read the recording: {os.strerror(error.errno or 0)}.") from error
    finally:
        os.close(descriptor)
    try:
        return _listen(child, request, progress)
    finally:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()


def _listen(
    child: "subprocess.Popen[bytes]", request: dict[str, Any], progress: Callable[[float], None] | None
) -> dict[str, Any]:
    assert child.stdin is not None  # noqa: S101 (both are pipes)
    assert child.stdout is not None  # noqa: S101
    try:
        child.stdin.write(json.dumps(request).encode() + b"\n")
        child.stdin.flush()
    except BrokenPipeError:
        return _verdict(child)
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(timeout=STANDSTILL_SECONDS):
                raise Fault(f"Reading the recording stood still for {STANDSTILL_SECONDS:.0f} s.")
            received = os.read(child.stdout.fileno(), 1 << 16)
            if not received:
                return _verdict(child)
            *lines, pending = (pending + received).split(b"\n")
            for line in lines:
                message = json.loads(line)
                if "done" in message:
                    result: dict[str, Any] = message["done"]
                    return result
                if "unfit" in message:
                    reason, detail = message["unfit"]
                    raise RejectedRecording(Reason(reason), detail)
                if "fault" in message:
                    raise Fault(f"The recording could not be worked on: {message['fault']}.")
                if progress is not None:
                    progress(message["progress"])


def _verdict(child: "subprocess.Popen[bytes]") -> dict[str, Any]:
    """The child ended without an answer."""
    code = child.wait()
    if code < 0:
        number = signal.Signals(-code)
        if number == signal.SIGXCPU:
            raise RejectedRecording(Reason.TOO_COSTLY_TO_DECODE, "more processor time than its length allows")
        if number in _CRASHES:
            raise RejectedRecording(Reason.CORRUPT, f"the decoder crashed ({number.name})")
        raise Fault(f"The process that reads the recording was ended from outside ({number.name}).")
    raise Fault(f"The process that reads the recording ended unexpectedly (exit code {code}).")


def _environment() -> dict[str, str]:
    package_root = Path(__file__).resolve().parents[2]
    return {
        **{name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        "PYTHONPATH": str(package_root),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
