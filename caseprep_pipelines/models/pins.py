"""Pinned digests: what a model's files were when somebody vouched for them.

A model is loaded only after `checked` has compared every file with its pin. A pyannote checkpoint is a pickle, and
a pickle can run any code, so this stands before loading and not beside it. Who vouches:

- for the demo models that ship with the project, `models/demo/pins.json`, which ships beside them;
- for models that `caseprep models fetch` put into the models directory, that command, in `pins.json` there (the file
  travels with the directory to an air-gapped machine or into an S3 model store);
- for any other directory, whoever first uses it: naming a directory with `--model` or `CASEPREP_MODEL` is taken as
  trust, its digests are written into the same `pins.json` under its path, a line in the log says so, and from then
  on any change is refused until `caseprep models fetch DIRECTORY` takes the changed model in.

A models directory that cannot be written holds only what was fetched into it: nothing is loaded without a pin.
What the files must contain is in `directories`. `python -m caseprep_pipelines.models.pins` pins the demo models.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.models.digests import FileDigest, combined_digest, digests_of, model_files
from caseprep_pipelines.models.identity import ModelDirectory, kind_of
from caseprep_pipelines.storage.document import Document, Part

PINS_FILE = "pins.json"
DEMO_MODELS = Path(__file__).parent / "demo"
FIRST_USE = "first use"

_log = logging.getLogger(__name__)


class Pin(Part):
    """One model's files as vouched for."""

    source: str
    """Where the model came from: `hub REPOSITORY@COMMIT`, an `s3://` address, a directory, or `first use`."""
    files: dict[str, FileDigest]

    @property
    def digest(self) -> str:
        """The digest of the whole model."""
        return combined_digest(self.files)


class Pins(Document):
    """All pins of a directory of models, by the models' names relative to it, or by paths for models elsewhere."""

    document: Literal["model-pins"] = "model-pins"
    schema_version: Literal[1] = 1
    models: dict[str, Pin]


def find_pin(path: Path, models_directory: Path) -> Pin | None:
    """The pin of the model in a directory, or None. Raises `ConfigurationError` where pins cannot be read."""
    file, key = _place(path, models_directory)
    return read_pins(file).get(key)


def read_pins(file: Path) -> Mapping[str, Pin]:
    """The pins in a `pins.json`, none where there is no such file; raises `ConfigurationError` where it is broken."""
    try:
        return parse_pins(file.read_bytes(), str(file))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ConfigurationError(f"The models' digests in {file} cannot be read: {error.strerror}") from None


def parse_pins(data: bytes, where: str) -> Mapping[str, Pin]:
    """The pins in the bytes of a `pins.json`; `where` names it in the `ConfigurationError` if it is broken."""
    try:
        return Pins.from_bytes(data).models
    except ValidationError:
        raise ConfigurationError(
            f"{where} does not hold models' digests: put back an intact copy or fetch the models again"
        ) from None


def pin(path: Path, models_directory: Path, source: str, files: Mapping[str, FileDigest]) -> None:
    """Vouches for the model in a directory. Raises `OSError` where that cannot be written down."""
    file, key = _place(path, models_directory)
    _change(file, {key: Pin(source=source, files=dict(files))})


def differences(pinned: Mapping[str, FileDigest], found: Mapping[str, FileDigest]) -> list[str]:
    """One phrase for each file that is not as it was pinned; none where all are."""
    phrases = []
    for name in sorted(pinned.keys() | found.keys()):
        if name not in found:
            phrases.append(f"{name} is missing")
        elif name not in pinned:
            phrases.append(f"{name} was not there when the model was pinned")
        elif pinned[name] != found[name]:
            phrases.append(f"{name} is not the file that was pinned")
    return phrases


def verify(path: Path, models_directory: Path) -> list[str] | None:
    """Reads every file of a model again and compares: `differences`, or None where the model has no pin.

    Raises `ConfigurationError` where files cannot be read.
    """
    pinned = find_pin(path, models_directory)
    return None if pinned is None else differences(pinned.files, _read(path, fresh=True))


def looks_pinned(path: Path, models_directory: Path) -> bool | None:
    """Whether names and sizes are as pinned, without reading the files; None where the model has no pin."""
    pinned = find_pin(path, models_directory)
    if pinned is None:
        return None
    try:
        sizes = {name: file.stat().st_size for name, file in model_files(path).items()}
    except OSError:
        return False
    return sizes == {name: file.size for name, file in pinned.files.items()}


def checked(model: ModelDirectory, models_directory: Path) -> ModelDirectory:
    """The model again, its files read and found as pinned: to be called before anything loads them.

    A model without a pin is pinned (see the module's docstring). Raises `ConfigurationError` naming the first file
    that differs, or where a pin is needed and cannot be written.
    """
    found = _read(model.path)
    pinned = find_pin(model.path, models_directory)
    if pinned is None:
        _trust_on_first_use(model, models_directory, found)
    elif wrong := differences(pinned.files, found):
        raise ConfigurationError(refusal(model, models_directory, wrong))
    return replace(model, identity=model.identity.model_copy(update={"digest": combined_digest(found)}))


def refusal(model: ModelDirectory, models_directory: Path, wrong: Sequence[str]) -> str:
    """Why a model with these `differences` is not loaded, and what to do, in one line."""
    file, key = _place(model.path, models_directory)
    pinned = find_pin(model.path, models_directory)
    if file.parent == DEMO_MODELS:
        remedy = "install the project again"
    elif pinned is not None and pinned.source == FIRST_USE:
        remedy = f"put the old file back or, if the change was meant, run `caseprep models fetch {model.path}`"
    else:
        remedy = f"get the model again with `caseprep models fetch {key}`"
    return f"{model.identity.name}: {wrong[0]}; {remedy}"


def pin_demo_models(folder: Path = DEMO_MODELS) -> Mapping[str, Pin]:
    """Writes the pins of the demo models in a folder, replacing what was there, and returns them."""
    models = sorted(path for path in folder.iterdir() if path.is_dir() and kind_of(path) is not None)
    pins = {path.name: Pin(source="shipped", files=digests_of(path)) for path in models}
    _write(folder / PINS_FILE, pins)
    return pins


def _place(path: Path, models_directory: Path) -> tuple[Path, str]:
    """The file that holds a model's pin and the key in it."""
    place = _absolute(path)
    for folder in (DEMO_MODELS, models_directory):
        if place.is_relative_to(_absolute(folder)):
            return folder / PINS_FILE, place.relative_to(_absolute(folder)).as_posix()
    return models_directory / PINS_FILE, place.as_posix()


def _absolute(path: Path) -> Path:
    # Links stay: a models directory may itself be one, and the hub's snapshots hold nothing else.
    return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100


def _read(path: Path, *, fresh: bool = False) -> dict[str, FileDigest]:
    try:
        return digests_of(path, fresh=fresh)
    except OSError as error:
        raise ConfigurationError(f"The model in {path} cannot be read: {error.strerror}") from None


def _trust_on_first_use(model: ModelDirectory, models_directory: Path, found: Mapping[str, FileDigest]) -> None:
    if _place(model.path, models_directory)[0].parent == DEMO_MODELS:
        raise ConfigurationError(
            f"The demo model {model.identity.name} ships without digests: install the project again "
            "(in a checkout: python -m caseprep_pipelines.models.pins)"
        )
    try:
        pin(model.path, models_directory, FIRST_USE, found)
    except OSError as error:
        raise ConfigurationError(
            f"The digests of model {model.identity.name} cannot be written to {models_directory} ({error.strerror}): "
            "set CASEPREP_MODELS_DIRECTORY to a directory that can be written, or put the model there with "
            "`caseprep models fetch`"
        ) from None
    _log.warning(
        "Model %s is used for the first time: its digests are now pinned in %s.",
        model.identity.name,
        models_directory / PINS_FILE,
    )


def _change(file: Path, entries: Mapping[str, Pin]) -> None:
    from filelock import FileLock

    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_name(".pins.lock")):
        _write(file, {**read_pins(file), **entries})


def _write(file: Path, pins: Mapping[str, Pin]) -> None:
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    document = Pins(models=dict(sorted(pins.items())))
    unfinished.write_text(document.model_dump_json(indent=1) + "\n", encoding="utf-8")
    unfinished.replace(file)


if __name__ == "__main__":
    for _name, _pin in pin_demo_models().items():
        print(_name, _pin.digest)  # noqa: T201
