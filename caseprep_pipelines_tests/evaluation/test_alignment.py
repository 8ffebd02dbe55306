"""Words lost, exchanged and invented are all the words that do not stand where they were said."""

from hypothesis import given
from hypothesis import strategies as st

from caseprep_pipelines.evaluation.alignment import align, stretches
from caseprep_pipelines.evaluation.normalization import Token

texts = st.lists(st.sampled_from("abcde"), max_size=30)


def untimed(words: list[str] | str) -> list[Token]:
    return [Token(word, place) for place, word in enumerate(words)]


def timed(*words: tuple[str, float]) -> list[Token]:
    return [Token(word, place, start, start + 0.3) for place, (word, start) in enumerate(words)]


@given(texts, texts)
def test_every_word_is_accounted_for_once(said: list[str], heard: list[str]) -> None:
    found = align(untimed(said), untimed(heard))
    kept = [pair for pair in found.pairs if pair is not None]
    assert len(kept) + len(found.exchanged) + len(found.lost) == len(said)
    assert sorted([*kept, *found.exchanged.values(), *found.invented]) == list(range(len(heard)))
    assert all(said[place] == heard[pair] for place, pair in enumerate(found.pairs) if pair is not None)


@given(texts)
def test_a_perfect_transcript_has_no_error(said: list[str]) -> None:
    found = align(untimed(said), untimed(said))
    assert found.errors == len(found.lost) == len(found.invented) == len(found.exchanged) == 0


@given(texts, texts)
def test_errors_are_the_fewest_and_the_figures_together_at_least_as_many(said: list[str], heard: list[str]) -> None:
    found = align(untimed(said), untimed(heard))
    assert len(found.exchanged) + len(found.lost) + len(found.invented) >= found.errors


def test_a_word_left_out_is_lost_and_a_word_put_in_is_invented() -> None:
    found = align(untimed(["i", "did", "not", "sign"]), untimed(["i", "did", "sign", "it"]))
    assert (found.lost, found.invented, found.exchanged) == ([2], [3], {})


def test_a_word_that_two_at_once_moved_is_not_lost() -> None:
    said = timed(("yes", 1.0), ("i", 1.2), ("know", 1.5), ("right", 1.6))
    heard = timed(("i", 1.2), ("know", 1.5), ("right", 1.6), ("yes", 2.0))
    found = align(said, heard)
    assert not found.lost
    assert not found.invented
    assert found.errors == 2


def test_the_same_word_a_minute_later_is_another_word() -> None:
    found = align(timed(("yes", 1.0), ("no", 2.0), ("i", 3.0)), timed(("no", 2.0), ("i", 3.0), ("yes", 62.0)))
    assert found.lost == [0]
    assert found.invented == [2]


def test_stretches_are_runs_of_enough_words() -> None:
    assert stretches([True, True, False, True, True, True], 3) == [(3, 5)]
    assert stretches([], 1) == []
