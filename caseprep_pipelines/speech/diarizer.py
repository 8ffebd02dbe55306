"""What every diarizer of a stretch of audio must do: the seam behind which pyannote.audio stands. No engine here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from caseprep_pipelines.audio.reading import Samples
from caseprep_pipelines.models.identity import ModelIdentity
from caseprep_pipelines.speech.transcriber import Progress, no_progress


@dataclass(frozen=True)
class DiarizeOptions:
    """What a matter or an operator asks for. Bounds steer and do not force: who never speaks is not found."""

    min_speakers: int | None = None
    max_speakers: int | None = None
    window_seconds: float = 1800.0
    """Longest stretch that is diarized at once; clustering takes 8·N² bytes for N voices in chunks, which are some
    1.5 a second."""


@dataclass(frozen=True)
class WindowTurn:
    """A turn in a window: seconds from the window's start, `speaker` a row of its centroids."""

    speaker: int
    start: float
    end: float
    confidence: float | None


@dataclass(frozen=True)
class WindowTurns:
    """Who spoke when in one window, in order of time."""

    turns: tuple[WindowTurn, ...]
    exclusive: tuple[WindowTurn, ...]
    centroids: NDArray[np.float64]
    """Shape `(speakers, dimension)`; cosine distance tells voices apart."""


SAVE_SECONDS = 30.0
"""How often what the networks said of an unfinished window is put away."""


class Savings(Protocol):
    """Where what the networks said of one window's chunks is kept until the product is there, by network."""

    def load(self, kind: str) -> Mapping[int, NDArray[np.float32]]: ...

    def save(self, kind: str, said: Mapping[int, NDArray[np.float32]]) -> None:
        """Adds to what is kept."""
        ...


class Diarizer(Protocol):
    """A loaded speaker model."""

    @property
    def identity(self) -> ModelIdentity: ...

    @property
    def device(self) -> str:
        """`cpu`, or what the GPU is called."""
        ...

    def libraries(self) -> dict[str, str]:
        """Name and version of everything that shapes the turns."""
        ...

    def hear(
        self,
        samples: Samples,
        options: DiarizeOptions,
        progress: Progress = no_progress,
        savings: Savings | None = None,
    ) -> Callable[[], WindowTurns]:
        """What needs the device, for one stretch of 16 kHz mono audio, all in memory. Raises `Fault` where that failed.

        What it returns needs no device, can be pickled, and tells the turns; it may raise `Fault` as well. `progress`
        gets seconds of the stretch. Of `options` only the number of speakers counts here.
        """
        ...

    def speech(self, samples: Samples) -> list[tuple[float, float]]:
        """Where anybody at all is heard in 16 kHz mono audio: starts and ends in seconds, in order, apart from each
        other. A second witness beside the detector of speech, and far cheaper than telling speakers apart. Raises
        `Fault` where that failed.
        """
        ...


LoadDiarizer = Callable[[], Diarizer]
"""Loads when it is called: a recording whose channels are its speakers needs no model."""
