"""The rule that keeps second t of the FLAC at second t of the player: what a frame's timestamp asks for.

Pure arithmetic over seconds; nothing here knows of codecs or samples.

Players start counting at the container's earliest timestamp, so that is second 0. From there the samples themselves
are the clock, as long as the timestamps agree with them to `TOLERANCE`: recorders' timestamps jitter, and cutting or
padding speech at each jitter would harm it more than an offset nobody can hear. Beyond the tolerance, time that the
timestamps skip becomes silence, and audio that is already there is left out. But one stamp can be wild: frames that do
not fit wait until those behind them say whether the clock has changed.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

#: Seconds that timestamps and samples may disagree before anything is done: two packets of telephone speech.
TOLERANCE = 0.040

#: Timestamps are whole microseconds or milliseconds; differences below that are not meant.
_ROUNDING = 0.0005

#: Timestamps that step back further than this, in seconds, are a clock that started again, not audio sent twice.
MAX_OVERLAP = 1.0

#: Seconds of audio that have to agree on another clock before it is believed, more than one packet of any recorder
#: holds; and frames, so that tiny ones cost no hours.
CONFIRMED = 2.0
_MOST_WAITING = 500

T = TypeVar("T")


@dataclass(frozen=True)
class Placement:
    """What to do before a frame: add silence, or leave out the frame's beginning. Both in seconds, one of them 0."""

    silence: float = 0.0
    trim: float = 0.0


class Timeline:
    """Where the next sample of one stream goes. `horizon`: seconds beyond which a timestamp cannot be meant."""

    def __init__(self, horizon: float) -> None:
        self.position = 0.0
        """Seconds delivered so far, silence included."""
        self.gaps: list[tuple[float, float]] = []
        self.trimmed = 0.0
        self.clock_resets = 0
        self.stamped = (0.0, 0.0)
        """Where the stamps have led at the most, and where the last one does; wild ones too."""
        self._horizon = horizon
        self._shift = 0.0
        self._started = False

    def place(self, time: float | None, duration: float) -> Placement:
        """Decides for a frame of `duration` seconds stamped `time` (None: no stamp) and moves `position` past it."""
        ahead = 0.0 if time is None else time + self._shift - self.position
        # Before the first sample there is no jitter to forgive: a stream that starts late starts exactly that late.
        tolerance = TOLERANCE if self._started else _ROUNDING
        backwards_limit = MAX_OVERLAP if self._started else float("inf")
        placement = Placement()
        if ahead > tolerance:
            if self.position + ahead > self._horizon:
                self._restart_clock(ahead)
            else:
                placement = Placement(silence=ahead)
                if ahead > TOLERANCE:
                    self.gaps.append((self.position, self.position + ahead))
        elif ahead < -tolerance:
            if -ahead > backwards_limit:
                self._restart_clock(ahead)
            else:
                placement = Placement(trim=min(-ahead, duration))
                self.trimmed += placement.trim
        self._started = True
        self.position += placement.silence + duration - placement.trim
        return placement

    def fits(self, time: float | None, ahead: float = 0.0) -> bool:
        """Whether a frame stamped `time` goes on where the samples are, after `ahead` seconds more of them."""
        return time is None or abs(time + self._shift - self.position - ahead) <= TOLERANCE

    def lose(self, duration: float) -> None:
        """Audio that could not be decoded: silence for its length."""
        if duration > 0:
            self.gaps.append((self.position, self.position + duration))
            self.position += duration

    def merged_gaps(self) -> list[tuple[float, float]]:
        """The gaps in order, those that touch as one."""
        merged: list[tuple[float, float]] = []
        for start, end in self.gaps:
            if merged and start - merged[-1][1] < _ROUNDING:
                merged[-1] = (merged[-1][0], round(end, 6))
            else:
                merged.append((round(start, 6), round(end, 6)))
        return merged

    @property
    def started(self) -> bool:
        """Whether a frame was placed."""
        return self._started

    def _restart_clock(self, ahead: float) -> None:
        self._shift -= ahead
        self.clock_resets += 1


class Patience(Generic[T]):
    """Gives out frames with the stamps that are to be believed, in order, as soon as that is known.

    Whoever takes a frame must `place` it on the timeline before asking for the next one.
    """

    def __init__(self, timeline: Timeline) -> None:
        self.wild = 0
        """Times that stamps leapt and came back at once."""
        self._timeline = timeline
        self._waiting: deque[tuple[T, float | None, float]] = deque()

    def take(self, item: T, time: float | None, duration: float) -> Iterator[tuple[T, float | None, float]]:
        """Adds a frame of `duration` seconds; gives what can be placed now, each with its stamp and duration."""
        if time is not None:
            end = time + duration
            self._timeline.stamped = max(self._timeline.stamped[0], end), end
        self._waiting.append((item, time, duration))
        yield from self._decided(last=False)

    def end(self) -> Iterator[tuple[T, float | None, float]]:
        """The rest, when no more frames come."""
        yield from self._decided(last=True)

    def _decided(self, *, last: bool) -> Iterator[tuple[T, float | None, float]]:
        while self._waiting:
            if self._timeline.fits(self._waiting[0][1]):
                yield self._waiting.popleft()
                continue
            back = self._comes_back()
            if back:
                self.wild += 1
                for _ in range(back):
                    item, _time, duration = self._waiting.popleft()
                    yield item, None, duration
                continue
            held = sum(duration for _, _, duration in self._waiting)
            certain = len(self._waiting) > 1 and (held >= CONFIRMED or len(self._waiting) >= _MOST_WAITING)
            if not last and not certain:
                return
            item, time, duration = self._waiting.popleft()
            if last and not self._waiting and self._timeline.started:
                # nothing behind it speaks for its stamp
                self.wild += 1
                time = None
            yield item, time, duration
            # the clock that was believed holds for the rest
            while self._waiting and self._timeline.fits(self._waiting[0][1]):
                yield self._waiting.popleft()

    def _comes_back(self) -> int:
        """How many frames are in front of the first one that fits again when they are laid end to end; 0: none does."""
        ahead = 0.0
        for number, (_, time, duration) in enumerate(self._waiting):
            if number and time is not None and self._timeline.fits(time, ahead):
                return number
            ahead += duration
        return 0
