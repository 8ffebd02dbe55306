"""`caseprep evaluate`, over a folder that `caseprep transcribe --out` might have written."""

import importlib.util
import json
from pathlib import Path

import pandas as pd
import pytest

from caseprep_pipelines import evaluating
from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.renditions.formats import FORMATS, render
from caseprep_pipelines_tests.conftest import caseprep, environment
from caseprep_pipelines_tests.samples import MATTER, PARTITION, SPOKEN, sample_raw, sample_transcript, sample_turns

WORDS = sum(len(text.split()) for *_, text in SPOKEN)


@pytest.fixture
def transcripts(tmp_path: Path) -> Path:
    """One finished recording, `hearing.wav`."""
    out = tmp_path / "transcripts"
    folder = out / MATTER / "hearing--0123456789ab"
    folder.mkdir(parents=True)
    render(sample_transcript(), sample_turns(), sample_raw(), FORMATS, folder, version="v1")
    entry = {"recording": PARTITION, "input": "/somewhere/hearing.wav", "status": "done"}
    (out / "summary.json").write_text(json.dumps({"schema_version": 1, "recordings": [entry]}))
    return out


def references(folder: Path, name: str, leave_out: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        f"{name} 1 {speaker} {start} {start + seconds * len(text.split()):.3f} {text.replace(leave_out, '')}"
        for speaker, start, seconds, text in SPOKEN
    ]
    (folder / f"{Path(name).stem}.stm").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("name", ["hearing", "hearing.wav", "Hearing", PARTITION])
def test_a_recording_may_be_called_by_its_file_or_its_key(tmp_path: Path, transcripts: Path, name: str) -> None:
    asked = ["evaluate", references(tmp_path / "refs", name), "--transcripts", transcripts, "--json"]
    finished = caseprep(asked, environment(tmp_path))
    assert finished.returncode == 0, finished.stderr
    rows = json.loads(finished.stdout)["rows"]
    assert [row["level"] for row in rows] == ["recording", *["speaker"] * 3, "all"]
    assert rows[0]["recording"] == "hearing"
    assert rows[-1]["counts"]["words"] == WORDS
    assert rows[-1]["wer"] == rows[-1]["cpwer"] == rows[-1]["der"] == 0


def test_the_table_shows_speakers_conditions_and_everything_and_files_are_written(
    tmp_path: Path, transcripts: Path
) -> None:
    references(tmp_path / "refs" / "quiet", "hearing", leave_out="compound.")
    (tmp_path / "refs" / "loud").mkdir()
    (tmp_path / "refs" / "loud" / f"{PARTITION}.txt").write_text("Please state your full name.")
    out = tmp_path / "figures"
    finished = caseprep(
        ["evaluate", tmp_path / "refs", "--transcripts", transcripts, "--out", out], environment(tmp_path)
    )
    assert finished.returncode == 0, finished.stderr
    shown = finished.stdout
    assert all(word in shown for word in ("SPEAKER_01", "quiet", "loud", "all", "cpWER", "Invented", "Negations"))
    assert json.loads((out / "evaluation.json").read_text())["rows"]
    frame = pd.read_parquet(out / "evaluation.parquet")
    (quiet,) = frame[frame.condition.eq("quiet") & frame.level.eq("condition")].itertuples()
    assert (quiet.words, quiet.invented) == (WORDS - 1, 1)
    assert quiet.invented_rate == pytest.approx(1 / (WORDS - 1))
    assert (out / "evaluation.png").read_bytes().startswith(b"\x89PNG")


def test_a_hidden_storage_below_the_folder_is_no_second_transcript(tmp_path: Path, transcripts: Path) -> None:
    product = transcripts / ".caseprep" / "storage" / "derived" / "transcript.json"
    product.parent.mkdir(parents=True)
    product.write_bytes(sample_transcript().to_bytes())
    asked = ["evaluate", references(tmp_path / "refs", "hearing"), "--transcripts", transcripts]
    finished = caseprep(asked, environment(tmp_path))
    assert finished.returncode == 0, finished.stderr


def test_references_of_other_recordings_are_named_and_the_rest_is_scored(tmp_path: Path, transcripts: Path) -> None:
    folder = references(tmp_path / "refs", "hearing")
    (folder / "hering.txt").write_text("Nothing.")
    (folder / "broken.stm").write_text("not an stm\n")
    finished = caseprep(["evaluate", folder, "--transcripts", transcripts], environment(tmp_path))
    assert finished.returncode == 1
    assert "hering.txt: no transcript in" in finished.stderr
    assert "the nearest name is 'hearing'" in finished.stderr
    assert "broken.stm line 1 is not STM" in finished.stderr
    assert "hearing" in finished.stdout


def test_where_no_reference_fits_the_command_says_so_and_stops(tmp_path: Path, transcripts: Path) -> None:
    (tmp_path / "other.txt").write_text("Nothing.")
    finished = caseprep(["evaluate", tmp_path / "other.txt", "--transcripts", transcripts], environment(tmp_path))
    assert finished.returncode == 2
    assert len(finished.stderr.splitlines()) == 1
    assert "no transcript" in finished.stderr
    nothing = caseprep(["evaluate", tmp_path / "other.txt"], environment(tmp_path))
    assert nothing.returncode == 2
    assert "no recording is called 'other'; caseprep status lists them all" in nothing.stderr


def test_other_programs_files_are_transcripts_too(tmp_path: Path) -> None:
    folder = references(tmp_path / "refs", "hearing")
    theirs = references(tmp_path / "theirs", "hearing", leave_out="not ")
    finished = caseprep(["evaluate", folder, "--transcripts", theirs, "--json"], environment(tmp_path))
    assert finished.returncode == 0, finished.stderr
    total = json.loads(finished.stdout)["rows"][-1]
    assert total["counts"]["lost"] == 1
    assert total["recall_negations"] == 0
    assert total["lost_unmarked_rate"] is None


def test_what_is_not_installed_is_named_with_the_way_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "meeteval" else known(name, *rest)
    )
    with pytest.raises(ConfigurationError, match=r"evaluating needs meeteval; .*caseprep-pipelines\[evaluate\]"):
        evaluating.evaluate([tmp_path], lambda name: name)
