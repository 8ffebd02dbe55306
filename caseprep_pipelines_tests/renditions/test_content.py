"""Words and speakers, made safe to write."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caseprep_pipelines.renditions.content import clean, clock, notices, own_notices, speaker_id, spoken, token
from caseprep_pipelines.renditions.formats import FORMATS, render
from caseprep_pipelines.transcript.document import DEMO_NOTICE, MACHINE_DRAFT_NOTICE
from caseprep_pipelines_tests.renditions.hostile import hostile_transcripts
from caseprep_pipelines_tests.samples import TRANSCRIPTION_MODEL, sample_raw, sample_transcript, sample_turns


@given(st.text())
def test_a_cleaned_word_is_one_line_and_cleaning_it_again_changes_nothing(text):
    once = clean(text)
    assert once == clean(once) == " ".join(once.split())
    assert len(once.splitlines()) <= 1
    once.encode()


@given(st.text())
def test_a_token_is_one_column(text):
    assert len(token(text).split()) == bool(token(text))


@given(st.one_of(st.none(), st.text()))
def test_a_speaker_always_has_an_id_of_one_column(speaker):
    assert len(speaker_id(speaker).split()) == 1


@pytest.mark.parametrize("word", ["naïve", "שלום", "مرحبا", "日本語", "don't", "-->", "a\u200db", "$1,200.50"])
def test_ordinary_words_of_any_script_stay_as_they_are(word):
    assert clean(word) == word


@given(hostile_transcripts())
def test_times_run_forwards_within_an_utterance(transcript):
    for utterance in transcript.utterances:
        words = list(spoken(utterance))
        assert [word.start for word in words] == sorted(word.start for word in words)
        assert all(0 <= word.start <= word.end for word in words)
        assert [word.text.strip() for word in words] == [text for word in utterance.words if (text := clean(word.text))]


def test_times_are_shown_as_a_player_shows_them():
    assert clock(0) == "00:00:00.0"
    assert clock(59.999) == "00:00:59.9"
    assert clock(36_061.25) == "10:01:01.2"


def test_the_machine_draft_is_called_one_even_if_the_document_forgot():
    assert notices(sample_transcript(notices=())) == (MACHINE_DRAFT_NOTICE, DEMO_NOTICE)
    real = TRANSCRIPTION_MODEL.model_copy(update={"demo": False})
    transcript = sample_transcript(notices=("Sealed.",), transcription_model=real, diarization_model=None)
    assert notices(transcript) == (MACHINE_DRAFT_NOTICE, "Sealed.")


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_says_what_is_missing_of_the_original(tmp_path: Path, name: str) -> None:
    notice = "The original is truncated: its header states 0:48 and it holds 0:24 <of> it."
    transcript = sample_transcript(notices=(notice,))
    assert own_notices(transcript) == (notice,)
    assert own_notices(sample_transcript()) == ()
    made = render(transcript, sample_turns(), sample_raw(), [name], tmp_path, "000001-a")
    text = (tmp_path / made.files[0].file).read_text().translate({ord("_"): " ", ord("‹"): "<", ord("›"): ">"})
    assert " ".join(notice.split()) in " ".join(text.replace("&lt;", "<").replace("&gt;", ">").split())


def test_rttm_with_a_notice_is_still_read(tmp_path: Path) -> None:
    from pyannote.database.util import load_rttm

    transcript = sample_transcript(notices=("The original is truncated: its header states 0:48.",))
    render(transcript, sample_turns(), sample_raw(), ["rttm"], tmp_path, "000001-a")
    (annotation,) = load_rttm(tmp_path / "turns.rttm").values()
    assert len(annotation.labels()) == 3
