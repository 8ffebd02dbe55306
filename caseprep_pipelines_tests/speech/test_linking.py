import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from caseprep_pipelines.speech.linking import link

ANNA, BEN, CARL = np.eye(3)


def near(voice: np.ndarray, seed: int = 0) -> np.ndarray:
    return voice + np.random.default_rng(seed).normal(0, 0.05, 3)


def test_the_same_voices_in_another_order_are_the_same_people() -> None:
    windows = [np.stack([ANNA, BEN]), np.stack([near(BEN), near(ANNA)]), np.stack([near(ANNA, 1)])]
    assert link(windows, [[60, 60], [60, 60], [5]]) == [[0, 1], [1, 0], [0]]


def test_a_new_voice_is_a_new_person() -> None:
    assert link([np.stack([ANNA]), np.stack([near(CARL), near(ANNA)])], [[60], [60, 60]]) == [[0], [1, 0]]


def test_two_speakers_of_one_window_are_never_one_person() -> None:
    assert link([np.stack([ANNA, near(ANNA)])], [[60, 60]], max_speakers=1) == [[0, 1]]


def test_bounds_steer_where_windows_allow() -> None:
    windows = [np.stack([ANNA, BEN]), np.stack([CARL])]
    assert max(max(row) for row in link(windows, [[60, 60], [60]], max_speakers=2)) == 1
    same = [np.stack([ANNA]), np.stack([near(ANNA)])]
    assert link(same, [[60], [60]], min_speakers=2) == [[0], [1]]


def test_a_voice_that_could_not_be_measured_is_nobody_else() -> None:
    assert link([np.stack([ANNA]), np.stack([np.zeros(3)])], [[60], [1]]) == [[0], [1]]


def test_nobody_speaks() -> None:
    assert link([], []) == []
    assert link([np.zeros((0, 3)), np.stack([ANNA])], [[], [3]]) == [[], [0]]


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=5),
    st.integers(0, 999),
    st.one_of(st.none(), st.integers(1, 4)),
    st.one_of(st.none(), st.integers(1, 4)),
)
def test_every_speaker_gets_a_person_and_windows_keep_theirs_apart(
    counts: list[int], seed: int, least: int | None, most: int | None
) -> None:
    random = np.random.default_rng(seed)
    windows = [random.normal(size=(count, 4)) for count in counts]
    seconds = [list(random.random(count)) for count in counts]
    people = link(windows, seconds, min_speakers=least, max_speakers=most)
    assert [len(row) for row in people] == counts
    assert all(len(set(row)) == len(row) for row in people)
    everybody = [person for row in people for person in row]
    assert sorted(set(everybody)) == list(range(len(set(everybody))))
    assert list(dict.fromkeys(everybody)) == sorted(set(everybody))
    if least is not None:
        assert len(set(everybody)) >= min(least, sum(counts))
    assert people == link(windows, seconds, min_speakers=least, max_speakers=most)
