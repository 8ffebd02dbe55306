"""Reading the normalized FLAC files back, whole, by stretch or in blocks; what is made of the samples stands elsewhere.

Samples are float32 in [-1, 1], one dimension, 16 kHz.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000

Samples = NDArray[np.float32]


def read_flac(path: Path) -> Samples:
    """All samples of one channel, shape `(samples,)`: 230 MB for each hour."""
    return read_span(path, 0.0, None)


def read_span(path: Path, start: float, end: float | None) -> Samples:
    """The samples from `start` to `end` seconds (None: to the end), cut to what the file holds."""
    import soundfile

    with soundfile.SoundFile(path) as file:
        first = min(max(0, round(start * SAMPLE_RATE)), file.frames)
        last = file.frames if end is None else min(round(end * SAMPLE_RATE), file.frames)
        file.seek(first)
        samples: Samples = file.read(max(0, last - first), dtype="float32")
    return samples


def blocks(path: Path, seconds: float = 30.0) -> Iterator[Samples]:
    """The file from its start in consecutive pieces of `seconds`, the last one shorter; memory stays at one piece."""
    import soundfile

    with soundfile.SoundFile(path) as file:
        yield from file.blocks(blocksize=round(seconds * SAMPLE_RATE), dtype="float32")
