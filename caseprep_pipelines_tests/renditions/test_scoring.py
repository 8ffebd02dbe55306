"""RTTM, CTM and SegLST, read back by the tools that score with them."""

import json

import jsonschema
import meeteval
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caseprep_pipelines.renditions.content import milliseconds, speaker_id, spoken, spoken_text, token
from caseprep_pipelines.renditions.ctm import transcript_ctm
from caseprep_pipelines.renditions.rttm import rendition, turns_rttm
from caseprep_pipelines.renditions.seglst import transcript_seglst
from caseprep_pipelines.speech.documents import Turn
from caseprep_pipelines.transcript.document import DEMO_NOTICE, MACHINE_DRAFT_NOTICE
from caseprep_pipelines_tests.renditions.hostile import hostile_transcripts, inputs
from caseprep_pipelines_tests.samples import PARTITION, sample_transcript, sample_turns, sample_utterance

SEGLST_SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["session_id", "speaker", "start_time", "end_time", "words"],
        "properties": {
            "session_id": {"const": PARTITION},
            "speaker": {"type": "string", "pattern": r"^\S+$"},
            "channel": {"type": "integer"},
            "start_time": {"type": "number", "minimum": 0},
            "end_time": {"type": "number", "minimum": 0},
            "words": {"type": "string", "minLength": 1},
            "language": {"type": "string", "minLength": 1},
        },
        "additionalProperties": False,
    },
}


def test_pyannote_reads_the_turns_with_their_overlaps(tmp_path):
    util = pytest.importorskip("pyannote.database.util")
    (tmp_path / "turns.rttm").write_text(rendition(inputs()))
    annotation = util.load_rttm(tmp_path / "turns.rttm")[PARTITION]
    found = [(s.start, s.end, speaker) for s, _, speaker in annotation.itertracks(yield_label=True)]
    turns = [(turn.start, turn.end, turn.speaker) for turn in sample_turns().turns]
    assert [speaker for *_, speaker in found] == [speaker for *_, speaker in turns]
    for (start, end, _), (wanted_start, wanted_end, _) in zip(found, turns, strict=True):
        assert (start, end) == pytest.approx((wanted_start, wanted_end), abs=1e-6)
    assert annotation.get_overlap().duration() > 0.5


@given(
    st.lists(
        st.builds(
            Turn,
            speaker=st.text(max_size=8),
            channel=st.integers(0, 7),
            start=st.floats(0, 90_000),
            end=st.floats(0, 90_000),
            confidence=st.none() | st.floats(0, 1),
        ),
        max_size=6,
    )
)
def test_any_turns_give_lines_of_ten_columns_that_are_read_back(turns):
    text = turns_rttm(sample_turns(turns=tuple(turns)))
    kept = [turn for turn in turns if milliseconds(turn.end) > milliseconds(turn.start)]
    assert all(len(line.split()) == 10 for line in text.splitlines())
    read = meeteval.io.RTTM.parse(text).lines
    assert {line.filename for line in read} <= {PARTITION}
    assert sorted((milliseconds(float(line.begin_time)), line.speaker_id) for line in read) == sorted(
        (milliseconds(turn.start), speaker_id(turn.speaker)) for turn in kept
    )


def test_ctm_says_what_it_is_and_holds_words_with_times_and_probabilities():
    text = transcript_ctm(inputs())
    assert MACHINE_DRAFT_NOTICE in text
    assert DEMO_NOTICE in text
    line = next(line for line in meeteval.io.CTM.parse(text).lines if line.word == "not")
    assert (line.filename, line.channel) == (PARTITION, "1")
    assert (float(line.begin_time), float(line.duration), float(line.confidence)) == (14.0, 0.5, 0.31)


@settings(deadline=None)
@given(hostile_transcripts())
def test_ctm_holds_every_word_and_keeps_the_order_of_each_utterance(transcript):
    read = meeteval.io.CTM.parse(transcript_ctm(inputs(transcript))).lines
    keys = [(int(line.channel), line.begin_time) for line in read]
    assert keys == sorted(keys)
    rest = [(int(line.channel), milliseconds(float(line.begin_time)), line.word) for line in read]
    for utterance in transcript.utterances:
        position = -1
        for word in spoken(utterance):
            wanted = (utterance.channel + 1, milliseconds(word.start), token(word.text))
            # the utterances' words interleave: each must follow the one before and is then used up
            position = next(i for i, row in enumerate(rest) if i > position and row == wanted)
            rest[position] = None
    assert not any(rest)


@settings(deadline=None)
@given(hostile_transcripts())
def test_seglst_holds_every_word_in_order_under_its_speaker(transcript):
    text = transcript_seglst(inputs(transcript))
    jsonschema.validate(json.loads(text), SEGLST_SCHEMA)
    read = meeteval.io.SegLST(json.loads(text))
    said = [(speaker_id(u.speaker), spoken_text(transcript, u)) for u in transcript.utterances]
    assert [(s["speaker"], s["words"]) for s in read] == [(speaker, words) for speaker, words in said if words]
    assert all(s["start_time"] <= s["end_time"] for s in read)


def test_seglst_says_the_language_where_it_is_known_and_joins_words_as_it_is_written():
    said = (sample_utterance(0, 0, "ส วัส ดี ค รับ", "th"), sample_utterance(1, 5, "Good morning."))
    transcript = sample_transcript(utterances=said, languages=("th", "en"))
    first, second = json.loads(transcript_seglst(inputs(transcript)))
    assert (first["words"], first["language"]) == ("สวัสดีครับ", "th")
    assert "language" not in second


def test_meeteval_finds_no_error_between_a_transcript_and_itself():
    segments = meeteval.io.SegLST(json.loads(transcript_seglst(inputs(sample_transcript()))))
    (result,) = meeteval.wer.tcpwer(segments, segments, collar=5).values()
    assert (result.errors, result.length) == (0, 46)
