"""Which models `make dev` takes: what is uploaded there is real."""

import os
from pathlib import Path

import pytest

from caseprep_pipelines import dev
from caseprep_pipelines_tests.models.made import make_diarization, make_whisper


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CASEPREP_MODELS_DIRECTORY", str(tmp_path))
    monkeypatch.setattr("caseprep_pipelines.models.directories._default_hub_cache", lambda: None)
    # what is chosen is undone with the rest
    for variable in ("CASEPREP_MODEL", "CASEPREP_DIARIZATION"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    return tmp_path


def test_the_starter_models_where_nothing_else_is_configured(models: Path) -> None:
    make_whisper(models / "starter" / "whisper")
    make_diarization(models / "starter" / "diarization")
    assert dev._choose_models() == "Words by starter, speakers by starter"


def test_a_model_that_is_here_by_its_usual_name_comes_first(models: Path) -> None:
    make_whisper(models / "starter" / "whisper")
    make_diarization(models / "starter" / "diarization")
    make_whisper(models / "large-v3-turbo")
    assert dev._choose_models() == "Words by large-v3-turbo, speakers by starter"


def test_what_is_configured_is_taken_and_nothing_in_its_place(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_whisper(models / "starter" / "whisper")
    make_diarization(models / "starter" / "diarization")
    monkeypatch.setenv("CASEPREP_MODEL", "small")
    assert dev._choose_models().startswith("small not on this machine")


def test_without_any_the_demo_models_are_named_and_not_taken() -> None:
    said = dev._choose_models()
    assert "caseprep models fetch starter" in said
    assert "CASEPREP_MODEL=demo" in said
    assert "CASEPREP_MODEL" not in os.environ
