import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.models import pins
from caseprep_pipelines.models.digests import directory_digest
from caseprep_pipelines.models.directories import resolve_diarization, resolve_whisper
from caseprep_pipelines.models.identity import ModelDirectory
from caseprep_pipelines.models.pins import checked, find_pin, looks_pinned, pin_demo_models, verify
from caseprep_pipelines_tests.models.made import make_diarization, make_whisper


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A models directory, not yet made."""
    return tmp_path / "models"


@pytest.fixture
def model(tmp_path: Path, models: Path) -> ModelDirectory:
    """Somebody's own model directory."""
    return resolve_diarization(str(make_diarization(tmp_path / "own")), models)


def test_the_first_use_of_a_directory_pins_it_and_says_so(
    model: ModelDirectory, models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert checked(model, models) == model
    assert len(caplog.messages) == 1
    assert "first time" in caplog.messages[0]
    assert str(models / "pins.json") in caplog.messages[0]
    caplog.clear()
    assert checked(model, models) == model
    assert caplog.messages == []


def _replace(path: Path) -> None:
    (path / "embedding" / "pytorch_model.bin").write_bytes(b"another pickle")


def _remove(path: Path) -> None:
    (path / "embedding" / "pytorch_model.bin").unlink()


def _add(path: Path) -> None:
    (path / "embedding" / "more.bin").write_bytes(b"one more pickle")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_replace, "embedding/pytorch_model.bin is not the file that was pinned"),
        (_remove, "embedding/pytorch_model.bin is missing"),
        (_add, "embedding/more.bin was not there when the model was pinned"),
    ],
)
def test_a_changed_model_is_refused_and_the_file_named(
    change: Callable[[Path], None], words: str, model: ModelDirectory, models: Path
) -> None:
    checked(model, models)
    change(model.path)
    with pytest.raises(ConfigurationError, match=words) as caught:
        checked(model, models)
    assert f"caseprep models fetch {model.path}" in str(caught.value)
    assert verify(model.path, models) == [words]


def test_the_digest_that_is_used_is_that_of_the_files_just_read(tmp_path: Path, models: Path) -> None:
    own = resolve_whisper(str(make_whisper(tmp_path / "own")), models)
    make_whisper(tmp_path / "own", b"other weights")
    assert checked(own, models).identity.digest == directory_digest(tmp_path / "own") != own.identity.digest


def test_a_pinned_models_digest_is_known_without_reading_it(
    model: ModelDirectory, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked(model, models)
    monkeypatch.setattr("caseprep_pipelines.models.directories.directory_digest", lambda _path: pytest.fail("read"))
    assert resolve_diarization(str(model.path), models) == model


def test_nothing_is_loaded_where_no_pin_can_be_written(model: ModelDirectory, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match="CASEPREP_MODELS_DIRECTORY"):
        checked(model, tmp_path / "file" / "models")


def test_a_models_directory_keeps_its_pins_when_it_moves(tmp_path: Path, models: Path) -> None:
    make_whisper(models / "small")
    before = checked(resolve_whisper("small", models), models)
    moved = models.rename(tmp_path / "elsewhere")
    assert find_pin(moved / "small", moved) is not None
    assert checked(resolve_whisper("small", moved), moved).identity == before.identity


def test_pins_that_cannot_be_understood_are_a_configuration_error(model: ModelDirectory, models: Path) -> None:
    models.mkdir()
    (models / "pins.json").write_text('{"models": {"x"')
    with pytest.raises(ConfigurationError, match=r"pins\.json"):
        checked(model, models)


def test_a_pin_that_is_not_there_is_no_verdict(model: ModelDirectory, models: Path) -> None:
    assert verify(model.path, models) is None
    assert looks_pinned(model.path, models) is None


def test_what_can_be_told_without_reading_is_names_and_sizes(model: ModelDirectory, models: Path) -> None:
    checked(model, models)
    assert looks_pinned(model.path, models) is True
    _add(model.path)
    assert looks_pinned(model.path, models) is False


def test_demo_models_are_loaded_only_with_the_pins_that_ship_with_them(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path / "demo"
    monkeypatch.setattr(pins, "DEMO_MODELS", shipped)
    monkeypatch.setattr("caseprep_pipelines.models.directories.DEMO_MODELS", shipped)
    make_whisper(shipped / "whisper", demo=True)
    make_diarization(shipped / "diarization")
    with pytest.raises(ConfigurationError, match="without digests"):
        checked(resolve_whisper("demo", models), models)
    assert sorted(pin_demo_models(shipped)) == ["diarization", "whisper"]
    assert checked(resolve_whisper("demo", models), models).identity.demo
    _replace(shipped / "diarization")
    with pytest.raises(ConfigurationError, match="install the project again"):
        checked(ModelDirectory(shipped / "diarization", resolve_whisper("demo", models).identity), models)
    assert not models.exists()


@pytest.mark.parametrize("resolve", [resolve_whisper, resolve_diarization])
def test_the_demo_models_that_ship_are_as_pinned(resolve: Callable[[str, Path], ModelDirectory], models: Path) -> None:
    model = resolve("demo", models)
    assert model.identity.demo
    assert verify(model.path, models) == []
