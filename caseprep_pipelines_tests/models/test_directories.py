import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.models.digests import directory_digest
from caseprep_pipelines.models.directories import resolve_diarization, resolve_whisper
from caseprep_pipelines_tests.models.made import make_diarization, make_whisper, model_bin


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    """A hub cache with nothing in it."""
    return tmp_path / "no-cache"


def test_a_directory_is_taken_as_it_is(tmp_path: Path) -> None:
    model = resolve_whisper(str(make_whisper(tmp_path / "my-model")), tmp_path / "models")
    assert model.path == tmp_path / "my-model"
    assert (model.identity.name, model.identity.demo, model.identity.clip_seconds) == ("my-model", False, 30.0)
    assert model.identity.digest == directory_digest(model.path)


def test_a_name_is_looked_for_in_the_models_directory_before_the_working_directory(
    tmp_path: Path, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_whisper(tmp_path / "work" / "small")
    monkeypatch.chdir(tmp_path / "work")
    assert resolve_whisper("small", tmp_path / "models", nowhere).path == Path("small")
    make_whisper(tmp_path / "models" / "small")
    assert resolve_whisper("small", tmp_path / "models", nowhere).path == tmp_path / "models" / "small"


@pytest.mark.parametrize(
    ("fetched_as", "asked_for"),
    [
        ("large-v3-turbo", "mobiuslabsgmbh/faster-whisper-large-v3-turbo"),
        ("mobiuslabsgmbh/faster-whisper-large-v3-turbo", "large-v3-turbo"),
    ],
)
def test_a_short_name_and_its_repository_mean_one_model(
    fetched_as: str, asked_for: str, tmp_path: Path, nowhere: Path
) -> None:
    make_whisper(tmp_path / fetched_as)
    assert resolve_whisper(asked_for, tmp_path, nowhere).path == tmp_path / fetched_as


def test_a_model_in_the_hubs_cache_is_found_at_its_main_revision(tmp_path: Path) -> None:
    cached = tmp_path / "hub" / "models--pyannote--speaker-diarization-community-1"
    make_diarization(cached / "snapshots" / "c0ffee")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("c0ffee\n")
    found = resolve_diarization("pyannote/speaker-diarization-community-1", tmp_path / "models", tmp_path / "hub")
    assert found.path == cached / "snapshots" / "c0ffee"
    assert found.identity.name == "pyannote/speaker-diarization-community-1"


def test_a_model_that_is_not_there_is_one_line_that_says_what_to_do(tmp_path: Path, nowhere: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve_whisper("large-v3-turbo", tmp_path, nowhere)
    line = str(caught.value)
    assert "caseprep models fetch large-v3-turbo" in line
    assert "--model" in line
    assert "CASEPREP_MODEL" in line
    assert "\n" not in line
    with pytest.raises(ConfigurationError, match="--diarization or CASEPREP_DIARIZATION"):
        resolve_diarization("pyannote/speaker-diarization-community-1", tmp_path, nowhere)


@pytest.mark.parametrize("name", ["/no/such/model", "./no-such-model", "../..//../etc", "a/b/c", "", "na\nme", "-rf"])
def test_nonsense_names_are_one_line_too(name: str, tmp_path: Path, nowhere: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve_whisper(name, tmp_path / "models", nowhere)
    assert "\n" not in str(caught.value)


def test_the_marking_of_a_demo_model_is_read(tmp_path: Path) -> None:
    folder = make_whisper(tmp_path / "x", kind="whisper", name="caseprep-demo-whisper", demo=True, clip_seconds=10)
    identity = resolve_whisper(str(folder), tmp_path / "models").identity
    assert (identity.name, identity.demo, identity.clip_seconds) == ("caseprep-demo-whisper", True, 10.0)


def test_without_a_marking_the_clip_length_is_the_preprocessors(tmp_path: Path) -> None:
    folder = make_whisper(tmp_path / "x")
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": 80, "chunk_length": 15}))
    assert resolve_whisper(str(folder), tmp_path / "models").identity.clip_seconds == 15


@pytest.mark.parametrize("seconds", [31, -1, "ten"])
def test_an_impossible_clip_length_is_refused(seconds: object, tmp_path: Path) -> None:
    folder = make_whisper(tmp_path / "x", clip_seconds=seconds)
    with pytest.raises(ConfigurationError, match="clips"):
        resolve_whisper(str(folder), tmp_path / "models")


@pytest.mark.parametrize("file", ["model.bin", "config.json", "vocabulary.json", "tokenizer.json"])
def test_each_missing_file_of_a_whisper_model_is_named(file: str, tmp_path: Path) -> None:
    (make_whisper(tmp_path / "x") / file).unlink()
    with pytest.raises(ConfigurationError, match=f"has no {file}"):
        resolve_whisper(str(tmp_path / "x"), tmp_path / "models")


def test_a_missing_preprocessing_is_guessed_only_where_the_guess_is_right(tmp_path: Path) -> None:
    folder = make_whisper(tmp_path / "x")
    (folder / "preprocessor_config.json").unlink()
    assert resolve_whisper(str(folder), tmp_path / "models").identity.clip_seconds == 30
    (folder / "model.bin").write_bytes(model_bin(b"weights", bands=128))
    with pytest.raises(ConfigurationError, match=r"has no preprocessor_config\.json"):
        resolve_whisper(str(folder), tmp_path / "models")


def test_the_preprocessing_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = make_whisper(tmp_path / "x")
    (folder / "model.bin").write_bytes(model_bin(b"weights", bands=128))
    with pytest.raises(ConfigurationError, match=r"preprocessor_config\.json in .* is another model's"):
        resolve_whisper(str(folder), tmp_path / "models")


def test_the_older_text_vocabulary_will_do(tmp_path: Path) -> None:
    folder = make_whisper(tmp_path / "x")
    (folder / "vocabulary.json").rename(folder / "vocabulary.txt")
    resolve_whisper(str(folder), tmp_path / "models")


@pytest.mark.parametrize("file", ["config.json", "vocabulary.json", "tokenizer.json", "preprocessor_config.json"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b'{"cut": "sho', b"7"])
def test_each_damaged_file_of_a_whisper_model_is_named(file: str, content: bytes, tmp_path: Path) -> None:
    (make_whisper(tmp_path / "x") / file).write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"{file} in .* is damaged"):
        resolve_whisper(str(tmp_path / "x"), tmp_path / "models")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!doctype html><p>Sign in to continue",
        model_bin(b"weights")[:-1],
        model_bin(b"weights")[:40],
        model_bin(b"weights") + b"\0",
        model_bin(b"weights", name="TransformerSpec"),
        model_bin(b"weights", version=3),
    ],
)
def test_weights_that_are_cut_short_or_something_else_are_refused(content: bytes, tmp_path: Path) -> None:
    (make_whisper(tmp_path / "x") / "model.bin").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"model\.bin in .* is damaged"):
        resolve_whisper(str(tmp_path / "x"), tmp_path / "models")


def test_a_conversion_that_cannot_time_words_is_refused(tmp_path: Path) -> None:
    (make_whisper(tmp_path / "x") / "config.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="alignment_heads"):
        resolve_whisper(str(tmp_path / "x"), tmp_path / "models")


def test_both_layouts_of_a_pipeline_are_taken(tmp_path: Path) -> None:
    make_diarization(tmp_path / "community")
    make_diarization(tmp_path / "older", clustering="AgglomerativeClustering", plda=None)
    for name in ("community", "older"):
        assert resolve_diarization(str(tmp_path / name), tmp_path / "models").identity.name == name


@pytest.mark.parametrize(
    "file",
    [
        "config.yaml",
        "segmentation/pytorch_model.bin",
        "embedding/pytorch_model.bin",
        "plda/plda.npz",
        "plda/xvec_transform.npz",
    ],
)
@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-30])])
def test_each_missing_or_damaged_part_of_a_pipeline_is_named(
    file: str, harm: Callable[[Path], object], tmp_path: Path
) -> None:
    harm(make_diarization(tmp_path / "x") / file)
    with pytest.raises(ConfigurationError, match=file.rpartition("/")[2]):
        resolve_diarization(str(tmp_path / "x"), tmp_path / "models")


@pytest.mark.parametrize("part", ["segmentation", "embedding", "plda"])
@pytest.mark.parametrize(
    "named",
    [
        "pyannote/segmentation-3.0",
        "segmentation/pytorch_model.bin",
        "$model/../elsewhere",
        "$model//etc",
        "$model/embedding@main",
        {"checkpoint": "pyannote/speaker-diarization-community-1"},
        7,
    ],
)
def test_a_pipeline_that_would_ask_a_hub_or_another_directory_is_refused(
    part: str, named: object, tmp_path: Path
) -> None:
    make_diarization(tmp_path / "x", **{part: named})
    with pytest.raises(ConfigurationError, match=f"does not take its {part} from the directory itself"):
        resolve_diarization(str(tmp_path / "x"), tmp_path / "models")


def test_a_pipeline_that_needs_a_plda_and_names_none_is_refused(tmp_path: Path) -> None:
    make_diarization(tmp_path / "x", plda=None)
    with pytest.raises(ConfigurationError, match="plda"):
        resolve_diarization(str(tmp_path / "x"), tmp_path / "models")


@pytest.mark.parametrize("text", ["", "[]", "pipeline: 7", "pipeline: {name: os.system, params: {}}", "a: [", "\0"])
def test_a_configuration_of_something_else_is_refused(text: str, tmp_path: Path) -> None:
    (make_diarization(tmp_path / "x") / "config.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"config\.yaml"):
        resolve_diarization(str(tmp_path / "x"), tmp_path / "models")


def test_a_model_for_the_other_purpose_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no config\.yaml"):
        resolve_diarization(str(make_whisper(tmp_path / "w")), tmp_path / "models")
    with pytest.raises(ConfigurationError, match=r"no model\.bin"):
        resolve_whisper(str(make_diarization(tmp_path / "d")), tmp_path / "models")


def test_looking_for_a_model_loads_no_engine_and_no_http_library(tmp_path: Path) -> None:
    make_diarization(tmp_path / "x")
    code = (
        "import sys; from pathlib import Path; from caseprep_pipelines.models.directories import resolve_diarization\n"
        f"resolve_diarization('x', Path({str(tmp_path)!r}))\n"
        "print(*{'torch', 'ctranslate2', 'pyannote', 'faster_whisper', 'dagster', 'boto3', 'httpx2', 'httpx'}"
        " & sys.modules.keys())"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
