"""Has `child` run one task in a process of its own and turns its end, whatever it is, into a result or a verdict.

What the file did to its process (crash, memory, processor time) is the recording's fault; what the world did (a full
disk, a signal from outside, a standstill) is not.
"""

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass
class _Server:
    process: "subprocess.Popen[bytes]"
    control: socket.socket

    def end(self) -> None:
        # its session is its own, so this reaches the child as well
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.control.close()


_idle: list[_Server] = []
_spent = threading.local()


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
    request = {
        "task": task,
        "folder": str(folder),
        "max_seconds": limits.max_seconds,
        "memory_bytes": limits.decode_memory_bytes,
        "speed_floor": limits.decode_speed_floor,
        "accept_truncated": limits.accept_truncated,
    }
    try:
        server = _take()
        talk, childs = socket.socketpair()
    except OSError as error:
        os.close(descriptor)
        raise Fault(f"No process could be started to read the recording: {os.strerror(error.errno or 0)}.") from error
    healthy = False
    try:
        with talk:
            line = json.dumps(request).encode() + b"\n"
            try:
                socket.send_fds(server.control, [line], [childs.fileno(), descriptor])
            except OSError:
                return _verdict(server)
            finally:
                childs.close()
                os.close(descriptor)
            answer = _listen(talk, progress)
        result = _verdict(server) if answer is None else _ended(server, answer)
        healthy = True
        return result
    except RejectedRecording:
        # a child that died of its file has left the server as it was
        healthy = server.process.poll() is None
        raise
    finally:
        if healthy:
            _idle.append(server)
        else:
            server.end()


def close_idle() -> None:
    """Ends the servers that wait for work: each holds some 50 MB, so none is kept when a run has no more to decode."""
    while _idle:
        _idle.pop().end()


atexit.register(close_idle)


def cpu_seconds() -> float:
    """Processor seconds of all children that worked for the calling thread so far."""
    return getattr(_spent, "seconds", 0.0)


def _take() -> _Server:
    """A server that waits, or a new one."""
    with contextlib.suppress(IndexError):
        while True:
            server = _idle.pop()
            if server.process.poll() is None:
                return server
            server.end()
    ours, servers = socket.socketpair()
    with servers:
        try:
            process = subprocess.Popen(
                _CHILD,
                stdin=servers.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
    return _Server(process, ours)


def _listen(talk: socket.socket, progress: Callable[[float], None] | None) -> dict[str, Any] | None:
    """The child's answer; None where it ended without one."""
    talk.settimeout(STANDSTILL_SECONDS)
    pending = b""
    while True:
        try:
            received = talk.recv(1 << 16)
        except TimeoutError:
            raise Fault(f"Reading the recording stood still for {STANDSTILL_SECONDS:.0f} s.") from None
        except OSError:
            received = b""
        if not received:
            return None
        *lines, pending = (pending + received).split(b"\n")
        for line in lines:
            message: dict[str, Any] = json.loads(line)
            if "progress" not in message:
                return message
            if progress is not None:
                progress(message["progress"])


def _ended(server: _Server, answer: dict[str, Any]) -> dict[str, Any]:
    """What the answer means, when the child is gone."""
    _status(server)
    if "done" in answer:
        result: dict[str, Any] = answer["done"]
        return result
    if "unfit" in answer:
        reason, detail = answer["unfit"]
        raise RejectedRecording(Reason(reason), detail)
    raise Fault(f"The recording could not be worked on: {answer['fault']}.")


def _verdict(server: _Server) -> dict[str, Any]:
    """The child ended without an answer."""
    code = _status(server)
    if code < 0:
        number = signal.Signals(-code)
        if number == signal.SIGXCPU:
            raise RejectedRecording(Reason.TOO_COSTLY_TO_DECODE, "more processor time than its length allows")
        if number in _CRASHES:
            raise RejectedRecording(Reason.CORRUPT, f"the decoder crashed ({number.name})")
        raise Fault(f"The process that reads the recording was ended from outside ({number.name}).")
    raise Fault(f"The process that reads the recording ended unexpectedly (exit code {code}).")


def _status(server: _Server) -> int:
    """The child's exit code, as `subprocess` counts; the server's own where that is what ended."""
    line = b""
    while not line.endswith(b"\n"):
        try:
            received = server.control.recv(1 << 10)
        except OSError:
            received = b""
        if not received:
            return server.process.wait()
        line += received
    said = json.loads(line)
    _spent.seconds = cpu_seconds() + said["cpu_seconds"]
    return os.waitstatus_to_exitcode(said["status"])


def _environment() -> dict[str, str]:
    package_root = Path(__file__).resolve().parents[2]
    return {
        **{name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        "PYTHONPATH": str(package_root),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
