import os
import subprocess
import sys
from pathlib import Path

import pytest

from caseprep_pipelines.errors import ConfigurationError, Fault
from caseprep_pipelines.models.digests import directory_digest
from caseprep_pipelines.models.directories import resolve_diarization, resolve_whisper
from caseprep_pipelines.models.fetch import fetch
from caseprep_pipelines.models.pins import checked, find_pin, pin, verify
from caseprep_pipelines_tests.models.hub_server import Hub, hub
from caseprep_pipelines_tests.models.made import contents, make_diarization, make_whisper
from caseprep_pipelines_tests.s3_server import Break, S3Server

__all__ = ["hub"]

TURBO = "mobiuslabsgmbh/faster-whisper-large-v3-turbo"
COMMUNITY = "pyannote/speaker-diarization-community-1"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def left_behind(models: Path) -> list[str]:
    """What a fetch left of its work, but for locks."""
    return sorted(path.name for path in (models / ".fetching").iterdir() if path.suffix != ".lock")


# --- from a directory


def test_a_directory_is_taken_in_pinned_and_used_by_its_name(tmp_path: Path, models: Path) -> None:
    own = make_whisper(tmp_path / "our-model")
    fetched = fetch(str(own), None, models)
    assert fetched.path == models / "our-model"
    assert contents(fetched.path) == contents(own)
    assert fetched.identity.digest == directory_digest(own)
    assert verify(fetched.path, models) == []
    assert resolve_whisper("our-model", models) == fetched
    assert left_behind(models) == []


def test_a_model_store_in_a_directory_gives_models_by_name(tmp_path: Path, models: Path) -> None:
    make_diarization(tmp_path / "store" / COMMUNITY)
    fetch(COMMUNITY, str(tmp_path / "store"), models)
    assert resolve_diarization(COMMUNITY, models).path == models / COMMUNITY
    with pytest.raises(ConfigurationError, match="no model small in"):
        fetch("small", str(tmp_path / "store"), models)


def test_a_model_that_is_there_already_is_not_copied_again(tmp_path: Path, models: Path) -> None:
    make_whisper(tmp_path / "small")
    fetch("small", str(tmp_path), models)
    before = (models / "small" / "model.bin").stat().st_ino
    fetch("small", str(tmp_path), models)
    assert (models / "small" / "model.bin").stat().st_ino == before


def test_a_newer_model_takes_the_older_ones_place(tmp_path: Path, models: Path) -> None:
    own = make_whisper(tmp_path / "small", b"old", note="had a marking")
    first = fetch("small", str(tmp_path), models)
    make_whisper(own, b"new")
    (own / "caseprep.json").unlink()
    second = fetch("small", str(tmp_path), models)
    assert second.identity.digest == directory_digest(own) != first.identity.digest
    assert contents(second.path) == contents(own)
    assert left_behind(models) == []


def test_a_model_that_was_damaged_since_is_put_right(tmp_path: Path, models: Path) -> None:
    own = make_whisper(tmp_path / "small")
    model = fetch("small", str(tmp_path), models)
    (model.path / "model.bin").write_bytes(b"damaged")
    with pytest.raises(ConfigurationError, match=r"model\.bin .* `caseprep models fetch small`"):
        checked(model, models)
    fetch("small", str(tmp_path), models)
    assert checked(model, models).identity.digest == directory_digest(own)


def test_taking_in_a_changed_directory_lets_it_be_used_again(tmp_path: Path, models: Path) -> None:
    own = make_whisper(tmp_path / "own")
    checked(resolve_whisper(str(own), models), models)
    make_whisper(own, b"trained further")
    with pytest.raises(ConfigurationError):
        checked(resolve_whisper(str(own), models), models)
    fetch(str(own), None, models)
    checked(resolve_whisper(str(own), models), models)


def test_a_store_whose_files_are_not_as_it_pinned_them_is_refused(tmp_path: Path, models: Path) -> None:
    make_whisper(tmp_path / "origin" / "small")
    store = tmp_path / "store"
    fetch("small", str(tmp_path / "origin"), store)
    fetch("small", str(store), models)
    make_whisper(store / "small", b"exchanged on the way")
    with pytest.raises(ConfigurationError, match=r"model\.bin is not the file that was pinned"):
        fetch("small", str(store), tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere" / "small").exists()
    assert left_behind(tmp_path / "elsewhere") == []


def test_an_expected_digest_is_insisted_on(tmp_path: Path, models: Path) -> None:
    own = make_whisper(tmp_path / "small")
    with pytest.raises(ConfigurationError, match="not the expected"):
        fetch("small", str(tmp_path), models, expected_digest="0" * 64)
    assert not (models / "small").exists()
    fetch("small", str(tmp_path), models, expected_digest=directory_digest(own).upper())
    with pytest.raises(ConfigurationError, match="not the expected"):
        fetch("small", str(tmp_path), models, expected_digest="0" * 64)


def test_an_incomplete_model_never_takes_its_place(tmp_path: Path, models: Path) -> None:
    (make_whisper(tmp_path / "small") / "tokenizer.json").unlink()
    with pytest.raises(ConfigurationError, match=r"tokenizer\.json"):
        fetch("small", str(tmp_path), models)
    assert not (models / "small").exists()


def test_progress_ends_at_the_whole(tmp_path: Path, models: Path) -> None:
    make_diarization(tmp_path / "ours")
    seen: list[tuple[int, int]] = []
    fetch("ours", str(tmp_path), models, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] > 0


def test_too_little_space_is_found_before_anything_is_copied(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_whisper(tmp_path / "small")
    usage = type("usage", (), {"free": 3})
    monkeypatch.setattr("caseprep_pipelines.models.fetch.shutil.disk_usage", lambda _path: usage)
    with pytest.raises(ConfigurationError, match="GB free"):
        fetch("small", str(tmp_path), models)


@pytest.mark.parametrize("name", ["demo", "../small", "a/b/c", "-x", ""])
def test_names_that_cannot_be_fetched_are_refused(name: str, tmp_path: Path, models: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        fetch(name, str(tmp_path), models)
    assert "\n" not in str(caught.value)


def test_a_models_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    make_whisper(tmp_path / "small")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Fault, match=str(tmp_path / "file")):
        fetch("small", str(tmp_path), tmp_path / "file" / "models")


# --- from an S3 model store


def upload(server: S3Server, folder: Path) -> None:
    for name, data in contents(folder).items():
        server.client().put_object(Bucket=server.bucket, Key=f"some/prefix/{name}", Body=data)


def test_a_model_store_in_s3_is_a_models_directory_that_was_uploaded(
    s3: S3Server, tmp_path: Path, models: Path
) -> None:
    make_diarization(tmp_path / "origin" / COMMUNITY)
    store = tmp_path / "store"
    fetch(COMMUNITY, str(tmp_path / "origin"), store)
    upload(s3, store)
    fetched = fetch(COMMUNITY, s3.root, models, endpoint_url=s3.endpoint_url)
    assert contents(fetched.path) == contents(tmp_path / "origin" / COMMUNITY)
    pinned = find_pin(fetched.path, models)
    assert pinned is not None
    assert pinned.source == f"{s3.root}/{COMMUNITY}"
    s3.client().put_object(Bucket=s3.bucket, Key=f"some/prefix/{COMMUNITY}/plda/plda.npz", Body=b"exchanged")
    with pytest.raises(ConfigurationError, match=r"plda"):
        fetch(COMMUNITY, s3.root, tmp_path / "elsewhere", s3_client=s3.client())


def test_a_download_from_s3_goes_on_with_the_files_that_are_missing(
    faulty_s3: S3Server, tmp_path: Path, models: Path
) -> None:
    upload(faulty_s3, make_whisper(tmp_path / "origin" / "small").parent)
    assert faulty_s3.proxy is not None
    refusal = Break("403 AccessDenied", when=lambda path: "tokenizer.json" in path)
    faulty_s3.proxy.breaks.append(refusal)
    with pytest.raises(ConfigurationError, match="refuses reading"):
        fetch("small", faulty_s3.root, models, s3_client=faulty_s3.client())
    assert not (models / "small").exists()
    faulty_s3.proxy.requests.clear()
    fetch("small", faulty_s3.root, models, s3_client=faulty_s3.client())
    read = [path.rpartition("/")[2].partition("?")[0] for how, path, _ in faulty_s3.proxy.requests if how == "GET"]
    assert sorted(name for name in read if "list-type" not in name)[-2:] == ["tokenizer.json", "vocabulary.json"]
    assert "model.bin" not in read
    assert left_behind(models) == []


def test_a_store_without_the_model_says_so(s3: S3Server, models: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"no model small in {s3.root}"):
        fetch("small", s3.root, models, s3_client=s3.client())


# --- from the hub


def test_a_short_name_is_fetched_from_its_repository(hub: Hub, tmp_path: Path, models: Path) -> None:
    commit = hub.add(TURBO, make_whisper(tmp_path / "x")).commit
    fetched = fetch("large-v3-turbo", None, models)
    assert fetched.path == models / "large-v3-turbo"
    assert {**contents(tmp_path / "x"), "README.md": b"about"} == contents(fetched.path)
    pinned = find_pin(fetched.path, models)
    assert pinned is not None
    assert pinned.source == f"hub {TURBO}@{commit}"
    assert checked(fetched, models) == fetched


def test_nothing_is_asked_for_twice_and_nothing_but_the_model(hub: Hub, tmp_path: Path, models: Path) -> None:
    hub.add(TURBO, make_whisper(tmp_path / "x"))
    hub.repositories[TURBO].files["model.safetensors"] = b"for another engine"
    fetch("large-v3-turbo", "hub", models)
    assert hub.downloads() == sorted([*contents(tmp_path / "x"), "README.md"])
    hub.requests.clear()
    fetch("large-v3-turbo", "hub", models)
    assert hub.requests == []


def test_a_new_version_on_the_hub_is_fetched(hub: Hub, tmp_path: Path, models: Path) -> None:
    hub.add(TURBO, make_whisper(tmp_path / "x"))
    first = fetch("large-v3-turbo", "hub", models)
    hub.add(TURBO, make_whisper(tmp_path / "x", b"better"))
    assert fetch("large-v3-turbo", "hub", models).identity.digest != first.identity.digest


def test_a_gated_pipeline_says_what_to_do_and_then_comes_with_a_token(hub: Hub, tmp_path: Path, models: Path) -> None:
    repository = hub.add(COMMUNITY, make_diarization(tmp_path / "x"), gated=True)
    for token in (None, "hf_known"):
        with pytest.raises(ConfigurationError) as caught:
            fetch(COMMUNITY, None, models, token=token)
        assert f"accept its conditions on {hub.url}/{COMMUNITY}" in str(caught.value)
        assert "HF_TOKEN" in str(caught.value)
        assert "\n" not in str(caught.value)
    repository.readers.add("hf_known")
    fetch(COMMUNITY, None, models, token="hf_known")
    assert resolve_diarization(COMMUNITY, models).path == models / COMMUNITY


@pytest.mark.parametrize("token", [None, "hf_known", "hf_wrong"])
def test_an_unknown_model_or_a_wrong_token_is_one_line_without_the_token(
    token: str | None, hub: Hub, models: Path
) -> None:
    with pytest.raises(ConfigurationError, match="HF_TOKEN") as caught:
        fetch("somebody/something", None, models, token=token)
    assert "\n" not in str(caught.value)
    assert "hf_" not in str(caught.value)


def test_a_name_that_no_hub_has_lists_those_that_are_known(hub: Hub, models: Path) -> None:
    with pytest.raises(ConfigurationError, match="large-v3-turbo"):
        fetch("large-v9", None, models)
    assert hub.requests == []


def test_an_older_pipeline_is_fetched_with_the_parts_that_it_names(hub: Hub, tmp_path: Path, models: Path) -> None:
    older = make_diarization(
        tmp_path / "older",
        "AgglomerativeClustering",
        segmentation="pyannote/segmentation-3.0",
        embedding="pyannote/wespeaker-voxceleb-resnet34-LM",
        plda=None,
    )
    parts = {}
    for part, name in (
        ("segmentation", "pyannote/segmentation-3.0"),
        ("embedding", "pyannote/wespeaker-voxceleb-resnet34-LM"),
    ):
        parts[part] = (older / part / "pytorch_model.bin").read_bytes()
        hub.add(name, older / part)
        (older / part / "pytorch_model.bin").unlink()
    hub.add("pyannote/speaker-diarization-3.1", older)
    model = fetch("pyannote/speaker-diarization-3.1", None, models)
    assert {part: (model.path / part / "pytorch_model.bin").read_bytes() for part in parts} == parts
    assert resolve_diarization("pyannote/speaker-diarization-3.1", models) == model


def test_an_interrupted_download_goes_on_where_it_stopped(hub: Hub, tmp_path: Path, models: Path) -> None:
    hub.add(COMMUNITY, make_diarization(tmp_path / "x"))
    hub.refused["embedding/pytorch_model.bin"] = (409, "")
    with pytest.raises(Fault, match="run the command again"):
        fetch(COMMUNITY, None, models)
    assert not (models / COMMUNITY).exists()
    hub.refused.clear()
    first = set(hub.downloads())
    hub.requests.clear()
    fetch(COMMUNITY, None, models)
    assert "embedding/pytorch_model.bin" in hub.downloads()
    assert not first & set(hub.downloads())


def test_bytes_that_are_not_what_the_hub_described_are_refused(hub: Hub, tmp_path: Path, models: Path) -> None:
    hub.add(COMMUNITY, make_diarization(tmp_path / "x"))
    hub.corrupted.add("segmentation/pytorch_model.bin")
    with pytest.raises(Fault, match=r"segmentation/pytorch_model\.bin did not arrive whole"):
        fetch(COMMUNITY, None, models)
    hub.corrupted.clear()
    fetch(COMMUNITY, None, models)


def test_a_repository_for_another_engine_is_refused(hub: Hub, tmp_path: Path, models: Path) -> None:
    (make_whisper(tmp_path / "x") / "model.bin").unlink()
    hub.add("openai/whisper-tiny", tmp_path / "x")
    with pytest.raises(ConfigurationError, match=r"neither a CTranslate2 model\.bin nor a pyannote config\.yaml"):
        fetch("openai/whisper-tiny", None, models)


def test_a_hub_that_does_not_answer_is_a_fault(hub: Hub, models: Path) -> None:
    hub.shutdown()
    hub.server_close()
    with pytest.raises(Fault, match=hub.url):
        fetch(COMMUNITY, None, models)


def test_a_full_disk_during_a_download_is_not_taken_for_the_hubs_failure(
    hub: Hub, tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    hub.add(COMMUNITY, make_diarization(tmp_path / "x"))
    monkeypatch.setattr("huggingface_hub.snapshot_download", full)
    with pytest.raises(Fault, match="disk is full"):
        fetch(COMMUNITY, None, models)


def test_the_hub_is_reached_only_while_fetching(hub: Hub, tmp_path: Path, models: Path) -> None:
    from huggingface_hub import constants, model_info
    from huggingface_hub.errors import OfflineModeIsEnabled

    hub.add(TURBO, make_whisper(tmp_path / "x"))
    fetch("large-v3-turbo", None, models)
    assert constants.HF_HUB_OFFLINE
    with pytest.raises(OfflineModeIsEnabled):
        model_info(TURBO)


def test_progress_on_the_hub_counts_bytes(hub: Hub, tmp_path: Path, models: Path) -> None:
    hub.add(COMMUNITY, make_diarization(tmp_path / "x"))
    seen: list[tuple[int, int]] = []
    fetch(COMMUNITY, None, models, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == sum(len(data) for data in contents(models / COMMUNITY).values())


def test_the_usual_variables_choose_another_hub(hub: Hub, tmp_path: Path, models: Path) -> None:
    hub.add(COMMUNITY, make_diarization(tmp_path / "x"))
    code = (
        "from pathlib import Path; from caseprep_pipelines.models.fetch import fetch\n"
        f"fetch({COMMUNITY!r}, None, Path({str(models)!r}))"
    )
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert verify(models / COMMUNITY, models) == []
    assert not [path for _, path in hub.requests if "resolve" not in path]


def test_pins_of_other_models_stay_when_one_is_added(tmp_path: Path, models: Path) -> None:
    for name in ("one", "two"):
        make_whisper(tmp_path / name)
        fetch(name, str(tmp_path), models)
    pin(models / "three", models, "test", {})
    assert verify(models / "one", models) == verify(models / "two", models) == []
