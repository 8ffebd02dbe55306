"""Whatever people hand in: each file ends with a clear word, its neighbours go on, originals stay as they were."""

import hashlib
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from caseprep_pipelines.demo import demo_recordings
from caseprep_pipelines_tests.conftest import caseprep, environment

PHONE = next(demo.path for demo in demo_recordings() if demo.path.suffix == ".wav")
VIDEO = next(demo.path for demo in demo_recordings() if demo.path.suffix == ".mp4" and demo.status == "done")
HOSTILE_NAMES = [
    "two words.wav",
    'it\'s "quoted" & <marked> $HOME `id`.wav',
    "Zeugin Müller – \u202e 証人.wav",
    "--out.wav",
    "a..%2f..%2fetc.wav",
    "x" * 240 + ".wav",
    "line\nbreak.wav",
]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Ran:
    out: Path
    inputs: Path
    before: dict[str, str]
    code: int
    stderr: str
    summary: dict[str, dict[str, Any]]
    storage: Path


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("bad")
    inputs = folder / "inputs"
    inputs.mkdir()
    speech, rate = soundfile.read(PHONE, dtype="float32")
    speech = speech[: 6 * rate]
    (inputs / "empty.mp3").write_bytes(b"")
    (inputs / "text.mp3").write_text("Dear counsel, please find enclosed.\n" * 50)
    (inputs / "truncated.mp4").write_bytes(VIDEO.read_bytes()[: VIDEO.stat().st_size // 2])
    promising = folder / "promising.wav"
    soundfile.write(promising, np.zeros(8000 * 4, np.int16), 8000)
    header = bytearray(promising.read_bytes())
    header[40:44] = (8000 * 2 * 3600 * 5).to_bytes(4, "little")
    (inputs / "promises-five-hours.wav").write_bytes(header)
    soundfile.write(inputs / "one-sample.wav", speech[:1], rate)
    soundfile.write(inputs / "384-kilohertz.wav", np.repeat(speech, 384_000 // rate), 384_000)
    soundfile.write(inputs / "8-bit.wav", speech, rate, subtype="PCM_U8")
    soundfile.write(inputs / "24-bit.wav", speech * 0.5, rate, subtype="PCM_24")
    soundfile.write(inputs / "float.wav", speech * 0.25, rate, subtype="FLOAT")
    soundfile.write(inputs / "8-channels.wav", np.tile(speech[:, None], (1, 8)), rate)
    soundfile.write(inputs / "silent.flac", np.zeros(16_000 * 60, np.int16), 16_000)
    for number, name in enumerate(HOSTILE_NAMES):
        soundfile.write(folder / "one.wav", speech[number * 100 :], rate)
        (folder / "one.wav").rename(inputs / name)
    (inputs / "same").mkdir()
    for copy in ("first.wav", "second.wav"):
        soundfile.write(inputs / "same" / copy, speech[5000:], rate)
    before = {str(path.relative_to(inputs)): digest(path) for path in inputs.rglob("*") if path.is_file()}
    own = environment(folder)
    finished = caseprep(["transcribe", inputs, "--out", folder / "out", "--json"], own)
    summary = {str(Path(e["input"]).relative_to(inputs)): e for e in json.loads(finished.stdout or "[]")}
    return Ran(folder / "out", inputs, before, finished.returncode, finished.stderr, summary, folder / "storage")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("empty.mp3", "empty"),
        ("text.mp3", "not-media"),
        ("truncated.mp4", "truncated"),
        ("promises-five-hours.wav", "truncated"),
    ],
)
def test_what_cannot_be_used_is_rejected_by_name_with_a_remedy(ran: Ran, name: str, reason: str) -> None:
    assert (ran.summary[name]["status"], ran.summary[name]["reason"]) == ("rejected", reason)
    assert ran.summary[name]["remedy"]


@pytest.mark.parametrize("name", ["384-kilohertz.wav", "8-bit.wav", "24-bit.wav", "float.wav", "8-channels.wav"])
def test_odd_formats_are_transcribed(ran: Ran, name: str) -> None:
    assert ran.summary[name]["status"] == "done"
    assert ran.summary[name]["words"] > 3


def test_a_silent_recording_is_done_and_has_no_words(ran: Ran) -> None:
    assert ran.summary["silent.flac"]["status"] == "done"
    assert ran.summary["silent.flac"]["words"] == 0
    assert (ran.out / ran.summary["silent.flac"]["folder"] / "transcript.srt").exists()


def test_one_sample_ends_in_one_of_the_two_ways(ran: Ran) -> None:
    entry = ran.summary["one-sample.wav"]
    assert entry["status"] in ("done", "rejected")
    assert entry["status"] == "done" or entry["reason"] == "no-audio"


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names_do_no_harm(ran: Ran, name: str) -> None:
    entry = ran.summary[name]
    assert entry["status"] == "done"
    folder = (ran.out / entry["folder"]).resolve()
    assert folder.is_relative_to(ran.out.resolve())
    assert folder.is_dir()


def test_the_same_file_twice_is_one_recording(ran: Ran) -> None:
    first, second = ran.summary["same/first.wav"], ran.summary["same/second.wav"]
    assert first["recording"] == second["recording"]
    assert first["status"] == second["status"] == "done"


def test_the_exit_code_says_that_not_all_went_well_and_nothing_is_a_traceback(ran: Ran) -> None:
    assert ran.code == 1
    assert "Traceback" not in ran.stderr


def test_originals_are_untouched_and_kept(ran: Ran) -> None:
    after = {str(p.relative_to(ran.inputs)): digest(p) for p in ran.inputs.rglob("*") if p.is_file()}
    assert after == ran.before
    kept = {digest(path) for path in (ran.storage / "originals").rglob("*") if path.is_file()}
    assert kept == set(ran.before.values())


def test_names_stay_out_of_storage_and_keys(ran: Ran) -> None:
    stems = {Path(name).stem for name in ran.before}
    for path in ran.storage.rglob("*"):
        assert path.stem not in stems or path.stem in ("original",), path
    assert all("kilohertz" not in entry["recording"] for entry in ran.summary.values())


def usual(folder: Path) -> list[str | Path]:
    return ["transcribe", PHONE, "--out", folder / "out"]


@pytest.mark.parametrize(
    ("settings", "arguments", "says"),
    [
        ({"CASEPREP_MODEL": "large-v3-turbo"}, [], "caseprep models fetch"),
        ({"CASEPREP_DIARIZATION": "/nowhere"}, [], "/nowhere"),
        ({"CASEPREP_DATABASE_URL": "nonsense://x:hunter2@y/z"}, [], "CASEPREP_DATABASE_URL"),
        ({"CASEPREP_BEAM_SIZE": "many"}, [], "CASEPREP_BEAM_SIZE"),
        ({"CASEPREP_STORAGE": "ftp://somewhere"}, [], "CASEPREP_STORAGE"),
        ({}, ["--matter", "Doe v. Roe"], "matter"),
        ({}, ["--format", "docm"], "docm"),
        ({}, ["--speakers", "some"], "--speakers"),
        ({}, ["no-such-file.wav"], "no-such-file.wav"),
        ({}, ["--language", "es"], "does not know the language 'es'; it knows only 'en'; name another model"),
        ({"CASEPREP_LANGUAGE": "English"}, [], "does not know the language 'English'; write 'en'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    tmp_path: Path, settings: dict[str, str], arguments: list[str], says: str
) -> None:
    finished = caseprep([*usual(tmp_path), *arguments], environment(tmp_path, **settings))
    assert finished.returncode == 2, finished.stderr
    assert says in finished.stderr
    assert "Traceback" not in finished.stderr
    assert "hunter2" not in finished.stderr
    assert len(finished.stderr.strip().splitlines()) == 1


def test_a_matter_in_a_language_that_the_model_does_not_know_is_told_before_any_work(tmp_path: Path) -> None:
    matter = tmp_path / "storage" / "incoming" / "2024-cv-1"
    matter.mkdir(parents=True)
    (matter / "matter.toml").write_text('languages = ["en", "th"]')
    finished = caseprep([*usual(tmp_path), "--matter", "2024-cv-1"], environment(tmp_path))
    assert finished.returncode == 2
    assert "matter.toml of 2024-cv-1: the model" in finished.stderr
    assert "does not know the language 'th'; it knows only 'en'" in finished.stderr
    assert len(finished.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out" / "summary.json").exists()


def test_an_output_folder_that_cannot_be_written_is_told_before_any_work(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(stat.S_IRUSR | stat.S_IXUSR)
    # root may write anywhere but there
    out = locked / "out" if os.geteuid() else Path("/proc/out")
    finished = caseprep(["transcribe", PHONE, "--out", out], environment(tmp_path))
    assert finished.returncode == 2
    assert "--out" in finished.stderr
    assert not (tmp_path / "storage").exists()


def test_an_output_folder_that_is_a_file_is_told_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    finished = caseprep(["transcribe", PHONE, "--out", tmp_path / "taken"], environment(tmp_path))
    assert finished.returncode == 2
    assert "--out" in finished.stderr
    assert not (tmp_path / "storage").exists()
