"""The speech stages read what was written, whole or in pieces."""

from pathlib import Path

import numpy as np
import pytest

from caseprep_pipelines.audio.reading import blocks, read_flac, read_span
from caseprep_pipelines_tests.audio.media import noise, wav


@pytest.fixture
def flac(tmp_path: Path) -> Path:
    return wav(tmp_path / "x.flac", noise(-20, 10))


def test_blocks_put_together_are_the_file(flac: Path) -> None:
    whole = read_flac(flac)
    pieces = list(blocks(flac, seconds=3.0))
    assert [len(piece) for piece in pieces] == [48_000, 48_000, 48_000, 16_000]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    assert whole.dtype == np.float32


@pytest.mark.parametrize(
    ("start", "end", "length"), [(1.0, 2.5, 24_000), (9.5, 20.0, 8_000), (-1.0, 1.0, 16_000), (20, 30, 0)]
)
def test_a_span_is_the_same_samples_cut_to_the_file(flac: Path, start: float, end: float, length: int) -> None:
    samples = read_span(flac, start, end)
    assert len(samples) == length
    first = round(max(0.0, start) * 16_000)
    np.testing.assert_array_equal(samples, read_flac(flac)[first : first + length])
