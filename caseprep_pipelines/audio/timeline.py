"""The rule that keeps second t of the FLAC at second t of the player: what a frame's timestamp asks for.

Pure arithmetic over seconds; nothing here knows of codecs or samples.

Players start counting at the container's earliest timestamp, so that is second 0. From there the samples themselves
are the clock, as long as the timestamps agree with them to `TOLERANCE`: recorders' timestamps jitter, and cutting or
padding speech at each jitter would harm it more than an offset nobody can hear. Beyond the tolerance, time that the
timestamps skip becomes silence, and audio that is already there is left out.
"""

from dataclasses import dataclass

#: Seconds that timestamps and samples may disagree before anything is done: two packets of telephone speech.
TOLERANCE = 0.040

#: Timestamps are whole microseconds or milliseconds; differences below that are not meant.
_ROUNDING = 0.0005

#: Timestamps that step back further than this, in seconds, are a clock that started again, not audio sent twice.
MAX_OVERLAP = 1.0


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

    def _restart_clock(self, ahead: float) -> None:
        self._shift -= ahead
        self.clock_resets += 1
