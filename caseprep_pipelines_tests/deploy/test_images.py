"""What the images will contain is known to work: the Dockerfile's steps, performed without Docker.

`slim` is installed for real, from the lock with hashes, by another user where this is root, and then run as user 10001
on a read-only root that holds the system's libraries and `tail`, and no other program: in a mount namespace where the
system lets us make one, else with everything made read-only by its modes. The speech images' resolution is checked
against the index; they are installed by `benchmarks images`, because they are 8 GB.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from caseprep_pipelines.demo import demo_recordings
from caseprep_pipelines_tests.deploy.image_steps import (
    HOME,
    SLIM_LIMIT,
    TMP,
    Image,
    build,
    isolating,
    python_bytes,
    run_steps,
    size,
    uv,
)
from caseprep_pipelines_tests.deploy.rendering import ROOT

DOCKER = ROOT / "deploy/docker"


@pytest.fixture(scope="module")
def slim(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return build("slim", tmp_path_factory.mktemp("slim"))


def test_the_speech_images_are_made_by_the_same_steps() -> None:
    (slim,), (speech,) = run_steps("build-slim"), run_steps("build-speech")
    assert speech == slim.replace("requirements.py slim", "requirements.py speech")


def test_the_contents_are_under_900_mb(slim: Image) -> None:
    installed, base = size(slim.prefix), python_bytes()
    assert installed + base < SLIM_LIMIT, f"{installed / 1e6:.0f} MB beside Python's {base / 1e6:.0f} MB"
    assert not list(slim.prefix.glob("lib/python3*/site-packages/torch*"))


def test_what_it_holds_is_listed(slim: Image) -> None:
    contents = json.loads((slim.prefix / "sbom.cdx.json").read_text())
    listed = {component["name"].lower().replace("_", "-") for component in contents["components"]}
    assert set((DOCKER / "slim.txt").read_text().split()) - listed <= not_on_linux("slim")


def not_on_linux(image: str) -> set[str]:
    """Packages of the lock that are for other systems."""
    text = subprocess.run(
        [sys.executable, DOCKER / "requirements.py", image], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return {line.split("==")[0] for line in text.splitlines() if "==" in line and "linux" not in line and ";" in line}


def test_the_command_answers(slim: Image) -> None:
    done = slim.run(["caseprep", "--help"])
    assert done.returncode == 0, done.stderr
    assert "transcribe" in done.stdout


def test_nothing_can_be_written_but_tmp_and_dagster_home(slim: Image) -> None:
    places = {str(slim.prefix): False, TMP: True}
    if isolating() is not None:
        places |= {"/": False, "/usr": False, HOME: True}
    for folder, can in places.items():
        done = slim.run(["python", "-c", f"open({folder + '/probe'!r}, 'w')"])
        assert (done.returncode == 0) == can, (folder, done.stderr)


def test_what_the_pods_run_is_there(slim: Image) -> None:
    for command in ("dagster", "dagster-daemon", "dagster-webserver", "caseprep"):
        assert (slim.prefix / "bin" / command).exists()
    libraries = "pyarrow.parquet, pandas, scipy.signal, av, soundfile, matplotlib.pyplot, psycopg, psycopg2, kubernetes"
    libraries += ", dagster_k8s, dagster_aws.s3, dagster_postgres, numpy, PIL, caseprep_pipelines.migrate"
    done = slim.run(["python", "-c", f"import {libraries}; import boto3; boto3.client('sqs', region_name='x')"])
    assert done.returncode == 0, done.stderr


def test_the_code_location_is_served(slim: Image, tmp_path: Path) -> None:
    """As in a cluster: on a read-only root, by another user, without a model at hand."""
    served = slim.serve(tmp_path / "log")
    served.stop()


def test_stages_run_and_one_that_needs_speech_says_so(slim: Image) -> None:
    """Through Dagster, which shows a step's output with `tail`, with child processes; then the first GPU stage."""
    call = next(demo.path for demo in demo_recordings() if demo.path.name == "roadside-camera.mp4")
    command = ["caseprep", "transcribe", str(slim.installed(call)), "--out", f"{TMP}/out", "--model", "demo"]
    done = slim.run([*command, "--diarization", "demo", "--json"])
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (entry,) = json.loads(done.stdout)
    assert "speech packages are not installed" in entry["reason"]


def test_a_database_of_another_kind_is_one_line(slim: Image) -> None:
    done = slim.run(
        ["python", "-m", "caseprep_pipelines.migrate"], CASEPREP_DATABASE_URL="mysql://caseprep@db/caseprep"
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "CASEPREP_DATABASE_URL" in done.stderr


def test_every_library_that_it_loads_is_in_it_or_in_the_base(slim: Image) -> None:
    """A library that only this machine has would be missed in the image."""
    if shutil.which("readelf") is None:
        pytest.skip("readelf, which comes with the C compiler, is not here")
    files = [path for path in slim.prefix.rglob("*.so*") if path.is_file() and not path.is_symlink()]
    own = {path.name for path in files}
    dynamic = subprocess.run(["readelf", "-d", "-W", *files], capture_output=True, text=True).stdout
    needed = set(re.findall(r"\(NEEDED\).*\[(.+?)\]", dynamic)) - own
    # of Debian's python:3.11-slim: libc6, libgcc-s1, libstdc++6, zlib1g, libuuid1, libexpat1 and libssl3
    base = r"(ld-linux-.*|lib(c|m|dl|rt|pthread|util|mvec|gcc_s|stdc\+\+|z|uuid|expat|ssl|crypto|resolv)\.so\.[0-9]+)"
    assert {name for name in needed if not re.fullmatch(base, name)} == set()


@pytest.mark.parametrize(("image", "other"), [("slim", "speech")])
def test_the_lists_of_packages_are_those_of_the_lock(image: str, other: str) -> None:
    lock = (ROOT / "requirements.lock").read_text()
    entries = set(re.findall(r"^([a-z0-9._-]+)==", lock, re.MULTILINE))
    small, large = (set((DOCKER / f"{name}.txt").read_text().split()) for name in (image, other))
    assert small < large <= entries
    assert {"torch", "faster-whisper", "pyannote-audio"} <= large - small
    assert not any(name.startswith(("nvidia-", "torch", "pytest", "moto")) for name in small)


def test_a_package_that_the_lock_lacks_is_named(tmp_path: Path) -> None:
    sys.path.insert(0, str(DOCKER))
    try:
        from requirements import chosen  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(DOCKER))
    with pytest.raises(ValueError, match="nosuchthing"):
        chosen("a==1 \\\n    --hash=sha256:0\n", {"a", "nosuchthing"})
    assert chosen("a==1 \\\n    --hash=sha256:0\nb==2\n", {"a"}) == "a==1 \\\n    --hash=sha256:0\n"


def test_the_speech_images_resolve(tmp_path: Path) -> None:
    """Without installing: everything in the list is there for this Python on Linux, with the lock's hashes."""
    lock = subprocess.run(
        [sys.executable, DOCKER / "requirements.py", "speech"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    (tmp_path / "speech.lock").write_text(lock)
    subprocess.run([uv(), "venv", "--quiet", "--python", sys.executable, tmp_path / "empty"], check=True)
    done = subprocess.run(
        [uv(), "pip", "install", "--dry-run", "--require-hashes", "--no-deps", "--python", tmp_path / "empty",
         "--requirement", tmp_path / "speech.lock"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert " + torch==2.10" in done.stderr


def test_the_models_image_holds_models_that_are_as_pinned(slim: Image, tmp_path: Path) -> None:
    """The step of `fetch-models`, from a model store that is a directory."""
    from caseprep_pipelines_tests.models.made import make_whisper

    store = tmp_path / "store"
    make_whisper(store / "tiny")
    environment = {**os.environ, "CASEPREP_MODELS_DIRECTORY": str(tmp_path / "models")}
    caseprep = [slim.prefix / "bin/python", "-m", "caseprep_pipelines"]
    fetched = subprocess.run(
        [*caseprep, "models", "fetch", "tiny", "--from", store], env=environment, capture_output=True, text=True
    )
    assert fetched.returncode == 0, fetched.stderr
    verified = subprocess.run([*caseprep, "models", "verify"], env=environment, capture_output=True, text=True)
    assert verified.returncode == 0
    assert (tmp_path / "models/pins.json").exists()


def test_the_dockerfile_takes_the_tools_away() -> None:
    """`bare.py` runs in the image only; here, that it keeps what is needed and nothing that is a shell."""
    tree = ast.parse((DOCKER / "bare.py").read_text())
    (kept,) = (ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "KEPT")  # type: ignore[attr-defined]
    assert kept == {"tini", "tail"}
