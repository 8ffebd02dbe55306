"""What a score says of a transcript, as the person who asks for it would say it."""

import pytest

from caseprep_pipelines.evaluation.references import Reference, Said, SpeakerTurn
from caseprep_pipelines.evaluation.scoring import Counts, score
from caseprep_pipelines.evaluation.transcripts import Hypothesis, Word, of_transcript
from caseprep_pipelines_tests.samples import SPOKEN, sample_transcript, sample_turns


def reference(*said: Said, **more: object) -> Reference:
    turns = tuple(SpeakerTurn(s.speaker, s.start, s.end) for s in said if s.speaker and s.start is not None)  # type: ignore[arg-type]
    return Reference(**{"name": "x", "condition": "", "files": (), "said": said, "turns": turns or None, **more})  # type: ignore[arg-type]


def of_sample(**changes: str) -> Reference:
    """What the sample's transcript says, with some utterances changed, as `u3="Objection."`."""
    said = []
    for number, (speaker, start, seconds, text) in enumerate(SPOKEN):
        said.append(Said(changes.get(f"u{number}", text), speaker, start, start + seconds * len(text.split())))
    return reference(*said)


def sample() -> Hypothesis:
    turns = [SpeakerTurn(turn.speaker, turn.start, turn.end) for turn in sample_turns().turns]
    return of_transcript(sample_transcript(), ["sample.wav"], turns)


def heard(text: str, speaker: str = "S0", start: float = 0.0) -> tuple[Word, ...]:
    return tuple(Word(word, speaker, start + i * 0.5, start + i * 0.5 + 0.4) for i, word in enumerate(text.split()))


def test_a_perfect_transcript_scores_nothing_wrong() -> None:
    rates = score(of_sample(), sample()).counts.rates()
    for name in (
        "wer",
        "wer_verbatim",
        "lost_rate",
        "invented_rate",
        "exchanged_rate",
        "cpwer",
        "tcpwer",
        "der",
        "jer",
    ):
        assert rates[name] == pytest.approx(0.0, abs=1e-9), name
    assert rates["recall_negations"] == rates["recall_numbers"] == 1.0


def test_a_lost_word_inside_a_marked_stretch_is_told_from_one_that_nobody_marked() -> None:
    # the last utterance carries a flag, the first one none
    scored = score(
        of_sample(u0="Please state and spell your name for the record.", u4="I did not ever sign it."), sample()
    )
    assert (scored.counts.lost, scored.counts.lost_unmarked) == (3, 2)
    assert scored.speakers["SPEAKER_00"].lost_unmarked == 2
    assert scored.speakers["SPEAKER_01"].lost == 1


def test_a_word_that_nobody_said_is_invented() -> None:
    counts = score(of_sample(u3="Objection."), sample()).counts
    assert (counts.invented, counts.lost, counts.exchanged) == (1, 0, 0)


def test_a_lost_not_is_a_lost_negation() -> None:
    counts = score(
        reference(Said("I did not sign it on the fifth")), Hypothesis(("x",), heard("I did sign it on the 5th"), ())
    ).counts
    assert counts.rates()["recall_negations"] == 0.0
    assert counts.rates()["recall_numbers"] == 1.0


def test_names_are_words_with_a_capital_inside_a_sentence() -> None:
    said = reference(Said("My name is Ann Example. She saw Mister Smith. I never was in Ohio, he said."))
    counts = score(
        said, Hypothesis(("x",), heard("my name is Anna Example she saw mister Smith I never was in Ohio he said"), ())
    ).counts
    assert (counts.critical["names"], counts.critical_found["names"]) == (4, 3)


def test_words_given_to_another_speaker_cost_cpwer_and_not_wer() -> None:
    said = reference(Said("Yes I did.", "A", 0, 1.5), Said("Thank you.", "B", 1.5, 2.5))
    rates = score(said, Hypothesis(("x",), heard("Yes I did. Thank you."), ())).counts.rates()
    assert rates["wer"] == 0.0
    assert rates["cpwer"] == pytest.approx(4 / 5)
    assert rates["der"] is None


def test_words_an_hour_late_cost_tcpwer_and_not_cpwer() -> None:
    said = reference(Said("Yes I did.", "A", 0, 1.5))
    rates = score(said, Hypothesis(("x",), heard("Yes I did.", start=3600.0), ())).counts.rates()
    assert rates["cpwer"] == 0.0
    assert rates["tcpwer"] == 2.0


def test_a_speaker_who_was_not_heard_is_missed_speech() -> None:
    said = reference(turns=(SpeakerTurn("A", 0, 2), SpeakerTurn("B", 2, 4)), said=None)
    counts = score(said, Hypothesis(("x",), (), (SpeakerTurn("S0", 0, 2),), seconds=4)).counts
    assert counts.rates()["der"] == pytest.approx(0.5)
    assert counts.rates()["jer"] == pytest.approx(0.5)
    assert counts.rates()["wer"] is None


def test_where_nobody_speaks_every_word_is_invented() -> None:
    counts = score(reference(), Hypothesis(("x",), heard("Thank you for watching"), (), marks=())).counts
    assert (counts.words, counts.invented) == (0, 4)
    assert counts.rates()["wer"] is None


def test_what_the_reference_leaves_out_is_not_scored() -> None:
    said = reference(Said("Yes.", "A", 0, 1), not_scored=((5.0, 9.0),))
    counts = score(said, Hypothesis(("x",), heard("Yes.") + heard("bench conference", start=6.0), ())).counts
    assert counts.errors == 0


def test_a_text_without_speakers_and_times_scores_words_alone() -> None:
    rates = score(reference(Said("ask not what")), Hypothesis(("x",), (Word("ask"), Word("what")), ())).counts.rates()
    assert rates["lost_rate"] == pytest.approx(1 / 3)
    assert rates["cpwer"] is rates["tcpwer"] is rates["der"] is rates["lost_unmarked_rate"] is None


def test_counts_add_up() -> None:
    total = Counts()
    for each in (of_sample(), of_sample(u3="Objection.")):
        total.add(score(each, sample()).counts)
    assert (total.recordings, total.invented) == (2, 1)
    assert total.critical["negations"] == 2
