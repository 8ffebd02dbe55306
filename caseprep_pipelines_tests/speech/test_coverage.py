from hypothesis import given
from hypothesis import strategies as st

from caseprep_pipelines.speech.coverage import BESIDE_SECONDS, GAP_SECONDS, covered, gaps, longest
from caseprep_pipelines.speech.documents import Span, Word


def word(start: float, end: float, text: str = "how") -> Word:
    return Word(text=text, start=start, end=end, probability=0.9)


def spans(*edges: tuple[float, float]) -> tuple[Span, ...]:
    return tuple(Span(start=start, end=end) for start, end in edges)


def test_a_word_of_sixteen_seconds_covers_what_a_word_covers() -> None:
    words = [word(55.0, 55.4), word(59.8, 75.6), word(75.6, 76.0)]
    assert covered(words)[1] == (59.8, 60.3)
    assert gaps(spans((55.0, 76.0)), covered(words)) == spans((55.7, 59.5), (60.6, 75.3))


def test_a_first_word_that_is_too_long_ends_where_it_says() -> None:
    assert covered([word(0.0, 9.0), word(9.0, 9.2)])[0] == (8.5, 9.0)


def test_a_number_takes_as_long_as_its_digits() -> None:
    assert longest(word(0, 9, "how")) == 1.5
    assert longest(word(0, 9, "555-0172")) == 3.5


def test_speech_without_words_is_a_gap_where_it_is() -> None:
    speech = spans((0.0, 5.0), (10.0, 10.9), (20.0, 24.0))
    words = [(1.0, 1.3), (20.5, 21.1)]
    assert gaps(speech, words) == spans((1.6, 5.0), (21.4, 24.0))


def test_short_stretches_that_only_breaths_part_are_one_gap() -> None:
    assert gaps(spans((0.0, 0.6), (0.8, 1.4), (9.0, 9.6)), []) == spans((0.0, 1.4))
    assert gaps(spans((0.0, 0.6), (0.8, 1.4)), [(0.65, 0.75)]) == ()


times = st.floats(0, 100, allow_nan=False).map(lambda value: round(value, 2))


@given(st.lists(times, max_size=40), st.lists(times, max_size=20))
def test_gaps_begin_and_end_in_speech_and_are_away_from_words(edges: list[float], starts: list[float]) -> None:
    edges = sorted(set(edges))
    speech = spans(*zip(edges[::2], edges[1::2], strict=False))
    words = [(start, start + 0.3) for start in sorted(starts)]
    found = gaps(speech, words)
    for gap in found:
        assert gap.end - gap.start >= GAP_SECONDS - 1e-6
        assert any(held.start <= gap.start <= held.end for held in speech)
        assert any(held.start <= gap.end <= held.end for held in speech)
        assert all(
            end + BESIDE_SECONDS <= gap.start + 1e-3 or start - BESIDE_SECONDS >= gap.end - 1e-3 for start, end in words
        )
    for held in speech:
        if held.end - held.start >= GAP_SECONDS and not any(
            a - 0.31 < held.end and b + 0.31 > held.start for a, b in words
        ):
            assert any(gap.start <= held.start and held.end <= gap.end for gap in found)
