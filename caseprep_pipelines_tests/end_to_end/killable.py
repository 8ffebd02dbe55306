"""A command that is killed at a moment that is told: the n-th time that it is about to write, or a little later.

`python -m caseprep_pipelines_tests.end_to_end.killable` imports everything once and then runs, in a fork for each line
of its input, the command with the arguments that the line names. Moments are counted in writes (files under the
storage root, statements and commits of either database), so that they fall everywhere in the work on any machine.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

#: Longest time in seconds between a write and the kill after it.
LATEST = 0.15


@dataclass(frozen=True)
class Ended:
    status: int
    """As `subprocess` gives it: negative where a signal ended it."""
    writes: int
    """How many there were, where it came to its end."""
    said: str


class Worker:
    def __init__(self, process: "subprocess.Popen[str]", folder: Path) -> None:
        self._process = process
        self._folder = folder

    def run(self, arguments: Sequence[str | Path], own: dict[str, str], die_at: int = 0, seed: int = 0) -> Ended:
        """The command, killed at its `die_at`-th write (0 is never) or as much later as `seed` says."""
        said = self._folder / "said"
        wanted = {"arguments": [str(each) for each in arguments], "environment": own, "die_at": die_at, "seed": seed}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({**wanted, "said": str(said)}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the worker's process is gone"
        ended = json.loads(answer)
        return Ended(ended["status"], ended["writes"], said.read_text())


@contextmanager
def killable_worker(folder: Path, environment: dict[str, str]) -> Iterator[Worker]:
    folder.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(
        [sys.executable, "-m", __name__],
        start_new_session=True,
        env={**environment, "OPENBLAS_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Worker(process, folder)
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def main() -> None:
    import dagster._core.storage.legacy_storage
    import dagster._core.storage.sqlite_storage  # noqa: F401
    import faster_whisper  # noqa: F401

    import caseprep_pipelines.cli
    import caseprep_pipelines.definitions
    import caseprep_pipelines.transcribing  # noqa: F401
    from caseprep_pipelines.resources.pipeline import Pipeline
    from caseprep_pipelines.settings import read_settings
    from caseprep_pipelines.speech import diarizer, transcription

    # imports pyannote, which takes longest; no transcriber, whose threads a fork would not have
    _ = Pipeline(read_settings()).diarizer
    # what is done is put away after every batch, so that kills fall before and after parts of the work too
    diarizer.SAVE_SECONDS = transcription.SAVE_SECONDS = 0.0
    for line in sys.stdin:
        wanted = json.loads(line)
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            _child(wanted, os.fdopen(writing, "w"))
        os.close(writing)
        with os.fdopen(reading) as counted:
            writes = int(counted.read() or 0)
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(json.dumps({"status": os.waitstatus_to_exitcode(status), "writes": writes}) + "\n")
        sys.stdout.flush()


def _child(wanted: dict[str, Any], counted: "IO[str]") -> None:
    said = os.open(wanted["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.environ.update(wanted["environment"])
    writes = _counted_writes(wanted["environment"]["CASEPREP_STORAGE"], wanted["die_at"], wanted["seed"])
    sys.argv = ["caseprep", *wanted["arguments"]]
    from caseprep_pipelines.cli import main as command

    status = 0
    try:
        command()
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        sys.stdout.flush()
        counted.write(str(writes[0]))
        counted.close()
        os._exit(status)


def _counted_writes(storage: str, die_at: int, seed: int) -> list[int]:
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    late = random.Random(seed).choice([0.0, random.Random(seed + 1).uniform(0, LATEST)])
    writes = [0]

    def die() -> None:
        time.sleep(late)
        os.kill(os.getpid(), signal.SIGKILL)

    def wrote(*_: object) -> None:
        writes[0] += 1
        if writes[0] == die_at:
            if late:
                threading.Thread(target=die, daemon=True).start()
            else:
                die()

    def audit(name: str, details: tuple[Any, ...]) -> None:
        opened = name == "open" and isinstance(details[2], int) and details[2] & (os.O_WRONLY | os.O_RDWR)
        if not opened and name not in ("os.rename", "os.link", "os.remove", "os.mkdir"):
            return
        path = details[0]
        if isinstance(path, (str, Path)) and str(path).startswith(storage):
            wrote()

    def statement(_connection: object, _cursor: object, text: str, *_: object) -> None:
        if text.lstrip()[:6].upper() in ("INSERT", "UPDATE", "DELETE"):
            wrote()

    sys.addaudithook(audit)
    event.listen(Engine, "before_cursor_execute", statement)
    event.listen(Engine, "commit", wrote)
    return writes


if __name__ == "__main__":
    main()
