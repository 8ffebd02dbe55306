"""Taking up uploads where somebody told that there are some: a bucket's notifications, or a directory's own.

Neither look lists the whole of `incoming/`. Both only say where to look, so either may tell too much, twice or too
late. A queue keeps what nobody fetched; a directory tells nothing to who was not listening, so everything in it is
looked at when listening begins, and every hour: other machines' writes to a network share are not told either.
"""

import logging
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from caseprep_pipelines.automation.announcements import Announcement, read_announcement
from caseprep_pipelines.automation.intake import SECONDS, Intake, incoming, take
from caseprep_pipelines.errors import Fault
from caseprep_pipelines.storage.objects import MissingObject

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent
    from watchdog.observers.api import BaseObserver

    from caseprep_pipelines.resources.pipeline import Pipeline
    from caseprep_pipelines.storage.objects import ObjectStat
    from caseprep_pipelines.storage.queue import Message, Queue

#: How often a directory is looked at as a whole although nothing was told.
LOOK_AT_ALL = timedelta(hours=1)

#: Objects that are looked up at once; botocore's pool holds ten connections.
_THREADS = 10

_log = logging.getLogger(__name__)


# --- a bucket, whose notifications wait in a queue


def take_announced(pipeline: "Pipeline", queue: "Queue", now: datetime, seconds: float = SECONDS) -> Intake:
    """Registers what a queue's messages announce; a message is deleted only when nothing of it waits any more.

    One that is left comes again after the queue's own time, or goes to its dead-letter queue in the end.
    """
    from caseprep_pipelines.storage.s3 import split_uri

    deadline = time.monotonic() + seconds
    bucket, prefix, _ = split_uri(pipeline.settings.storage)
    prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    read: dict[str, tuple[Message, Announcement]] = {}
    names: set[str] = set()
    while len(names) < pipeline.settings.sensor_max_new and time.monotonic() < deadline:
        messages = queue.receive()
        if all(message.id in read for message in messages):
            break  # none, or only such as are left in the queue and came again already
        for message in messages:
            said = read_announcement(message.body, bucket, prefix, incoming(pipeline))
            read[message.id] = message, said
            names |= said.names
    found, unseen = _look_up(pipeline, sorted(names))
    intake = take(pipeline, found, now, max(0.0, deadline - time.monotonic()), looked_up=True)
    waiting = intake.waiting | unseen
    queue.delete([message for message, said in read.values() if not said.foreign and not said.names & waiting])
    return replace(
        intake,
        left=intake.left + len(unseen),
        waiting=waiting,
        foreign=sum(said.foreign for _, said in read.values()),
    )


def _look_up(pipeline: "Pipeline", names: list[str]) -> "tuple[list[ObjectStat], frozenset[str]]":
    """What lies at the names now, and the names of which that could not be told; what is gone is neither."""
    objects = pipeline.objects

    def look(name: str) -> "ObjectStat | Fault | None":
        try:
            return objects.stat(name)
        except MissingObject:
            return None
        except Fault as fault:
            return fault

    with ThreadPoolExecutor(_THREADS) as threads:
        looks = dict(zip(names, threads.map(look, names), strict=True))
    faulty = frozenset(name for name, look in looks.items() if isinstance(look, Fault))
    return [look for look in looks.values() if look is not None and not isinstance(look, Fault)], faulty


# --- a directory, whose changes the system tells to those who listen


def take_changed(pipeline: "Pipeline", watch: "Watch", now: datetime, seconds: float = SECONDS) -> Intake:
    """Registers what changed in the watched directory; what waits is looked at again, told or not."""
    with watch.taking(now) as names:
        if names is None:
            found: Iterable[ObjectStat] = pipeline.objects.list(incoming(pipeline))
        else:
            found = _lying_at(pipeline, watch, names)
        intake = take(pipeline, found, now, seconds)
    watch.look_again(intake.waiting)
    return intake


def _lying_at(pipeline: "Pipeline", watch: "Watch", names: Iterable[str]) -> "Iterator[ObjectStat]":
    """The files at names that may be files or folders, or gone; links are not followed, as in listings."""
    for name in sorted(names):
        path = watch.path(name)
        if path.is_symlink():
            continue
        if path.is_dir():
            yield from pipeline.objects.list(f"{name}/")
        else:
            with suppress(MissingObject):
                yield pipeline.objects.stat(name)


class Watch:
    """Listens, from the first question on, to what changes under `prefix` of the store in a directory."""

    def __init__(self, root: Path, prefix: str) -> None:
        self.prefix = prefix
        # as the system tells it: it resolves links
        self.folder = Path(os.path.realpath(root.expanduser() / prefix))
        self._names: set[str] = set()
        self._lock = Lock()
        self._observer: BaseObserver | None = None
        self._inode = 0
        self._looked_at_all: datetime | None = None

    @contextmanager
    def taking(self, now: datetime) -> Iterator[set[str] | None]:
        """Names of files and folders to look at, or None for all there is; an exception puts them back."""
        listening = self._listening()
        last = self._looked_at_all
        everything = not listening or last is None or now - last >= LOOK_AT_ALL
        with self._lock:
            names, self._names = self._names, set()
        try:
            yield None if everything else names
        except BaseException:
            self.look_again(names)
            raise
        if everything:
            self._looked_at_all = now

    def path(self, name: str) -> Path:
        """Where an object of the store lies."""
        return self.folder / name.removeprefix(self.prefix)

    def look_again(self, names: Iterable[str]) -> None:
        with self._lock:
            self._names |= set(names)

    def close(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer = None

    def _listening(self) -> bool:
        """Whether the system tells us what changes; begins to listen where it can, before the look at everything."""
        try:
            inode = self.folder.stat().st_ino
            # a folder that takes another one's place says nothing to those who listened to the old one
            if self._observer is not None and inode == self._inode and _alive(self._observer):
                return True
            self.close()
            self._looked_at_all = None
            self._observer, self._inode = self._begin(), inode
        except OSError as error:
            # no such folder yet, or the system's watches are used up: until it goes, every look is at everything
            _log.debug("Changes of the upload folder are not told: %s", error.strerror)
            return False
        return True

    def _begin(self) -> "BaseObserver":
        from watchdog import events
        from watchdog.observers import Observer

        class Handler(events.FileSystemEventHandler):
            def on_any_event(_self, event: "FileSystemEvent") -> None:  # noqa: N805
                self._tell(os.fsdecode(event.src_path), os.fsdecode(event.dest_path))

        # reading a file is told too, unless one says what one wants to hear
        wanted: list[type[FileSystemEvent]] = [
            events.FileCreatedEvent, events.FileModifiedEvent, events.FileMovedEvent, events.FileClosedEvent,
            events.DirCreatedEvent, events.DirMovedEvent,
        ]  # fmt: skip
        observer = Observer()
        observer.schedule(Handler(), str(self.folder), recursive=True, event_filter=wanted)
        observer.start()
        return observer

    def _tell(self, *paths: str) -> None:
        inside = [Path(path).relative_to(self.folder) for path in paths if Path(path).is_relative_to(self.folder)]
        # the folder itself changes with everything in it; hidden files are nobody's recordings
        self.look_again(
            f"{self.prefix}{path.as_posix()}"
            for path in inside
            if path.parts and not any(part.startswith(".") for part in path.parts)
        )


def _alive(observer: "BaseObserver") -> bool:
    return observer.is_alive() and all(emitter.is_alive() for emitter in observer.emitters)
