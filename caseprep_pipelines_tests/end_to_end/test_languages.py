"""Testimony in a language without spaces, from the transcript to the file that is read and the phrase that is found."""

import json
from pathlib import Path

import pytest

from caseprep_pipelines.catalog import loading, registry
from caseprep_pipelines.catalog.database import open_catalog
from caseprep_pipelines.renditions.formats import render
from caseprep_pipelines.settings import read_settings
from caseprep_pipelines.storage.keys import origin_digest_of_file
from caseprep_pipelines_tests.conftest import caseprep, environment
from caseprep_pipelines_tests.samples import sample_raw, sample_transcript, sample_turns, sample_utterance

SHA256 = "0f" * 32

#: In pieces, as a recognizer hands them over.
SAID = (
    sample_utterance(0, 0.0, "Please tell the court what you saw that night.", "en"),
    sample_utterance(1, 4.0, "ผม เห็น รถ สี แดง จอด อยู่ หน้า บ้าน ตอน 9 ทุ่ม ครับ", "th", "SPEAKER_01"),
    sample_utterance(2, 8.0, "He saw a red car in front of the house at nine.", "en", "SPEAKER_02"),
    sample_utterance(3, 12.0, "我 在 法 庭 上 看 见 了 那 辆 红 色 的 汽 车 。", "zh", "SPEAKER_01"),
    sample_utterance(4, 16.0, "昨 日 の 夜 、 ホ テ ル に い ま し た 。", "ja", "SPEAKER_01"),
)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment whose catalog has the transcript, and the transcript's files in `files`."""
    folder = tmp_path_factory.mktemp("languages")
    settings = read_settings(storage=str(folder / "storage"), dagster_home=folder / "dagster")
    catalog = open_catalog(settings.catalog_url)
    new = registry.NewRecording("2024-cv-1", "hearing.wav", "/x/hearing.wav", origin_digest_of_file(SHA256), SHA256, 9)
    [row] = registry.register(catalog, [new], "test")
    transcript = sample_transcript(
        partition=row.partition, matter="2024-cv-1", utterances=SAID, languages=("en", "th", "zh", "ja"), unspoken=()
    )
    loading.load_transcript(catalog, transcript, "000001-aaaaaaaaaaaa", transcript.digest())
    catalog.close()
    (folder / "files").mkdir()
    render(transcript, sample_turns(), sample_raw(), ("txt", "srt", "seglst"), folder / "files", "000001-aaaaaaaaaaaa")
    return environment(folder, FILES=str(folder / "files"))


def displayed(own: dict[str, str]) -> dict[float, str]:
    """What a reader sees of each utterance, by time."""
    segments = json.loads((Path(own["FILES"]) / "transcript.seglst.json").read_text(encoding="utf-8"))
    return {segment["start_time"]: segment["words"] for segment in segments}


def test_whatever_is_displayed_is_found_with_its_time(own: dict[str, str]) -> None:
    text = " ".join((Path(own["FILES"]) / "transcript.txt").read_text(encoding="utf-8").split())
    for start, words in displayed(own).items():
        assert words in text
        whole = json.loads(caseprep(["search", f'"{words}"', "--json"], own).stdout)
        assert [(hit["start"], hit["snippet"]) for hit in whole] == [(start, words)]


@pytest.mark.parametrize(
    ("phrase", "start"),
    [
        ("รถสีแดง", 4.0),
        ("ตอน 9 ทุ่มครับ", 4.0),
        ("红色的汽车", 12.0),
        ("法庭 汽车", 12.0),
        ("昨日の夜、ホテル", 16.0),
        ("แดงรถ", None),
    ],
)
def test_a_phrase_is_found_across_the_pieces_that_it_was_recognized_in(
    own: dict[str, str], phrase: str, start: float | None
) -> None:
    found = json.loads(caseprep(["search", phrase, "--json"], own).stdout)
    assert [hit["start"] for hit in found] == ([] if start is None else [start])


def test_who_speaks_another_language_is_shown_with_it(own: dict[str, str]) -> None:
    text = (Path(own["FILES"]) / "transcript.txt").read_text(encoding="utf-8")
    assert "[00:00:04.0] SPEAKER_01 (Thai)\n    ผมเห็นรถสีแดงจอดอยู่หน้าบ้านตอน 9 ทุ่มครับ\n" in text
    assert "[00:00:12.0] SPEAKER_01 (Chinese)\n    我在法庭上看见了那辆红色的汽车。\n" in text
    assert "[00:00:08.0] SPEAKER_02\n" in text
    captions = (Path(own["FILES"]) / "transcript.srt").read_text(encoding="utf-8")
    assert "SPEAKER_01 (Japanese):\n昨日の夜、ホテルにいました。\n" in captions


def test_a_terminal_without_the_letters_shows_no_traceback(own: dict[str, str]) -> None:
    found = caseprep(["search", "红色"], {**own, "PYTHONIOENCODING": "latin-1"})
    assert found.returncode == 0, found.stderr
    assert "hearing.wav  0:12  SPEAKER_01: " in found.stdout
    assert "\\u7ea2\\u8272" in found.stdout
