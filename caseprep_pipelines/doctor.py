"""Checks of the machine and its configuration, one line each: it is all right, or what to do.

Each check stands alone: one that fails, whatever way, does not stop the others. Nothing here mends anything, and no
line holds a secret. What the parts themselves require is known to the parts; this only asks them.
"""

import ctypes
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from caseprep_pipelines.errors import ConfigurationError, Fault
from caseprep_pipelines.settings import Settings

if TYPE_CHECKING:
    from caseprep_pipelines.models.identity import ModelDirectory

A = TypeVar("A")

_PYTHONS = ((3, 11), (3, 13))
_SPEECH = ("faster-whisper", "torch", "pyannote.audio")
_LOW_SPACE = 20 * 10**9


@dataclass(frozen=True)
class Finding:
    name: str
    ok: bool | None
    """None where there is something to know and nothing wrong."""
    line: str


def examine(settings: Settings) -> Iterator[Finding]:
    """The findings, each as soon as it is known."""
    for name, check in _CHECKS:
        yield _isolated(name, check, settings)


def examine_cluster(settings: Settings) -> Iterator[Finding]:
    """The same of a deployment on Kubernetes; without a cluster to ask, one finding that says so."""
    from caseprep_pipelines.cluster import examination

    try:
        deployment = examination.connect(settings)
    except ConfigurationError as error:
        yield Finding("Cluster", False, str(error))
        return
    for name, check in examination.checks():
        yield _isolated(name, check, deployment)


def _isolated(name: str, check: Callable[[A], tuple[bool | None, str]], about: A) -> Finding:
    try:
        ok, line = check(about)
    except (ConfigurationError, Fault) as error:
        return Finding(name, False, str(error))
    except Exception as error:
        # Other errors' messages may hold what must not be shown, such as a URL with its password.
        return Finding(name, False, f"could not be checked ({type(error).__name__})")
    return Finding(name, ok, line)


def _python(_settings: Settings) -> tuple[bool | None, str]:
    found = f"Python {sys.version.split()[0]}"
    if _PYTHONS[0] <= sys.version_info[:2] <= _PYTHONS[1]:
        return True, found
    return False, f"{found} is not supported: use Python 3.11, 3.12 or 3.13"


def _speech_packages(_settings: Settings) -> tuple[bool | None, str]:
    found, missing = [], []
    for package in _SPEECH:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    if missing:
        return False, (
            f"{', '.join(missing)} not installed, so this machine cannot transcribe: "
            "pip install 'caseprep-pipelines[speech]'"
        )
    return True, ", ".join(found)


def _gpu(settings: Settings) -> tuple[bool | None, str]:
    if settings.device == "cpu":
        return None, "not looked for: CASEPREP_DEVICE is cpu"
    if find_spec("torch") is None or find_spec("ctranslate2") is None:
        return None, "not looked for: the speech packages are not installed"
    import ctranslate2
    import torch

    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for_whisper = ctranslate2.get_cuda_device_count()
    if devices and for_whisper:
        names = ", ".join(sorted({torch.cuda.get_device_name(index) for index in range(devices)}))
        memory = torch.cuda.get_device_properties(0).total_memory
        return True, f"{devices} × {names}, {memory / 2**30:.0f} GiB"
    if devices or for_whisper:
        blind = "CTranslate2" if devices else "PyTorch"
        return False, f"a GPU is there but {blind} cannot use it: install the versions in requirements.lock"
    if shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists():
        return False, (
            f"an NVIDIA driver is there but PyTorch {torch.__version__} sees no GPU: check that nvidia-smi lists one "
            "and that the driver is recent enough for CUDA 12.8"
        )
    if settings.device == "cuda":
        return False, "CASEPREP_DEVICE is cuda and there is no GPU: set it to auto, or run where there is one"
    return None, "no GPU: speech stages run on the CPU, many times slower"


def _cuda_libraries(settings: Settings) -> tuple[bool | None, str]:
    if settings.device == "cpu" or find_spec("torch") is None:
        return None, "not needed on a CPU"
    import torch

    if not torch.cuda.is_available():
        return None, "not needed on a CPU"
    # Importing torch has loaded the copy that it brings, which is the one that CTranslate2 then finds by its name.
    for library in ("libcublas.so.12", "libcublasLt.so.12"):
        try:
            ctypes.CDLL(library)
        except OSError:
            return False, (
                f"{library} cannot be loaded, without which faster-whisper fails on a GPU: install torch 2.10 "
                "(a CUDA 12 build, as in requirements.lock) or nvidia-cublas-cu12"
            )
    return True, f"CUDA {torch.version.cuda}, libcublas.so.12 loads"


def _transcription_model(settings: Settings) -> tuple[bool | None, str]:
    from caseprep_pipelines.models.directories import resolve_whisper

    return _model(resolve_whisper(settings.model, settings.models_directory), settings)


def _diarization_model(settings: Settings) -> tuple[bool | None, str]:
    from caseprep_pipelines.models.directories import resolve_diarization

    return _model(resolve_diarization(settings.diarization, settings.models_directory), settings)


def _model(model: "ModelDirectory", settings: Settings) -> tuple[bool | None, str]:
    from caseprep_pipelines.models.pins import refusal, verify

    identity = model.identity
    wrong = verify(model.path, settings.models_directory)
    if wrong:
        return False, refusal(model, settings.models_directory, wrong)
    note = " (a demo model, for the demo's recordings only)" if identity.demo else ""
    if wrong is None:
        return None, f"{identity.name} is complete{note}; its digests are pinned when it is first used"
    return True, f"{identity.name}{note}, as pinned, digest {identity.digest[:12]}"


def _storage(settings: Settings) -> tuple[bool | None, str]:
    from caseprep_pipelines.resources.pipeline import open_objects

    store = open_objects(settings)
    name, data = f"doctor-{secrets.token_hex(8)}", b"caseprep doctor"
    store.write_bytes(name, data)
    try:
        if store.read_bytes(name) != data:
            return False, f"{settings.storage} does not give back what was written to it: check the service"
    finally:
        store.delete(name)
    return True, f"{settings.storage} can be written, read and deleted from"


def _disk_space(settings: Settings) -> tuple[bool | None, str]:
    import tempfile

    folders = [settings.work_directory or Path(tempfile.gettempdir()), settings.models_directory, settings.dagster_home]
    if not settings.remote:
        folders.append(Path(settings.storage).expanduser())
    free: dict[int, tuple[int, Path]] = {}
    for folder in folders:
        existing = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
        free.setdefault(existing.stat().st_dev, (shutil.disk_usage(existing).free, folder))
    least, where = min(free.values(), key=lambda pair: pair[0])
    line = f"{least / 1e9:.0f} GB free at {where}"
    if least < _LOW_SPACE:
        # An hour of one channel takes about 0.1 GB as FLAC.
        return None, f"{line}: enough for small batches only; free some space before an archive is processed"
    return True, line


def _database(settings: Settings) -> tuple[bool | None, str]:
    from sqlalchemy import make_url

    from caseprep_pipelines.catalog.database import open_catalog

    catalog = open_catalog(settings.catalog_url, migrate=settings.migrates)
    catalog.close()
    url = make_url(settings.catalog_url)
    place = url.database if url.get_backend_name() == "sqlite" else f"{url.host or 'local socket'}/{url.database}"
    return True, f"{url.get_backend_name()} at {place}, tables up to date"


def _dagster(settings: Settings) -> tuple[bool | None, str]:
    home = str(settings.dagster_home)
    if "://" in home or home.startswith("s3:"):
        return False, "CASEPREP_DAGSTER_HOME must be a local directory, never S3: Dagster keeps databases there"
    from caseprep_pipelines.embedded import open_instance

    before = os.environ.get("DAGSTER_HOME")
    try:
        with open_instance(settings.dagster_home) as instance:
            runs = instance.get_runs_count()
    finally:
        if before is None:
            os.environ.pop("DAGSTER_HOME", None)
        else:
            os.environ["DAGSTER_HOME"] = before
    return True, f"state in {home}, {runs} runs so far"


def _telemetry(settings: Settings) -> tuple[bool | None, str]:
    loud = []
    # Where nothing is set, loading a pipeline switches it off; what an operator set is left alone.
    if os.environ.get("PYANNOTE_METRICS_ENABLED", "0").lower() in ("1", "true"):
        loud.append("pyannote.audio (set PYANNOTE_METRICS_ENABLED=0)")
    if _dagster_reports(settings.dagster_home):
        loud.append(f"Dagster (write telemetry: {{enabled: false}} into {settings.dagster_home / 'dagster.yaml'})")
    if loud:
        return False, f"may be sent by {' and '.join(loud)}"
    return True, "none is sent"


def _dagster_reports(home: Path) -> bool:
    import yaml

    configuration = home / "dagster.yaml"
    if not configuration.is_file():
        return False  # it is written, with telemetry off, when the directory is first used
    telemetry = (yaml.safe_load(configuration.read_text(encoding="utf-8")) or {}).get("telemetry") or {}
    return telemetry.get("enabled", True) is not False


_CHECKS: tuple[tuple[str, Callable[[Settings], tuple[bool | None, str]]], ...] = (
    ("Python", _python),
    ("Speech packages", _speech_packages),
    ("GPU", _gpu),
    ("CUDA libraries", _cuda_libraries),
    ("Transcription model", _transcription_model),
    ("Diarization model", _diarization_model),
    ("Storage", _storage),
    ("Disk space", _disk_space),
    ("Database", _database),
    ("Dagster", _dagster),
    ("Telemetry", _telemetry),
)
