"""The same bytes under other names, and one name for other bytes: everybody finds what he gave under his own name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from caseprep_pipelines_tests.conftest import caseprep, environment


@pytest.fixture(scope="module")
def summaries(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]], list[dict[str, Any]]]:
    """The folder of results, and what two calls said: one for `monday.wav`, and one for two copies of it under other
    names and another `monday.wav`."""
    folder = tmp_path_factory.mktemp("names")
    monday, other = folder / "monday.wav", folder / "other"
    other.mkdir()
    soundfile.write(monday, np.zeros(16_000, np.int16), 16_000)
    for name in ("smith.call.wav", "exhibit 4.wav"):
        (other / name).write_bytes(monday.read_bytes())
    soundfile.write(other / "monday.wav", np.zeros(32_000, np.int16), 16_000)
    said = []
    for given in ([monday], [other / "smith.call.wav", other / "exhibit 4.wav", other / "monday.wav"]):
        finished = caseprep(["transcribe", *given, "--out", folder / "out", "--json"], environment(folder))
        assert finished.returncode == 0, finished.stderr
        assert json.loads((folder / "out" / "summary.json").read_text())["recordings"] == json.loads(finished.stdout)
        said.append(json.loads(finished.stdout))
    return folder / "out", *said


def test_the_folder_bears_the_name_that_was_given_now(summaries: tuple[Path, Any, Any]) -> None:
    out, (first,), (smith, exhibit, _) = summaries
    assert first["recording"] == smith["recording"] == exhibit["recording"]
    key = first["recording"]
    assert [entry["folder"] for entry in (first, smith, exhibit)] == [
        f"unfiled/monday--{key}",
        f"unfiled/smith_call--{key}",
        f"unfiled/exhibit_4--{key}",
    ]
    texts = [(out / entry["folder"] / "transcript.txt").read_bytes() for entry in (first, smith, exhibit)]
    assert len(set(texts)) == 1


def test_the_summary_names_both(summaries: tuple[Path, Any, Any]) -> None:
    _, (first,), (smith, exhibit, _) = summaries
    assert [Path(entry["input"]).name for entry in (first, smith, exhibit)] == [
        "monday.wav",
        "smith.call.wav",
        "exhibit 4.wav",
    ]
    assert {entry["first_seen_as"] for entry in (first, smith, exhibit)} == {"monday.wav"}


def test_it_is_found_by_each_of_its_names(summaries: tuple[Path, Any, Any]) -> None:
    out, (first,), _ = summaries
    for name in ("exhibit 4.wav", "smith.call"):
        found = caseprep(["status", name, "--json"], environment(out.parent))
        assert [row["recording"] for row in json.loads(found.stdout)] == [first["recording"]], found.stderr


def test_what_is_exported_by_a_name_lies_under_that_name(summaries: tuple[Path, Any, Any]) -> None:
    out, (first,), _ = summaries
    again = out.parent / "again"
    finished = caseprep(["export", "exhibit 4", "--format", "txt", "--out", again], environment(out.parent))
    assert finished.returncode == 0, finished.stderr
    assert (again / "unfiled" / f"exhibit_4--{first['recording']}" / "transcript.txt").is_file()


def test_other_bytes_under_a_known_name_are_another_recording(summaries: tuple[Path, Any, Any]) -> None:
    out, (first,), (*_, other) = summaries
    assert other["recording"] != first["recording"]
    assert other["folder"] == f"unfiled/monday--{other['recording']}"
    assert other["first_seen_as"] == "monday.wav"
    assert (out / first["folder"]).is_dir()
