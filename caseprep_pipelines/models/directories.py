"""Finding a model by name or path, and checking that its directory holds all that the engines read.

Whatever an engine does not find in the directory it would ask a model hub for, so what is not complete is refused
here. Nothing here touches the network or loads a model; digests are compared in `pins`.
"""

import json
import re
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.models.digests import directory_digest
from caseprep_pipelines.models.identity import Kind, ModelDirectory, ModelIdentity
from caseprep_pipelines.models.pins import DEMO_MODELS, find_pin

#: Short names and the hub repositories of their CTranslate2 conversions, as faster-whisper has them.
WHISPER_REPOSITORIES = {
    "tiny": "Systran/faster-whisper-tiny",
    "tiny.en": "Systran/faster-whisper-tiny.en",
    "base": "Systran/faster-whisper-base",
    "base.en": "Systran/faster-whisper-base.en",
    "small": "Systran/faster-whisper-small",
    "small.en": "Systran/faster-whisper-small.en",
    "medium": "Systran/faster-whisper-medium",
    "medium.en": "Systran/faster-whisper-medium.en",
    "large-v2": "Systran/faster-whisper-large-v2",
    "large-v3": "Systran/faster-whisper-large-v3",
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "distil-large-v3": "Systran/faster-distil-whisper-large-v3",
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
}
DEMO = "demo"
STARTER = "starter"
#: What `starter` means: the models' names in the models directory. `starter` (the module) knows what they hold.
STARTER_MODELS: dict[str, Kind] = {f"{STARTER}/whisper": "whisper", f"{STARTER}/diarization": "diarization"}
MARK = "caseprep.json"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
_OPTION: dict[Kind, str] = {
    "whisper": "--model or CASEPREP_MODEL",
    "diarization": "--diarization or CASEPREP_DIARIZATION",
}
_LONGEST_CLIP = 30.0
_CTRANSLATE2_VERSION = 6
_DEFAULT_BANDS = 80
_PIPELINES = (
    "pyannote.audio.pipelines.SpeakerDiarization",
    "pyannote.audio.pipelines.speaker_diarization.SpeakerDiarization",
)


def resolve_whisper(name: str, models_directory: Path, hub_cache: Path | None = None) -> ModelDirectory:
    """The CTranslate2 Whisper model that `name` names: `demo`, `starter`, a directory, or a name in the models
    directory or the hub's cache (by default the hub library's own).

    Raises `ConfigurationError` where it is not there, not complete or visibly damaged.
    """
    return _resolve("whisper", name, models_directory, hub_cache)


def resolve_diarization(name: str, models_directory: Path, hub_cache: Path | None = None) -> ModelDirectory:
    """The pyannote.audio pipeline that `name` names, as for `resolve_whisper`.

    Two layouts are known: community-1's (segmentation, embedding and PLDA) and the older agglomerative one, whose
    configuration names no PLDA. pyannote.audio 4 asks the hub for a PLDA even then, so whoever loads that one has
    to hand it some PLDA object.
    """
    return _resolve("diarization", name, models_directory, hub_cache)


def open_model(path: Path, kind: Kind, name: str, models_directory: Path) -> ModelDirectory:
    """The model in a directory, called `name` unless it names itself; raises as `resolve_whisper` does."""
    try:
        mark = _json(path / MARK) if (path / MARK).is_file() else {}
        clip_seconds = _check_whisper(path, mark) if kind == "whisper" else _check_diarization(path)
        pinned = find_pin(path, models_directory)
        identity = ModelIdentity(
            name=str(mark.get("name") or name),
            digest=pinned.digest if pinned else directory_digest(path),
            demo=mark.get("demo") is True,
            clip_seconds=clip_seconds,
        )
    except OSError as error:
        raise ConfigurationError(f"The model in {path} cannot be read: {error.strerror}") from None
    return ModelDirectory(path, identity)


def check_name(name: str) -> str:
    """`name` itself; raises `ConfigurationError` where it cannot name a model: `NAME` or `OWNER/NAME`."""
    if _NAME.fullmatch(name) and ".." not in name:
        return name
    raise ConfigurationError(f"{ascii(name)[:80]} is no model's name: say a name like large-v3-turbo or OWNER/NAME")


def is_path(name: str) -> bool:
    """Whether a model is named by a path that can be nothing else."""
    return name.startswith(("/", "./", "../", "~")) or name.endswith("/") or name in (".", "..")


def hub_snapshots(hub_cache: Path | None = None) -> Iterator[tuple[str, Path]]:
    """The repositories in the hub's cache and the directories of their main revision. Asks nobody."""
    cache = hub_cache or _default_hub_cache()
    for folder in sorted(cache.glob("models--*--*")) if cache is not None else []:
        reference = folder / "refs" / "main"
        if reference.is_file():
            snapshot = folder / "snapshots" / reference.read_text().strip()
            if snapshot.is_dir():
                yield folder.name.removeprefix("models--").replace("--", "/"), snapshot


def read_pipeline(path: Path) -> dict[str, Any]:
    """`config.yaml` of a pipeline directory. Raises `ConfigurationError` where it is not one."""
    import yaml

    try:
        configuration = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))
        if isinstance(configuration["pipeline"]["params"], dict):
            return dict(configuration)
    except (yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError):
        pass
    raise ConfigurationError(f"The config.yaml in {path} is not that of a pyannote.audio pipeline; {_AGAIN}")


_AGAIN = "get the model again with `caseprep models fetch`"


def _resolve(kind: Kind, name: str, models_directory: Path, hub_cache: Path | None) -> ModelDirectory:
    if name == DEMO:
        return open_model(DEMO_MODELS / kind, kind, f"caseprep-demo-{kind}", models_directory)
    if is_path(name):
        path = Path(name).expanduser()
        if not path.is_dir():
            raise ConfigurationError(
                f"There is no model directory {_shown(str(path))}: give another with {_OPTION[kind]}"
            )
        return open_model(path, kind, path.resolve().name, models_directory)
    for path in _candidates(kind, name, models_directory, hub_cache):
        if path.is_dir():
            return open_model(path, kind, name, models_directory)
    shown = _shown(name)
    raise ConfigurationError(
        f"The {'model' if kind == 'whisper' else 'diarization model'} {shown} is not on this machine: fetch it with "
        f"`caseprep models fetch {shown}` (without a name it shows others), or point to a model's directory with "
        f"{_OPTION[kind]}"
    )


def _candidates(kind: Kind, name: str, models_directory: Path, hub_cache: Path | None) -> Iterator[Path]:
    """Where a named model may lie, best first. A folder that happens to be in the working directory comes last."""
    names = [f"{STARTER}/{kind}" if name == STARTER else name]
    if kind == "whisper":
        names += [WHISPER_REPOSITORIES[name]] if name in WHISPER_REPOSITORIES else []
        names += [short for short, repository in WHISPER_REPOSITORIES.items() if repository == name]
    if _NAME.fullmatch(name) and ".." not in name:
        yield from (models_directory / each for each in names)
        cached = dict(hub_snapshots(hub_cache))
        yield from (cached[each] for each in names if each in cached)
    if name:
        yield Path(name)


def _shown(text: str) -> str:
    """What a user typed, on one line."""
    return text if text.isprintable() and text else ascii(text)


def _default_hub_cache() -> Path | None:
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError:  # without the extra `speech` there is nothing that could have filled one
        return None
    return Path(HF_HUB_CACHE)


def _check_whisper(path: Path, mark: dict[str, Any]) -> float:
    """The files of a CTranslate2 Whisper directory; returns the clip length in seconds."""
    vocabulary = "vocabulary.txt" if (path / "vocabulary.txt").is_file() else "vocabulary.json"
    for file, why in (
        ("model.bin", "its weights, as CTranslate2 writes them"),
        ("config.json", "without which words get no times"),
        (vocabulary, "its vocabulary"),
        ("tokenizer.json", "without which a model hub would be asked for another model's"),
    ):
        if not (path / file).is_file():
            raise ConfigurationError(f"The model in {path} has no {file}, {why}; {_AGAIN}")
    if not _json(path / "config.json").get("alignment_heads"):
        raise ConfigurationError(
            f"The config.json in {path} names no alignment_heads, without which words get no times; "
            "take a conversion of the model that has them"
        )
    _json(path / "tokenizer.json")
    if vocabulary.endswith(".json"):
        _json(path / vocabulary, list)
    bands = _bands_of_whole_whisper(path / "model.bin")
    if bands is None:
        raise ConfigurationError(f"The model.bin in {path} is damaged or not a CTranslate2 Whisper model; {_AGAIN}")
    declared = mark.get("clip_seconds") or _preprocessing(path, bands).get("chunk_length") or _LONGEST_CLIP
    if not isinstance(declared, int | float) or not 0 < declared <= _LONGEST_CLIP:
        raise ConfigurationError(f"The model in {path} declares clips of {declared!r} s; they last at most 30 s")
    return float(declared)


def _preprocessing(path: Path, bands: int) -> dict[str, Any]:
    """`preprocessor_config.json`, which must fit the weights.

    The hub's conversions up to large-v2 have none, and faster-whisper then takes 80 mel bands, which is right for
    them and wrong for any later model.
    """
    file = path / "preprocessor_config.json"
    found: dict[str, Any] = _json(file) if file.is_file() else {}
    if not file.is_file() and bands != _DEFAULT_BANDS:
        raise ConfigurationError(
            f"The model in {path} has no preprocessor_config.json, without which its audio features would be the "
            f"wrong ones; {_AGAIN}"
        )
    if found.get("feature_size", _DEFAULT_BANDS) != bands:
        raise ConfigurationError(f"The preprocessor_config.json in {path} is another model's; {_AGAIN}")
    return found


def _check_diarization(path: Path) -> float:
    """A pyannote.audio pipeline that reads nothing but its own directory; its clip length says nothing."""
    if not (path / "config.yaml").is_file():
        raise ConfigurationError(f"The diarization model in {path} has no config.yaml; {_AGAIN}")
    configuration = read_pipeline(path)
    if configuration["pipeline"].get("name") not in _PIPELINES or "preprocessors" in configuration:
        raise ConfigurationError(f"The config.yaml in {path} is of another kind of pipeline than speaker diarization")
    parameters = configuration["pipeline"]["params"]
    agglomerative = parameters.get("clustering") == "AgglomerativeClustering"
    for part, files in (
        ("segmentation", ("pytorch_model.bin",)),
        ("embedding", ("pytorch_model.bin",)),
        ("plda", ("plda.npz", "xvec_transform.npz")),
    ):
        named = parameters.get(part)
        if part == "plda" and named is None and agglomerative:
            continue
        folder = _part_folder(path, part, named)
        for file in files:
            if not (folder / file).is_file():
                raise ConfigurationError(f"The diarization model in {path} has no {part} ({file}); {_AGAIN}")
            if not zipfile.is_zipfile(folder / file):
                raise ConfigurationError(f"The {part} ({file}) in {path} is damaged; {_AGAIN}")
    return _LONGEST_CLIP


def _part_folder(path: Path, part: str, named: object) -> Path:
    """The folder that a value like `$model/embedding` means; any other value would be asked of the hub or of the
    working directory."""
    inside = PurePosixPath(named.removeprefix("$model/")) if isinstance(named, str) else PurePosixPath("..")
    if not str(named).startswith("$model/") or ".." in inside.parts or inside.is_absolute() or "@" in str(named):
        raise ConfigurationError(
            f"The config.yaml in {path} does not take its {part} from the directory itself (`$model/{part}`), "
            f"so a model hub would be asked for it; {_AGAIN}"
        )
    return path / inside


def _json(file: Path, expected: type = dict) -> Any:
    try:
        value = json.loads(file.read_bytes())
    except ValueError:
        value = None
    if not isinstance(value, expected):
        raise ConfigurationError(f"The {file.name} in {file.parent} is damaged; {_AGAIN}")
    return value


def _bands_of_whole_whisper(file: Path) -> int | None:
    """How many mel bands a `model.bin` takes; None where it is no Whisper model or does not end where its last
    variable does.

    The layout is that of `ctranslate2.specs.model_spec`. A file cut short by a full disk or a broken copy would
    otherwise be pinned as it is and only fail when it is loaded.
    """
    bands = 0
    with file.open("rb") as stream:
        try:
            if _number(stream, "<I") != _CTRANSLATE2_VERSION or _text(stream) != b"WhisperSpec":
                return None
            _number(stream, "<I")
            for _ in range(_number(stream, "<I")):
                name = _text(stream)
                shape = [_number(stream, "<I") for _ in range(_number(stream, "<B"))]
                _number(stream, "<B")
                stream.seek(_number(stream, "<I"), 1)
                if name == b"encoder/conv1/weight" and len(shape) == 3:
                    bands = shape[1]
            for _ in range(2 * _number(stream, "<I")):
                _text(stream)
        except EOFError:
            return None
        return bands if stream.tell() == file.stat().st_size else None


def _text(stream: BinaryIO) -> bytes:
    return _exactly(stream, _number(stream, "<H")).removesuffix(b"\0")


def _number(stream: BinaryIO, layout: str) -> int:
    return int(struct.unpack(layout, _exactly(stream, struct.calcsize(layout)))[0])


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data
