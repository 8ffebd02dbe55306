"""stub"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def peaks(flac: Path, columns: int = 1200) -> NDArray[np.float32]:
    raise NotImplementedError


def draw(
    path_png: Path,
    channels: Sequence[NDArray[np.float32]],
    duration: float,
    *,
    speech: Sequence[tuple[int, float, float]] = (),
    turns: Sequence[tuple[int, str, float, float]] = (),
    flagged: Sequence[tuple[int, float, float]] = (),
) -> None:
    raise NotImplementedError
