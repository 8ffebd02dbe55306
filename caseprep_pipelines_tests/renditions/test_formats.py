"""Writing a transcript in several formats."""

import hashlib

import pytest
from hypothesis import HealthCheck, given, settings

from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.renditions.formats import FORMATS, RenditionSet, check_formats, render
from caseprep_pipelines.settings import DEFAULT_FORMATS
from caseprep_pipelines.transcript.document import Transcript
from caseprep_pipelines_tests.renditions.hostile import hostile_transcripts
from caseprep_pipelines_tests.samples import sample_raw, sample_transcript, sample_turns


def rendered(folder, formats=tuple(FORMATS), transcript=None):
    return render(transcript or sample_transcript(), sample_turns(), sample_raw(), formats, folder, version="v1")


def test_every_default_format_is_known_and_files_have_names_of_their_own():
    assert set(DEFAULT_FORMATS) <= set(FORMATS)
    assert len({format_.file for format_ in FORMATS.values()}) == len(FORMATS)


def test_the_set_lists_what_lies_in_the_folder(tmp_path):
    renditions = rendered(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {file.file for file in renditions.files}
    for file in renditions.files:
        data = (tmp_path / file.file).read_bytes()
        assert file.sha256 == hashlib.sha256(data).hexdigest()
        assert file.size_bytes == len(data)
        assert data.decode().endswith("\n")
    assert renditions.transcript_version == "v1"
    assert renditions.transcript_sha256 == sample_transcript().digest()
    assert RenditionSet.from_bytes(renditions.to_bytes()) == renditions


def test_only_the_formats_asked_for_are_written_each_once_and_in_that_order(tmp_path):
    assert [file.format for file in rendered(tmp_path, ("srt", "txt", "srt")).files] == ["srt", "txt"]
    assert len(list(tmp_path.iterdir())) == 2


def test_the_same_transcript_gives_the_same_bytes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert rendered(tmp_path / "a") == rendered(tmp_path / "b")


def test_an_unknown_format_is_named_with_those_that_are_known_and_nothing_is_written(tmp_path):
    with pytest.raises(ConfigurationError, match=r"unknown format 'docz'; known are json, txt, srt, vtt"):
        rendered(tmp_path, ("txt", "docz"))
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigurationError, match="no format is named"):
        check_formats(())


def test_the_json_is_the_canonical_document_for_reading(tmp_path):
    rendered(tmp_path, ("json",))
    data = (tmp_path / "transcript.json").read_bytes()
    assert Transcript.from_bytes(data) == sample_transcript()
    assert data.count(b"\n") > 100


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(hostile_transcripts())
def test_no_words_and_no_times_stop_a_rendition(tmp_path, transcript):
    renditions = rendered(tmp_path, transcript=transcript)
    assert len(renditions.files) == len(FORMATS)
    assert Transcript.from_bytes((tmp_path / "transcript.json").read_bytes()) == transcript
