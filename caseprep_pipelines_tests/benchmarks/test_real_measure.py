"""What the measure of real speech calls lost, invented and marked."""

from typing import Any

from benchmarks._real_corpus import Item, Turn
from benchmarks._real_measure import Ours, score, table

SAID = "I did not sign the paper on the fourth of March"


def words(text: str, language: str = "en") -> list[dict[str, Any]]:
    return [
        {"text": word, "start": float(at), "end": at + 0.8, "language": language}
        for at, word in enumerate(text.split())
    ]


def item(said: str | None = SAID) -> Item:
    turns = None if said is None else (Turn(0.0, float(len(said.split())), "A", "en", said),)
    return Item("x", "clean", ("en",), "x.wav", 60.0, "", turns, None)


def heard(sequential: str = SAID, batched: str = SAID) -> dict[str, dict[str, Any]]:
    return {"sequential": {"words": words(sequential)}, "batched": {"words": words(batched)}}


def test_what_the_reference_and_one_way_have_and_ours_lacks_is_lost() -> None:
    own = score(item(), Ours(words("I did sign the paper on the fourth of March"), []), heard(batched="I did sign"))
    assert (own.agreed, own.lost, own.lost_unmarked) == (11, 1, 1)
    assert own.lost_words[0][2] == "not"


def test_what_neither_way_heard_is_nobody_s_loss() -> None:
    without = "I did sign the paper on the fourth of March"
    own = score(item(), Ours(words(without), []), heard(without, without))
    assert own.lost == 0
    assert own.errors == {"ours": 1, "sequential": 1, "batched": 1}


def test_without_a_reference_both_ways_must_agree() -> None:
    own = score(item(None), Ours(words("I did"), []), heard(batched="I did not sign"))
    assert (own.agreed, own.lost) == (4, 2)


def test_a_word_that_one_way_has_as_well_is_not_invented() -> None:
    own = score(item(), Ours(words(SAID + " thank you"), []), heard(sequential=SAID + " thank"))
    assert (own.invented, own.invented_unmarked) == (1, 1)


def test_words_lost_in_a_row_are_a_stretch_and_a_mark_over_it_counts() -> None:
    shorter = words(SAID)[:2] + words(SAID)[8:]
    for marks, is_marked in (([], False), ([(3.0, 6.0)], True)):
        own = score(item(), Ours(shorter, marks), heard())
        (stretch,) = own.stretches
        assert stretch.words == "not sign the paper on the"
        assert stretch.marked is is_marked


def test_a_turn_in_another_language_is_wrong() -> None:
    own = score(item(), Ours(words(SAID, "cy"), []), heard())
    assert (own.turns, own.turns_right, own.other_language) == (1, 0, 11)
    assert own.language_f1 == 0.0


def test_the_table_has_a_row_for_each_condition() -> None:
    assert (
        len(
            table({"clean": score(item(), Ours(words(SAID), []), heard()), "all": score(item(), Ours([], []), heard())})
        )
        == 3
    )
