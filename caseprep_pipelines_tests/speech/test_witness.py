from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from caseprep_pipelines.speech.documents import Span
from caseprep_pipelines.speech.witness import LONGEST_SECONDS, SHORTEST_SECONDS, second_witness
from caseprep_pipelines_tests.speech.conftest import normalized

RATE = 16_000


class Hears:
    """A diarizer that hears somebody wherever the samples are loud."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def speech(self, samples: np.ndarray) -> list[tuple[float, float]]:
        self.seconds.append(len(samples) / RATE)
        loud = np.abs(samples) > 0.1
        edges = np.flatnonzero(np.diff(np.concatenate([[False], loud, [False]]).astype(np.int8))).reshape(-1, 2)
        return [(float(start) / RATE, float(end) / RATE) for start, end in edges]


def channel(folder: Path, seconds: float, *loud: tuple[float, float]) -> Path:
    samples = np.full(round(seconds * RATE), 0.001, dtype=np.float32)
    for start, end in loud:
        samples[round(start * RATE) : round(end * RATE)] = 0.5
    normalized(folder, samples)
    return folder / "0.flac"


def heard(folder: Path, diarizer: Any, seconds: float, stretches: Sequence[tuple[float, float]]) -> list[Any]:
    spans = [Span(start=start, end=end) for start, end in stretches]
    found = second_witness(lambda: diarizer)(folder, spans, seconds)
    return [(round(span.start, 2), round(span.end, 2)) for span in found]


def test_only_what_the_first_detector_missed_is_told(tmp_path: Path) -> None:
    path = channel(tmp_path, 60, (10, 14), (30, 33))
    assert heard(path, Hears(), 60, [(0, 12), (20, 31), (31.5, 60)]) == [(10, 12), (30, 31), (31.5, 33)]


def test_pauses_are_not_listened_to_and_neighbors_are_at_once(tmp_path: Path) -> None:
    path = channel(tmp_path, 60, (10, 14))
    diarizer = Hears()
    assert heard(path, diarizer, 60, [(2, 2.9), (20, 20.5)]) == []
    assert diarizer.seconds == []
    heard(path, diarizer, 60, [(20, 22), (24, 26), (50, 52)])
    assert diarizer.seconds == [11.0, 7.0]


def test_silence_is_not_listened_to(tmp_path: Path) -> None:
    normalized(tmp_path, np.zeros(20 * RATE, dtype=np.float32))
    diarizer = Hears()
    assert heard(tmp_path / "0.flac", diarizer, 20, [(0, 20)]) == []
    assert diarizer.seconds == []


def test_hours_are_listened_to_in_parts(tmp_path: Path) -> None:
    path = channel(tmp_path, 1000, (299, 302), (700, 701))
    diarizer = Hears()
    found = heard(path, diarizer, 1000, [(0, 1000)])
    assert max(diarizer.seconds) <= LONGEST_SECONDS
    assert sum(end - start for start, end in found) == 4.0


@given(st.lists(st.floats(0, 100), max_size=12))
def test_what_is_told_lies_in_what_was_asked(tmp_path_factory: Any, edges: list[float]) -> None:
    edges = sorted({round(edge, 2) for edge in edges})
    stretches = list(zip(edges[::2], edges[1::2], strict=False))
    folder = tmp_path_factory.mktemp("channel")
    path = channel(folder, 100, (5, 9), (50, 60), (99, 100))
    for start, end in heard(path, Hears(), 100, stretches):
        assert any(a - 0.01 <= start < end <= b + 0.01 and b - a >= SHORTEST_SECONDS for a, b in stretches)
