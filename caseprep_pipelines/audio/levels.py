"""What is measured on a channel while it is written, and which channels repeat another. Samples are 16 kHz float32.

Loudness is FFmpeg's `ebur128` (ITU-R BS.1770-4, gated); the rest is arithmetic over the samples. Clipping is counted
by the decoder, which alone sees the samples before they are resampled. Runs in the child process.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from caseprep_pipelines.audio.reading import Samples

SAMPLE_RATE = 16_000

#: Samples in a frame of the silence measure: 100 ms.
FRAME = 1_600

#: A frame is silent below -60 dBFS RMS; the number is the mean square.
SILENT = 10 ** (-60 / 10)

#: What `ebur128` says where its gate passed nothing: its absolute threshold.
_GATED = -70.0


class Levels:
    """Measures one channel, block by block. Every block but the last must be a multiple of 100 ms."""

    def __init__(self) -> None:
        import av

        self.samples = 0
        self._metered = 0
        self._sounded = False
        self._peak = 0.0
        self._energy = 0.0
        self._frames = 0
        self._silent_frames = 0
        self._integrated = _GATED
        self._graph = av.filter.Graph()
        source = self._graph.add_abuffer(sample_rate=SAMPLE_RATE, format="flt", layout="mono")
        meter = self._graph.add("ebur128", "metadata=1")
        self._sink = self._graph.add("abuffersink")
        self._graph.link_nodes(source, meter, self._sink).configure()
        self._source = source

    def add(self, block: "Samples") -> None:
        sounds = bool(block.any())
        # the meter's gate passes no silence, on which its filters, ringing ever more faintly, spend most of their time
        if sounds or self._sounded:
            self._meter(block)
        self._sounded = sounds
        self.samples += len(block)
        self._peak = max(self._peak, float(block.max()), -float(block.min()))
        whole = len(block) // FRAME * FRAME
        frames = block[:whole].reshape(-1, FRAME)
        energies = np.einsum("ij,ij->i", frames, frames, dtype=np.float64)
        rest = block[whole:].astype(np.float64)
        self._energy += float(energies.sum()) + float(rest @ rest)
        self._frames += len(energies)
        self._silent_frames += int(np.count_nonzero(energies < SILENT * FRAME))
        if len(rest):
            self._frames += 1
            self._silent_frames += bool(rest @ rest < SILENT * len(rest))

    def result(self) -> dict[str, float | None]:
        """The fields of `ChannelAudio` that this module knows, in dB rounded to hundredths."""
        return {
            "loudness_lufs": None if self._integrated <= _GATED else round(self._integrated, 2),
            "peak_dbfs": _decibels(self._peak, 20),
            "rms_dbfs": _decibels(self._energy / max(1, self.samples), 10),
            "silence_ratio": round(self._silent_frames / max(1, self._frames), 6),
        }

    def _meter(self, block: "Samples") -> None:
        import av

        frame = av.AudioFrame.from_ndarray(block[None, :], format="flt", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        frame.pts = self._metered
        self._metered += len(block)
        self._source.push(frame)
        last = None
        while True:
            try:
                last = self._sink.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                break
        if last is not None:
            self._integrated = float(last.metadata["lavfi.r128.I"])


#: Dual mono: in every second, what is left of a channel after subtracting the other (times one gain for the whole
#: recording) is 30 dB below the channel in that second, or below -70 dBFS, where a codec's noise lies.
RESIDUAL_RATIO = 10 ** (-30 / 10)
RESIDUAL_FLOOR = 10 ** (-70 / 10)


def duplicates(channels: Sequence[Path]) -> dict[int, int]:
    """Maps each channel that repeats an earlier one to the first that it repeats. Reads the files in step, in blocks.

    The rule above is held second by second, so that a whisper on one side only keeps the sides apart however alike
    the rest is. A channel without any sound repeats nothing. Channels that are shifted in time are not recognised.
    """
    from caseprep_pipelines.audio.reading import blocks

    pairs = {(a, b): _Pair() for b in range(len(channels)) for a in range(b)}
    readers = [blocks(path, seconds=10.0) for path in channels]
    for together in zip(*readers, strict=True):
        if not pairs:
            break
        seconds = [_by_second(block) for block in together]
        pairs = {(a, b): pair for (a, b), pair in pairs.items() if pair.add(seconds[a], seconds[b])}
    repeats: dict[int, int] = {}
    for (a, b), pair in sorted(pairs.items()):
        if b not in repeats and a not in repeats and pair.same():
            repeats[b] = a
    return repeats


class _Pair:
    """Energies of two channels and their product, one row for each second."""

    def __init__(self) -> None:
        self._rows: list[NDArray[np.float64]] = []

    def add(self, a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
        """False once no gain can make the two alike any more."""
        rows = np.stack([np.einsum("ij,ij->i", x, y, dtype=np.float64) for x, y in ((a, a), (b, b), (a, b))], axis=1)
        rows /= a.shape[1]
        # seconds in which both are below the floor say nothing, and unused microphones have thousands of them
        rows = rows[rows[:, :2].max(axis=1) > RESIDUAL_FLOOR]
        self._rows.append(rows)
        aa, bb, ab = rows.T
        least = bb - np.divide(ab**2, aa, out=np.zeros_like(ab), where=aa > 0)
        return bool(np.all(_negligible(least, bb)))

    def same(self) -> bool:
        aa, bb, ab = np.concatenate(self._rows).T
        if aa.sum() == 0 or bb.sum() == 0:
            return False
        gain = ab.sum() / aa.sum()
        residual = bb - 2 * gain * ab + gain**2 * aa
        return bool(np.all(_negligible(residual, bb)) and residual.sum() <= RESIDUAL_RATIO * bb.sum())


def _negligible(residual: NDArray[np.float64], energy: NDArray[np.float64]) -> NDArray[np.bool_]:
    return residual <= np.maximum(RESIDUAL_RATIO * energy, RESIDUAL_FLOOR)


def _by_second(block: "Samples") -> NDArray[np.float32]:
    missing = -len(block) % SAMPLE_RATE
    return np.pad(block, (0, missing)).reshape(-1, SAMPLE_RATE)


def _decibels(value: float, factor: int) -> float | None:
    return round(factor * math.log10(value), 2) if value > 0 else None
