"""What is heard the same is one word, however it is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caseprep_pipelines.evaluation.normalization import normalized, tokens, verbatim

SAME = [
    ("Mr. Smith, 21.", "mister smith twenty-one"),
    ("I didn't!", "i did not"),
    ("They can't; it's theirs.", "they cannot it is theirs"),
    ("U.S. v. Jones", "us versus jones"),
    ("§ 28(j)", "twenty eight j"),
    ("in 1961", "in nineteen sixty one"),
    ("in 2004", "in two thousand four"),
    ("$1,200.50", "one thousand two hundred dollars fifty cents"),
    ("$5", "five dollars"),
    ("5 %", "five percent"),
    ("at 7:30", "at seven thirty"),
    ("the 21st", "the twenty-first"),
    ("the 5th", "the fifth"),
    ("the 1990s", "the nineteen nineties"),
    ("3.5", "three point five"),
    ("90210", "nine zero two one zero"),
    ("O’Brien’s", "o'brien's"),
    ("colour", "color"),
    ("número de tecla", "numero de tecla"),
    ("Ещё решётку", "еще решетку"),
    ("Well, um, yes.", "well yes"),
    ("Yes (laughs). [inaudible]", "yes"),
]
"""As written, and as said."""

APART = [
    ("I did not sign it.", "I did sign it."),
    ("uh-huh", "uh"),
    ("No.", "Know."),
    ("15", "50"),
    ("can", "can't"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_is_heard_the_same_is_the_same(one: str, other: str) -> None:
    assert normalized(one) == normalized(other)


@pytest.mark.parametrize(("one", "other"), APART)
def test_nothing_that_changes_the_meaning_is_taken_away(one: str, other: str) -> None:
    assert normalized(one) != normalized(other)


def test_scripts_without_spaces_are_compared_letter_by_letter() -> None:
    assert normalized("你好吗") == ["你", "好", "吗"]
    assert normalized("ที่นี่") == list("ที่นี่")


def test_words_of_other_scripts_stay_whole() -> None:
    assert normalized("हिन्दी में") == ["हिन्दी", "में"]


def test_verbatim_words_keep_case_and_punctuation_and_lose_remarks() -> None:
    assert verbatim("Yes, [coughs] Your Honor.") == ["Yes,", "Your", "Honor."]


@given(st.text())
def test_any_text_gives_words_without_spaces(text: str) -> None:
    assert all(word and len(word.split()) == 1 for word in normalized(text))


@given(st.lists(st.text(), max_size=20))
def test_a_token_points_at_the_word_that_it_came_from(words: list[str]) -> None:
    places = [token.index for token in tokens([(word, None, None) for word in words])]
    assert places == sorted(places)
    assert all(0 <= place < len(words) for place in places)


@given(st.integers(0, 10**12 - 1))
def test_a_number_reads_the_same_with_and_without_commas_where_it_is_no_row_of_digits(number: int) -> None:
    spoken = normalized(f"{number:,}")
    assert all(word.isalpha() for word in spoken)
    if number < 1100:
        assert normalized(str(number)) == spoken
