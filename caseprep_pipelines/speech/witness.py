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

SHORTEST_SECONDS = 0.75
"""Shorter stretches between speech are pauses."""
CONTEXT_SECONDS = 5.0
"""Of what is around a stretch so much is listened to as well: the network hears by context."""
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
        heard = []
        for stretch in stretches:
            if stretch.end - stretch.start < SHORTEST_SECONDS:
                continue
            at = stretch.start
            while at < stretch.end:
                until = min(at + LONGEST_SECONDS, stretch.end)
                first = max(0.0, at - CONTEXT_SECONDS)
                samples = read_span(channel, first, min(seconds, until + CONTEXT_SECONDS))
                # digital silence says nothing, and archives are full of it
                if samples.any():
                    with _one_at_a_time:
                        spans = load().speech(samples)
                    heard += [
                        Span(start=round(max(first + start, at), 3), end=round(min(first + end, until), 3))
                        for start, end in spans
                        if min(first + end, until) - max(first + start, at) >= 0.001
                    ]
                at = until
        return tuple(heard)

    return listen
