import sys
from collections import namedtuple
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from caseprep_pipelines import doctor
from caseprep_pipelines.doctor import Finding, examine
from caseprep_pipelines.models.directories import resolve_diarization, resolve_whisper
from caseprep_pipelines.models.pins import checked
from caseprep_pipelines.settings import Settings, read_settings
from caseprep_pipelines_tests.models.made import make_diarization, make_whisper
from caseprep_pipelines_tests.s3_server import S3Server

Usage = namedtuple("Usage", "free")
CUDA = {"is_available": lambda: True, "device_count": lambda: 2, "get_device_name": lambda _index: "NVIDIA H200"}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYANNOTE_METRICS_ENABLED", raising=False)
    monkeypatch.setattr("caseprep_pipelines.doctor.shutil.disk_usage", lambda _path: Usage(10**12))


@pytest.fixture
def overrides(tmp_path: Path) -> dict[str, Any]:
    """Settings with which all is well on any machine."""
    models = tmp_path / "models"
    make_whisper(models / "small")
    make_diarization(models / "pipeline")
    checked(resolve_whisper("small", models), models)
    checked(resolve_diarization("pipeline", models), models)
    return {
        "storage": str(tmp_path / "storage"),
        "dagster_home": tmp_path / "dagster",
        "models_directory": models,
        "model": "small",
        "diarization": "pipeline",
        "device": "cpu",
    }


def findings(settings: Settings) -> dict[str, Finding]:
    found = list(examine(settings))
    assert all("\n" not in finding.line and finding.line for finding in found)
    return {finding.name: finding for finding in found}


def failed(settings: Settings) -> list[str]:
    return [name for name, finding in findings(settings).items() if finding.ok is False]


def test_a_machine_in_order_has_nothing_to_be_done(overrides: dict[str, Any], tmp_path: Path) -> None:
    found = findings(read_settings(**overrides))
    assert list(found) == [
        "Python",
        "Speech packages",
        "GPU",
        "CUDA libraries",
        "Transcription model",
        "Diarization model",
        "Storage",
        "Disk space",
        "Database",
        "Dagster",
        "Telemetry",
    ]
    assert [name for name, finding in found.items() if finding.ok is False] == []
    assert [name for name, finding in found.items() if finding.ok is None] == ["GPU", "CUDA libraries"]
    assert not list((tmp_path / "storage").glob("doctor-*"))


def test_a_missing_model_says_how_to_get_it(overrides: dict[str, Any]) -> None:
    found = findings(read_settings(**overrides | {"model": "medium"}))
    assert found["Transcription model"].ok is False
    assert "caseprep models fetch medium" in found["Transcription model"].line
    assert found["Diarization model"].ok


def test_a_changed_model_names_the_file(overrides: dict[str, Any]) -> None:
    file = overrides["models_directory"] / "small" / "config.json"
    file.write_text(file.read_text() + " ")
    found = findings(read_settings(**overrides))
    assert found["Transcription model"].ok is False
    assert "config.json is not the file that was pinned" in found["Transcription model"].line


def test_a_model_that_was_never_used_is_no_failure(overrides: dict[str, Any], tmp_path: Path) -> None:
    own = make_whisper(tmp_path / "own", demo=True, name="tiny-demo")
    line = findings(read_settings(**overrides | {"model": str(own)}))["Transcription model"]
    assert line.ok is None
    assert "demo model" in line.line


def test_storage_that_cannot_be_written_stops_nothing_else(overrides: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "storage").write_text("a file in the way")
    settings = read_settings(**overrides, database_url=f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    assert failed(settings) == ["Storage"]


def test_s3_is_tried_and_left_as_it_was(s3: S3Server, overrides: dict[str, Any]) -> None:
    found = findings(read_settings(**overrides | {"storage": s3.root, "s3_endpoint_url": s3.endpoint_url}))
    assert found["Storage"].ok, found["Storage"].line
    assert "Contents" not in s3.client().list_objects_v2(Bucket=s3.bucket)


def test_a_bucket_that_is_not_there_is_named(s3: S3Server, overrides: dict[str, Any]) -> None:
    found = findings(read_settings(**overrides | {"storage": "s3://no-such", "s3_endpoint_url": s3.endpoint_url}))
    assert found["Storage"].ok is False
    assert "no-such" in found["Storage"].line


@pytest.mark.parametrize(
    "url", ["postgresql://clerk:hunter2@127.0.0.1:1/catalog", "hunter2", "mysql://clerk:hunter2@host/db"]
)
def test_a_database_that_cannot_be_used_is_said_without_its_password(url: str, overrides: dict[str, Any]) -> None:
    found = findings(read_settings(**overrides, database_url=url))
    assert found["Database"].ok is False
    assert not any("hunter2" in finding.line for finding in found.values())


@pytest.mark.parametrize("home", ["s3://bucket/dagster", "s3:/bucket/dagster"])
def test_dagsters_state_may_not_be_in_s3(home: str, overrides: dict[str, Any]) -> None:
    found = findings(read_settings(**overrides | {"dagster_home": home}))
    assert found["Dagster"].ok is False
    assert "never S3" in found["Dagster"].line


def test_dagsters_state_that_cannot_be_written_says_so(
    overrides: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "as it was")
    (tmp_path / "dagster").write_text("a file in the way")
    found = findings(read_settings(**overrides))
    assert found["Dagster"].ok is False
    assert "CASEPREP_DAGSTER_HOME" in found["Dagster"].line


def test_telemetry_that_somebody_switched_on_is_told(
    overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYANNOTE_METRICS_ENABLED", "true")
    overrides["dagster_home"].mkdir()
    (overrides["dagster_home"] / "dagster.yaml").write_text("telemetry: {enabled: true}\n")
    line = findings(read_settings(**overrides))["Telemetry"]
    assert line.ok is False
    assert "PYANNOTE_METRICS_ENABLED=0" in line.line
    assert "dagster.yaml" in line.line


def test_little_space_is_a_note(overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caseprep_pipelines.doctor.shutil.disk_usage", lambda _path: Usage(3 * 10**9))
    assert findings(read_settings(**overrides))["Disk space"].ok is None


def test_an_unsupported_python_is_named(overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "sys", SimpleNamespace(version="3.14.0 (main)", version_info=(3, 14, 0)))
    assert failed(read_settings(**overrides)) == ["Python"]


def test_an_installation_without_the_speech_packages_says_how_to_get_them(
    overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", missing)
    line = findings(read_settings(**overrides))["Speech packages"]
    assert line.ok is False
    assert "caseprep-pipelines[speech]" in line.line


def test_whatever_goes_wrong_in_one_check_the_others_are_made(
    overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr("caseprep_pipelines.resources.pipeline.open_objects", broken)
    found = findings(read_settings(**overrides))
    assert found["Storage"] == Finding("Storage", False, "could not be checked (RuntimeError)")
    assert found["Database"].ok


def gpu(monkeypatch: pytest.MonkeyPatch, settings: Settings, in_torch: bool, in_ctranslate2: int) -> Finding:
    """What is found where the two engines see these devices."""
    properties = SimpleNamespace(total_memory=140 * 2**30)
    cuda = SimpleNamespace(**CUDA | {"is_available": lambda: in_torch}, get_device_properties=lambda _index: properties)
    torch = SimpleNamespace(__spec__=object(), __version__="2.10.0", cuda=cuda, version=SimpleNamespace(cuda="12.8"))
    ctranslate2 = SimpleNamespace(__spec__=object(), get_cuda_device_count=lambda: in_ctranslate2)
    monkeypatch.setitem(sys.modules, "torch", torch)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "ctranslate2", ctranslate2)  # type: ignore[arg-type]
    monkeypatch.setattr("caseprep_pipelines.doctor.shutil.which", lambda _name: None)
    return next(finding for finding in examine(settings) if finding.name == "GPU")


def test_a_gpu_that_both_engines_see_is_named(overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    found = gpu(monkeypatch, read_settings(**overrides | {"device": "auto"}), True, 2)
    assert found == Finding("GPU", True, "2 × NVIDIA H200, 140 GiB")


@pytest.mark.parametrize(("in_torch", "in_ctranslate2", "blind"), [(True, 0, "CTranslate2"), (False, 2, "PyTorch")])
def test_a_gpu_that_one_engine_cannot_use_is_a_failure(
    in_torch: bool, in_ctranslate2: int, blind: str, overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = gpu(monkeypatch, read_settings(**overrides | {"device": "auto"}), in_torch, in_ctranslate2)
    assert found.ok is False
    assert f"{blind} cannot use it" in found.line


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine has a GPU")
def test_no_gpu_is_a_note_unless_one_was_asked_for(overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu(monkeypatch, read_settings(**overrides | {"device": "auto"}), False, 0).ok is None
    assert gpu(monkeypatch, read_settings(**overrides | {"device": "cuda"}), False, 0).ok is False


def test_cuda_libraries_that_do_not_load_say_which_to_install(
    overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr("caseprep_pipelines.doctor.ctypes.CDLL", absent)
    settings = read_settings(**overrides | {"device": "auto"})
    gpu(monkeypatch, settings, True, 2)
    found = findings(settings)["CUDA libraries"]
    assert found.ok is False
    assert "libcublas.so.12" in found.line
