"""The demo with the starter models: real Whisper, real speaker models, a real telephone call.

Skipped where they are not at hand."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jiwer
import meeteval
import pytest

from caseprep_pipelines.demo import spoken_recordings
from caseprep_pipelines_tests.conftest import DemoRun, caseprep, environment, starter_models, without_network

CALL = "telephone-call"
SPOKEN = [
    "deposition-of-margaret-doyle",
    "call-from-the-jail",
    "courtroom-four-microphones",
    "interview-by-telephone",
    "traffic-stop",
]
#: faster-whisper with the same model makes 0.3 % of these words otherwise, of a mix of all channels.
WORD_ERROR_RATE = 0.05
INVENTED_RATE = 0.01
SPEAKER_WORD_ERROR_RATE = 0.1
#: Two strangers on a bad line, and a small model: about a word in five.
CALL_WORD_ERROR_RATE = 0.35

_NUMBERS = {"2": "two", "3": "three", "4": "four", "10": "ten"}


def plain(text: str) -> str:
    return " ".join(_NUMBERS.get(word, word) for word in re.sub(r"[^a-z0-9' ]", " ", text.lower()).split())


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    models = starter_models()
    folder = tmp_path_factory.mktemp("spoken")
    own = environment(folder / "unused", CASEPREP_MODELS_DIRECTORY=str(models))
    finished = caseprep(["demo", "--out", folder / "out", "--json"], own, without_network())
    return DemoRun(
        folder / "out", json.loads(finished.stdout or "[]"), finished.returncode, finished.stderr, folder / "attempts"
    )


def heard(demo: DemoRun, name: str, *, sure: bool = False) -> list[dict[str, str]]:
    """What each speaker said, in order of time; if `sure`, without the words that are marked as doubtful."""

    def is_sure(word: dict[str, Any]) -> bool:
        return "low-probability" not in word["flags"]

    transcript = json.loads((demo.out / demo.entry(name)["folder"] / "transcript.json").read_text())
    # a doubtful word in a pause does not make the sentence after it begin there
    begins = lambda said: next((word["start"] for word in said["words"] if is_sure(word)), said["start"])  # noqa: E731
    return [
        {
            "speaker": said["speaker"],
            "words": " ".join(word["text"] for word in said["words"] if is_sure(word) or not sure),
            "start_time": said["start"],
            "end_time": said["end"],
        }
        for said in sorted(transcript["utterances"], key=begins)
    ]


def spoken(name: str, folder: Path) -> list[dict[str, str]]:
    reference = next(each.reference for each in spoken_recordings(folder) if each.path.stem == name)
    assert reference is not None
    if reference.suffix == ".json":
        return json.loads(reference.read_text())  # type: ignore[no-any-return]
    lines = (line.split(maxsplit=5) for line in reference.read_text().splitlines())
    return [{"speaker": line[2], "words": line[5]} for line in lines]


def words(parts: list[dict[str, str]]) -> str:
    return plain(" ".join(part["words"] for part in parts))


def test_everything_ends_as_it_should(demo: DemoRun) -> None:
    assert demo.exit_code == 0, demo.stderr
    assert all(entry["as_expected"] for entry in demo.summary)
    assert sorted(entry["status"] for entry in demo.summary) == ["done"] * 6 + ["rejected"] * 2
    assert not any(entry.get("demo_models") for entry in demo.summary)


@pytest.mark.parametrize("name", SPOKEN)
def test_what_was_said_is_what_is_written(demo: DemoRun, name: str, tmp_path: Path) -> None:
    said = words(spoken(name, tmp_path))
    everything = jiwer.process_words(said, words(heard(demo, name)))
    assert everything.substitutions + everything.deletions <= WORD_ERROR_RATE * len(said.split())
    # on four microphones a word that nobody said is heard now and then: it must be marked
    unmarked = jiwer.process_words(said, words(heard(demo, name, sure=True)))
    assert unmarked.insertions <= INVENTED_RATE * len(said.split())


@pytest.mark.parametrize("name", SPOKEN)
def test_who_said_it_is_who_said_it(demo: DemoRun, name: str, tmp_path: Path) -> None:
    def session(parts: list[dict[str, str]]) -> meeteval.io.SegLST:
        return meeteval.io.SegLST(
            [{**part, "session_id": name, "words": plain(part["words"])} for part in parts if plain(part["words"])]
        )

    error = meeteval.wer.cpwer(session(spoken(name, tmp_path)), session(heard(demo, name, sure=True)))[name]
    assert error.error_rate <= SPEAKER_WORD_ERROR_RATE


def test_the_telephone_call_is_two_people_and_mostly_right(demo: DemoRun, tmp_path: Path) -> None:
    assert demo.entry(CALL)["speakers"] == 2
    assert jiwer.wer(words(spoken(CALL, tmp_path)), words(heard(demo, CALL))) <= CALL_WORD_ERROR_RATE
    text = (demo.out / demo.entry(CALL)["folder"] / "transcript.txt").read_text()
    assert "Diane in New Jersey" in text
    assert "demo models" not in text


def test_make_demo_fetches_and_says_when_it_cannot() -> None:
    """What a fresh clone runs, as make would run it."""
    shown = subprocess.run(["make", "--dry-run", "demo"], capture_output=True, text=True, check=True).stdout
    assert shown.index("caseprep models fetch starter") < shown.index("caseprep demo --out out/demo")
    assert "small demo models" in shown
