from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from caseprep_pipelines.speech.documents import Turn, Word
from caseprep_pipelines.transcript.assignment import (
    ISLAND_WORDS,
    AssignedWord,
    TurnIndex,
    assign,
    assign_to_channel,
    smooth,
)
from caseprep_pipelines.transcript.document import WordFlag

ANNA, BEN = "SPEAKER_00", "SPEAKER_01"


def turn(speaker: str, start: float, end: float, channel: int = 0) -> Turn:
    return Turn(speaker=speaker, channel=channel, start=start, end=end)


def spoken(text: str, start: float = 0.0, each: float = 0.5) -> list[Word]:
    return [
        Word(text=word, start=start + each * at, end=start + each * (at + 1), probability=0.9)
        for at, word in enumerate(text.split())
    ]


def who(words: list[AssignedWord]) -> list[str | None]:
    return [word.speaker for word in words]


def given_to(speakers: str, text: str, confidence: float = 1.0, pauses: dict[int, float] | None = None) -> list:
    """The words of `text` given to A or B by the letters of `speakers`, with pauses before some."""
    words, now = [], 0.0
    for at, (letter, word) in enumerate(zip(speakers, text.split(), strict=True)):
        now += (pauses or {}).get(at, 0.0)
        said = Word(text=word, start=now, end=now + 0.3, probability=0.9)
        words.append(AssignedWord(said, ANNA if letter == "A" else BEN, confidence))
        now += 0.3
    return words


def letters(words: list[AssignedWord]) -> str:
    return "".join("A" if word.speaker == ANNA else "B" for word in words)


def test_a_word_goes_to_whoever_speaks_most_of_it() -> None:
    turns = [turn(ANNA, 0.0, 1.9), turn(BEN, 1.9, 4.0)]
    words = assign(spoken("I was there once. No, sir.", each=0.5), turns, turns)
    assert who(words) == [ANNA] * 4 + [BEN] * 2
    assert [word.confidence for word in words] == [1.0, 1.0, 1.0, 0.8, 1.0, 1.0]
    assert not any(word.flags for word in words)


def test_a_word_between_turns_goes_to_the_nearest_as_uncertain() -> None:
    turns = [turn(ANNA, 0.0, 1.0), turn(BEN, 3.0, 4.0)]
    (word,) = assign(spoken("Well", 1.2), turns, turns)
    assert (word.speaker, word.confidence, word.flags) == (ANNA, 0.0, frozenset({WordFlag.UNCERTAIN_SPEAKER}))
    (word,) = assign(spoken("Well", 9.0), turns, turns)
    assert (word.speaker, word.flags) == (None, frozenset({WordFlag.UNCERTAIN_SPEAKER}))


def test_a_word_that_two_claim_nearly_equally_is_uncertain() -> None:
    turns = [turn(ANNA, 0.0, 0.26), turn(BEN, 0.26, 1.0)]
    (word,) = assign(spoken("Well"), turns, turns)
    assert (word.speaker, word.flags) == (ANNA, frozenset({WordFlag.UNCERTAIN_SPEAKER}))


def test_a_word_that_somebody_talks_over_is_in_overlap() -> None:
    heard = [turn(ANNA, 0.0, 2.0), turn(BEN, 1.0, 1.5)]
    words = assign(spoken("I was not there"), heard, [turn(ANNA, 0.0, 2.0)])
    assert [WordFlag.OVERLAP in word.flags for word in words] == [False, False, True, False]


def test_a_word_without_length_is_given_too() -> None:
    word = Word(text="no", start=1.0, end=1.0, probability=0.5)
    turns = [turn(ANNA, 0.0, 2.0)]
    assert who(assign([word], turns, turns)) == [ANNA]


def test_without_turns_nobody_is_named() -> None:
    (word,) = assign(spoken("Hello"), [], [])
    assert (word.speaker, word.confidence) == (None, None)


def test_a_question_whose_first_word_fell_into_the_turn_before_is_put_together() -> None:
    words = given_to("AAAABBB", "That is right. Did you see him?")
    assert letters(smooth(words)) == "AAABBBB"
    assert WordFlag.SMOOTHED_SPEAKER in smooth(words)[3].flags


def test_an_answer_whose_last_words_fell_into_the_turn_after_is_put_together() -> None:
    assert letters(smooth(given_to("AAABBBB", "I was at home. Were you alone?"))) == "AAAABBB"


def test_a_smoothed_word_is_as_sure_as_its_new_speakers_turns_make_it() -> None:
    turns = [turn(ANNA, 0.0, 1.9), turn(BEN, 1.9, 4.0)]
    words = assign(spoken("Were you there? Yes, sir, I was.", each=0.5), turns, turns)
    assert who(words) == [ANNA] * 3 + [BEN] * 4
    assert (words[3].confidence, words[3].flags) == (0.2, frozenset({WordFlag.SMOOTHED_SPEAKER}))


def test_a_flicker_inside_a_sentence_is_smoothed_when_its_turn_hardly_covers_it() -> None:
    assert letters(smooth(given_to("AABAAA", "I did not see him there.", confidence=0.5))) == "AAAAAA"


def test_interjections_are_no_islands() -> None:
    surely_bens = given_to("AABAAA", "I was Objection at the bank.", confidence=1.0)
    assert letters(smooth(surely_bens)) == "AABAAA"
    own_sentence = given_to("AAABAAA", "I was there. Objection. At the bank.", confidence=0.5)
    assert letters(smooth(own_sentence)) == "AAABAAA"
    after_a_pause = given_to("AAABBB", "I was yes sir I know", confidence=0.5, pauses={3: 0.4})
    assert letters(smooth(after_a_pause)) == "AAABBB"


def test_short_answers_keep_their_speaker() -> None:
    assert letters(smooth(given_to("AAAB", "Were you there? No.", confidence=0.5))) == "AAAB"


def test_a_channels_words_are_its_speakers() -> None:
    turns = [turn(ANNA, 0.0, 1.0, channel=0), turn(BEN, 0.5, 3.0, channel=1)]
    bleed = [turn(BEN, 1.5, 2.5, channel=0)]
    words = assign_to_channel(spoken("Yes, sir, I was there. Right.", each=0.5), 0, turns, bleed)
    assert set(who(words)) == {ANNA}
    assert words[0].flags == frozenset()
    assert words[1].flags == frozenset({WordFlag.OVERLAP})
    assert words[3].flags == frozenset({WordFlag.POSSIBLE_BLEED})
    far = assign_to_channel(spoken("Hello", 50.0), 0, turns, bleed)
    assert far[0].flags == frozenset({WordFlag.UNCERTAIN_SPEAKER})


speakers = st.sampled_from([ANNA, BEN, "SPEAKER_02"])
instants = st.integers(0, 300).map(lambda tenths: tenths / 10)


@st.composite
def turns_of(draw: st.DrawFn) -> list[Turn]:
    made = draw(st.lists(st.tuples(speakers, instants, st.integers(1, 50)), max_size=12))
    return [turn(speaker, start, start + length / 10) for speaker, start, length in made]


@st.composite
def exclusive_turns(draw: st.DrawFn) -> list[Turn]:
    edges = sorted(draw(st.sets(instants, max_size=16)))
    return [turn(draw(speakers), a, b) for a, b in pairwise(edges) if draw(st.booleans())]


@st.composite
def words_of(draw: st.DrawFn) -> list[Word]:
    now, words = 0.0, []
    for gap, length, text in draw(
        st.lists(
            st.tuples(st.integers(0, 12), st.integers(0, 8), st.sampled_from(["yes", "no.", "well,", "so?"])),
            max_size=30,
        )
    ):
        start = now + gap / 10
        now = start + length / 10
        words.append(Word(text=text, start=start, end=now, probability=0.9))
    return words


@settings(deadline=None)
@given(words_of(), turns_of(), exclusive_turns())
def test_every_word_is_kept_once_and_in_order(words: list[Word], heard: list[Turn], sole: list[Turn]) -> None:
    assigned = assign(words, heard, sole)
    assert [given.word for given in assigned] == words
    known = {one.speaker for one in sole}
    assert all(given.speaker is None or given.speaker in known for given in assigned)
    assert all(given.speaker is not None or WordFlag.UNCERTAIN_SPEAKER in given.flags for given in assigned)
    assert all(given.confidence is None or 0 <= given.confidence <= 1 for given in assigned)
    by_channel = assign_to_channel(words, 0, heard, sole)
    assert [given.word for given in by_channel] == words


@settings(deadline=None)
@given(words_of(), exclusive_turns())
def test_smoothing_moves_short_islands_only_and_says_so(words: list[Word], sole: list[Turn]) -> None:
    rough = assign(words, [], sole)
    unsmoothed = [
        AssignedWord(given.word, given.speaker, given.confidence, given.flags - {WordFlag.SMOOTHED_SPEAKER})
        for given in rough
    ]
    moved = [before.speaker != after.speaker for before, after in zip(unsmoothed, smooth(unsmoothed), strict=True)]
    marked = [WordFlag.SMOOTHED_SPEAKER in after.flags for after in smooth(unsmoothed)]
    assert moved == marked
    runs = "".join("x" if move else " " for move in moved).split()
    assert all(len(run) <= 2 * ISLAND_WORDS for run in runs)


@settings(deadline=None)
@given(turns_of(), instants, st.integers(1, 50))
def test_the_index_finds_what_a_search_through_all_turns_finds(heard: list[Turn], start: float, length: int) -> None:
    end = start + length / 10
    found = TurnIndex(heard).between(start, end)
    expected = [one for one in sorted(heard, key=lambda one: one.start) if one.end > start and one.start < end]
    assert found == expected
