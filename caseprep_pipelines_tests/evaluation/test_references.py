"""References as people keep them, and the lines that say what is wrong with one."""

import json
from pathlib import Path

import pytest

from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.evaluation.references import Said, SpeakerTurn, read_references

STM = """;; comment
call 1 Diane 6.68 7.16 Hello?
call 1 Sheila 7.634 8.155 <o,f0,female> Hello?
hearing A judge 0 2.5 Granted.
"""


def written(folder: Path, **files: str | bytes) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def problems(folder: Path) -> list[str]:
    return [line.replace(f"{folder}/", "") for line in read_references([folder]).problems]


def test_an_stm_holds_words_speakers_and_times_of_several_recordings(tmp_path: Path) -> None:
    call, hearing = read_references([written(tmp_path, a_stm=STM)]).found
    assert call.name == "call"
    assert call.said == (Said("Hello?", "Diane", 6.68, 7.16), Said("Hello?", "Sheila", 7.634, 8.155))
    assert call.turns == (SpeakerTurn("Diane", 6.68, 7.16), SpeakerTurn("Sheila", 7.634, 8.155))
    assert hearing.said == (Said("Granted.", "judge", 0, 2.5),)


def test_an_rttm_beside_the_words_says_who_spoke_when(tmp_path: Path) -> None:
    rttm = "SPEAKER call 1 6.690 0.430 <NA> <NA> s90 <NA> <NA>\n"
    (reference,) = read_references([written(tmp_path, call_stm=STM.replace("hearing", "call"), call_rttm=rttm)]).found
    assert reference.turns == (SpeakerTurn("s90", 6.69, 7.12),)
    assert reference.said is not None
    assert len(reference.said) == 3


def test_a_seglst_needs_no_times(tmp_path: Path) -> None:
    segments = [{"session_id": "x", "speaker": "A", "words": "I did."}]
    (reference,) = read_references([written(tmp_path, x_seglst_json=json.dumps(segments))]).found
    assert reference.said == (Said("I did.", "A"),)
    assert reference.turns is None


def test_a_text_is_the_reference_of_the_recording_with_its_name(tmp_path: Path) -> None:
    (reference,) = read_references([written(tmp_path, jfk_txt="Ask not\nwhat …")]).found
    assert (reference.name, reference.said) == ("jfk", (Said("Ask not what …"),))


def test_the_folder_below_is_the_condition(tmp_path: Path) -> None:
    found = read_references([written(tmp_path, noise__a_txt="Yes.", b_txt="No.")]).found
    assert {reference.name: reference.condition for reference in found} == {"a": "noise", "b": ""}


def test_a_line_without_words_is_a_recording_in_which_nobody_speaks(tmp_path: Path) -> None:
    (reference,) = read_references([written(tmp_path, a_stm="silence 1 A 0 30\n")]).found
    assert reference.said == ()


def test_stretches_that_are_not_to_be_scored_are_known(tmp_path: Path) -> None:
    text = STM + "call 1 x 10 20 IGNORE_TIME_SEGMENT_IN_SCORING\ncall 1 inter_segment_gap 8 9\n"
    call = read_references([written(tmp_path, a_stm=text)]).found[0]
    assert call.not_scored == ((10, 20),)
    assert call.said is not None
    assert len(call.said) == 2


STM_NEEDS = "recording, channel, speaker, start, end and words are needed."
SEGLST_NEEDS = "session_id, speaker, start_time, end_time and words are needed."


@pytest.mark.parametrize(
    ("name", "data", "line"),
    [
        ("a_stm", "call 1 Diane 6.68\n", f"a.stm line 1 is not STM: {STM_NEEDS}"),
        ("a_stm", "call 1 Diane six 7 Hello\n", "a.stm line 1: times must be seconds."),
        ("a_stm", "call 1 Diane 9 7.5 Hello\n", "a.stm line 1 ends at 7.5 s, before it starts at 9 s."),
        ("a_stm", "call 1 Diane -1 7.5 Hello\n", "a.stm line 1: times must be seconds from the recording's start."),
        ("a_stm", "call 1 Diane nan inf Hello\n", "a.stm line 1: times must be seconds from the recording's start."),
        ("a_stm", "", "a.stm holds no reference; it is empty."),
        ("a_txt", "  \n", "a.txt holds no words; for a recording without speech write an STM with no words."),
        ("a_txt", b"line\ncaf\xe9", "a.txt is not UTF-8 (line 2); save it as UTF-8."),
        ("a_txt", b"a\x00b", "a.txt is not text."),
        ("a_rttm", "SPEAKER call 1\n", "a.rttm line 1 is not RTTM: SPEAKER, recording, channel, "
         "start and seconds are needed."),
        ("a_json", "{", "a.json line 1 is not JSON."),
        ("a_json", "{}", "a.json is not SegLST: a list of segments is needed."),
        ("a_json", '[{"words": "a"}]', "a.json segment 1 does not say its session_id, which is the recording."),
        ("a_json", '[{"session_id": "x"}]', f"a.json segment 1 is not SegLST: {SEGLST_NEEDS}"),
        ("a_json", '[{"session_id": "x", "words": "a", "start_time": 1}]', "a.json segment 1: times must be seconds."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_a_line(tmp_path: Path, name: str, data: str | bytes, line: str) -> None:
    written(tmp_path, good__b_txt="Yes.", **{name: data})
    assert problems(tmp_path) == [line]
    assert [reference.name for reference in read_references([tmp_path]).found] == ["b"]


def test_other_encodings_that_say_so_are_read(tmp_path: Path) -> None:
    written(tmp_path, a_txt="café".encode("utf-8-sig"), b_txt="café".encode("utf-16"))
    assert [reference.said for reference in read_references([tmp_path]).found] == [(Said("café"),)] * 2


def test_one_speaker_over_herself_is_a_note(tmp_path: Path) -> None:
    read = read_references([written(tmp_path, a_stm="x 1 A 0 5 One\nx 1 B 1 2 Two\nx 1 A 4 6 Three\n")])
    assert len(read.found) == 1
    assert read.notes == [
        f"{tmp_path}/a.stm lines 1 and 3: one speaker says two things at 4 s; tcpWER and DER are unsure there."
    ]


def test_two_files_with_words_of_one_recording_are_one_too_many(tmp_path: Path) -> None:
    read = read_references([written(tmp_path, x_txt="Yes.", a_stm="x 1 A 0 1 Yes.\n")])
    assert not read.found
    assert "x.txt" in read.problems[0]
    assert "a.stm" in read.problems[0]


def test_a_path_that_is_not_there_and_a_file_that_is_no_reference_stop_the_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no file or folder"):
        read_references([tmp_path / "nowhere"])
    (tmp_path / "a.docx").write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"is not a reference: its name must end in"):
        read_references([tmp_path / "a.docx"])
