"""The second detector of speech: the speaker segmentation, asked where the first one heard nobody.

Silero misses people who speak far from the microphone. The network that tells speakers apart was trained on meetings
and hears them. It takes longer, so it listens to the rest of the recording only. What becomes of what it hears belongs
in `listening`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock

from caseprep_pipelines.audio.reading import read_span
from caseprep_pipelines.speech.diarizer import LoadDiarizer
from caseprep_pipelines.speech.documents import Span

SHORTEST_SECONDS = 1.0
"""Shorter stretches between speech are pauses."""
CONTEXT_SECONDS = 2.5
"""Of what is around a stretch so much is listened to as well: the network hears by context. Stretches whose
surroundings touch are listened to at once: a chunk of the network's is ten seconds, however short the pause."""
FRINGE_SECONDS = 0.5
"""Less at the edge of a stretch is where the two detectors differ about when somebody stopped speaking; it would only
move the edges of clips."""
LONGEST_SECONDS = 300.0
"""Longer stretches are listened to in parts."""

Witness = Callable[[Path, Sequence[Span], float], tuple[Span, ...]]
"""Given a channel, the stretches of it where the first detector heard nobody, in order, and its length in seconds:
where in them somebody speaks."""

_one_at_a_time = Lock()


def second_witness(load: LoadDiarizer) -> Witness:
    """The segmentation of a diarizer, which is loaded when there is something to listen to. Raises `Fault` and
    `ConfigurationError` as the diarizer does."""

    def listen(channel: Path, stretches: Sequence[Span], seconds: float) -> tuple[Span, ...]:
        long = [stretch for stretch in stretches if stretch.end - stretch.start >= SHORTEST_SECONDS]
        heard: list[tuple[float, float]] = []
        for start, end in _regions(long, seconds):
            samples = read_span(channel, start, end)
            # digital silence says nothing, and archives are full of it
            if samples.any():
                with _one_at_a_time:
                    spans = load().speech(samples)
                heard += [(start + first, start + last) for first, last in spans]
        return tuple(
            Span(start=round(max(first, stretch.start), 3), end=round(min(last, stretch.end), 3))
            for stretch in long
            for first, last in heard
            if min(last, stretch.end) - max(first, stretch.start) >= FRINGE_SECONDS
        )

    return listen


def _regions(stretches: Sequence[Span], seconds: float) -> list[tuple[float, float]]:
    """The stretches with what is around them, where these touch as one, in parts of at most `LONGEST_SECONDS`."""
    regions: list[tuple[float, float]] = []
    for stretch in stretches:
        start, end = max(0.0, stretch.start - CONTEXT_SECONDS), min(seconds, stretch.end + CONTEXT_SECONDS)
        if regions and start <= regions[-1][1]:
            start = regions.pop()[0]
        while end - start > LONGEST_SECONDS:
            regions.append((start, start + LONGEST_SECONDS))
            start += LONGEST_SECONDS
        regions.append((start, end))
    return regions
