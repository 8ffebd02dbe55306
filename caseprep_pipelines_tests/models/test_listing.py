from pathlib import Path

import pytest

from caseprep_pipelines.models.directories import resolve_whisper
from caseprep_pipelines.models.listing import ModelRow, list_models
from caseprep_pipelines.models.pins import checked
from caseprep_pipelines_tests.models.made import make_diarization, make_whisper


def listed(models: Path, cache: Path) -> dict[str, ModelRow]:
    return {row.name: row for row in list_models(models, cache) if row.name != "demo"}


def test_an_empty_machine_has_only_what_ships(tmp_path: Path) -> None:
    assert listed(tmp_path / "models", tmp_path / "cache") == {}


def test_models_are_listed_from_wherever_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models, cache = tmp_path / "models", tmp_path / "cache"
    make_whisper(models / "small")
    make_diarization(models / "pyannote" / "speaker-diarization-community-1")
    (models / ".fetching" / "base-0123").mkdir(parents=True)
    make_whisper(models / ".fetching" / "base-0123")
    make_whisper(cache / "models--Systran--faster-whisper-tiny" / "snapshots" / "c0ffee")
    (cache / "models--Systran--faster-whisper-tiny" / "refs").mkdir()
    (cache / "models--Systran--faster-whisper-tiny" / "refs" / "main").write_text("c0ffee")
    own = make_whisper(tmp_path / "own")
    checked(resolve_whisper("small", models), models)
    checked(resolve_whisper(str(own), models), models)
    rows = listed(models, cache)
    assert sorted((row.name, row.kind) for row in rows.values()) == [
        (str(own), "whisper"),
        ("Systran/faster-whisper-tiny", "whisper"),
        ("pyannote/speaker-diarization-community-1", "diarization"),
        ("small", "whisper"),
    ]
    assert rows["small"].intact is True
    assert rows["small"].size == sum(file.stat().st_size for file in (models / "small").iterdir())
    assert rows["small"].digest == resolve_whisper("small", models).identity.digest[:12]
    assert rows["Systran/faster-whisper-tiny"].intact is None
    (models / "small" / "model.bin").write_bytes(b"")
    assert listed(models, cache)["small"].intact is False
