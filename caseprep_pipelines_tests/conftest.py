"""What every test stands on: no settings from outside, and the demo run once for all who look at it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from caseprep_pipelines.models.directories import STARTER_MODELS
from caseprep_pipelines.speech.engines import usable_cores

pytest_plugins = ["caseprep_pipelines_tests.postgres_server", "caseprep_pipelines_tests.s3_server"]

HERE = Path(__file__).parent
COMMAND = Path(sys.executable).parent / "caseprep"


#: The files that take minutes: begun last, one of them would run alone while every other core has nothing to do.
LONGEST = (
    "end_to_end/test_faults_kills.py",
    "cluster/test_runs.py",
    "deploy/test_images.py",
    "end_to_end/",
    "speech/test_real_",
)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: some tests wait for servers, pods and browsers for most of their time."""
    return usable_cores() + 1


def pytest_configure() -> None:
    """Children inherit what is ignored. Begun by a shell that ignores SIGTERM, two tests waited for ever for processes
    that they had ended."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(HERE).as_posix()
        return next((at for at, start in enumerate(LONGEST) if name.startswith(start)), len(LONGEST))

    items.sort(key=place)


@pytest.fixture(autouse=True)
def no_outside_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("CASEPREP_", "DAGSTER_")) or name in ("HF_TOKEN", "HUGGINGFACE_ACCESS_TOKEN"):
            monkeypatch.delenv(name)


def starter_models() -> Path:
    """A models directory that holds the starter models, real ones; the test that asks is skipped where there is none.

    `make test` fetches them and sets the variable, in CI always.
    """
    found = Path(os.environ.get("STARTER_MODELS_DIRECTORY", "nowhere"))
    if not all((found / name).is_dir() for name in STARTER_MODELS):
        pytest.skip("the starter models are not at hand (STARTER_MODELS_DIRECTORY)")
    return found


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """An environment in which `caseprep` keeps everything under `folder` and uses the demo models."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("CASEPREP_", "DAGSTER_", "HF_", "HUGGINGFACE_"))}
    own = {
        "CASEPREP_STORAGE": str(folder / "storage"),
        "CASEPREP_DAGSTER_HOME": str(folder / "dagster"),
        "CASEPREP_MODELS_DIRECTORY": str(folder / "models"),
        "CASEPREP_MODEL": "demo",
        "CASEPREP_DIARIZATION": "demo",
        "CASEPREP_LANGUAGE": "en",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_CACHE": str(folder / "no-hub"),
        **settings,
    }
    return {**kept, **own}


def caseprep(
    arguments: Sequence[str | Path], environment: dict[str, str], prefix: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """The real command in a process of its own."""
    return subprocess.run(
        [*prefix, str(COMMAND), *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=540
    )


@dataclass(frozen=True)
class DemoRun:
    """One run of `caseprep demo`, with the network blocked, that nobody may change."""

    out: Path
    summary: list[dict[str, Any]]
    exit_code: int
    stderr: str
    network_attempts: Path

    def environment(self) -> dict[str, str]:
        """For commands that look at what the demo did."""
        state = self.out / ".caseprep"
        return environment(state, CASEPREP_STORAGE=str(state / "storage"))

    def entry(self, name: str) -> dict[str, Any]:
        return next(entry for entry in self.summary if Path(entry["input"]).stem == name)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    folder = tmp_path_factory.mktemp("demo")
    attempts = folder / "attempts.txt"
    own = environment(folder / "unused", NETWORK_ATTEMPTS=str(attempts), PYTHONPATH=str(HERE / "no_network"))
    finished = caseprep(["demo", "--out", folder / "out", "--json"], own, without_network())
    return DemoRun(folder / "out", json.loads(finished.stdout or "[]"), finished.returncode, finished.stderr, attempts)


def without_network() -> list[str]:
    """A command prefix that leaves a process no network at all, where the system lets us."""
    command = ["unshare", "--map-root-user", "--net"]
    if shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True).returncode == 0:
        return command
    return []
