"""The transcript as plain text."""

import re

from hypothesis import given, settings

from caseprep_pipelines.renditions.content import spoken
from caseprep_pipelines.renditions.lines import columns
from caseprep_pipelines.renditions.text import SUSPICIONS, WIDTH, transcript_txt
from caseprep_pipelines.speech.documents import Suspicion
from caseprep_pipelines.transcript.document import (
    DEMO_NOTICE,
    MACHINE_DRAFT_NOTICE,
    TranscriptWord,
    Utterance,
    WordFlag,
)
from caseprep_pipelines_tests.renditions.hostile import hostile_transcripts, inputs, letters
from caseprep_pipelines_tests.samples import sample_transcript, sample_utterance


def body(text):
    """(heading, words) of each block below the two of the header's."""
    blocks = text.rstrip("\n").split("\n\n")[3:]
    return [(block.splitlines()[0], " ".join(block.split("\n")[1:]).split()) for block in blocks]


def test_it_says_what_it_is_where_it_came_from_and_which_model_made_it():
    text = transcript_txt(inputs())
    flat = " ".join(text.split())
    transcript = sample_transcript()
    assert MACHINE_DRAFT_NOTICE in flat
    assert DEMO_NOTICE in flat
    for fact in (transcript.partition, transcript.matter, "v1", transcript.sources.original_sha256):
        assert fact in flat
    assert transcript.transcription_model.digest in flat


def test_who_spoke_when_stands_above_what_was_said():
    assert "[00:00:02.5] SPEAKER_01 (overlap)\n    My name is on the exhibit.\n" in transcript_txt(inputs())


def test_doubts_stand_beside_the_speaker_and_not_among_the_words():
    headings = dict(body(transcript_txt(inputs())))
    assert headings["[00:00:13.0] SPEAKER_01 (1 of 5 words doubtful, check: the machine was not sure)"] == [
        *("I", "did", "not", "sign", "it.")
    ]


def test_an_uncertain_or_unknown_speaker_is_said_to_be_one():
    word = TranscriptWord(text="Yes.", start=1, end=2, probability=1, flags=(WordFlag.UNCERTAIN_SPEAKER,))
    utterance = Utterance(index=0, speaker=None, channel=0, start=1, end=2, words=(word,))
    text = transcript_txt(inputs(sample_transcript(utterances=(utterance,))))
    assert "[00:00:01.0] UNKNOWN (speaker uncertain)\n    Yes." in text


def test_speech_for_which_no_words_came_back_is_not_passed_over():
    assert "[00:00:18.0] (speech without words, listen here, until 00:00:20.0)" in transcript_txt(inputs())


def test_every_suspicion_has_words_for_a_reader():
    assert set(SUSPICIONS) == set(Suspicion)


THAI = "ส วัส ดี ค รับ ผม ชื่อ สม ชาย อายุ 25 ปี"


def test_words_of_a_language_without_spaces_are_not_torn_apart():
    said = (sample_utterance(0, 0, THAI, "th"), sample_utterance(1, 9, "我 在 法 庭 上 。 " * 20, "zh", "SPEAKER_01"))
    text = transcript_txt(inputs(sample_transcript(utterances=said, languages=("th", "zh"))))
    assert "[00:00:00.0] SPEAKER_00 (Thai)\n    สวัสดีครับผมชื่อสมชายอายุ 25 ปี\n" in text
    lines = [line for line in text.splitlines() if line.startswith("    ")]
    assert all(columns(line) <= WIDTH for line in lines)
    assert "".join(line.strip() for line in lines if line.startswith("    我")).startswith("我在法庭上。" * 6)


def test_a_transcript_in_one_language_knows_how_its_words_are_written():
    text = transcript_txt(inputs(sample_transcript(utterances=(sample_utterance(0, 0, THAI),), languages=("th",))))
    assert "SPEAKER_00\n    สวัสดีครับผมชื่อสมชายอายุ 25 ปี\n" in text


def test_another_language_than_the_main_one_is_said_beside_the_speaker():
    said = (
        sample_utterance(0, 0, "Where were you that night, sir?", "en"),
        sample_utterance(1, 3, "Yo estaba en casa.", "es", "SPEAKER_01"),
        sample_utterance(2, 6, "I was at home.", "en", "SPEAKER_02"),
    )
    text = transcript_txt(inputs(sample_transcript(utterances=said, languages=("en", "es"))))
    assert [heading for heading, _ in body(text)][:3] == [
        "[00:00:00.0] SPEAKER_00",
        "[00:00:03.0] SPEAKER_01 (Spanish)",
        "[00:00:06.0] SPEAKER_02",
    ]


def test_lines_fit_a_page():
    said = [line for line in transcript_txt(inputs()).splitlines() if line.startswith("    ")]
    assert all(len(line) <= WIDTH for line in said)


@settings(deadline=None)
@given(hostile_transcripts())
def test_every_word_is_there_in_order_and_none_can_pass_for_a_heading(transcript):
    found = body(transcript_txt(inputs(transcript)))
    assert all(re.match(r"\[\d\d:\d\d:\d\d\.\d\] ", heading) for heading, _ in found)
    utterances = sorted(transcript.utterances, key=lambda utterance: utterance.start)
    expected = [letters("".join(word.text for word in spoken(utterance))) for utterance in utterances]
    unspoken = "[00:00:18.0] (speech without"
    assert [letters("".join(words)) for heading, words in found if not heading.startswith(unspoken)] == expected
