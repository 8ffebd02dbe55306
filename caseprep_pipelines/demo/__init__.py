"""The demo's recordings, and what must become of each.

Two sets: speech that real models understand, with a real telephone call, and the small demo models' own language, which
nothing but they understands. Made by `models/demo/spoken_recordings.py` and `models/demo/recordings.py`.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_MATTERS = "demo-"
_CALL_MATTER = "demo-2026-004"
_CALL = "telephone-call.wav"


@dataclass(frozen=True)
class DemoRecording:
    path: Path
    matter: str
    status: str
    reason: str | None
    reference: Path | None
    """Who said what when, as SegLST, of the telephone call as STM; None for what must be rejected."""


def is_demo_matter(matter: str) -> bool:
    """Whether a matter is one in which nobody looks for real words."""
    return matter.startswith(_MATTERS)


def demo_recordings() -> Iterator[DemoRecording]:
    """In the small demo models' own language."""
    yield from _read("manifest.json")


def spoken_recordings(folder: Path) -> Iterator[DemoRecording]:
    """For real models. The telephone call, which pyannote.audio brings, is copied into the folder under a name that
    says what it is; without the speech packages there is none."""
    if (call := _telephone_call(folder)) is not None:
        yield call
    yield from _read("spoken.json")
    yield from (demo for demo in demo_recordings() if demo.reason is not None)


def write_matters(incoming: Path, language: str | None = "en") -> None:
    """Writes the demo matters' `matter.toml` files, as a firm would; without a language it is found out."""
    for matter, title in _json("manifest.json")["matters"].items():
        folder = incoming / matter
        folder.mkdir(parents=True, exist_ok=True)
        spoken = f"language = {json.dumps(language)}\n" if language else ""
        (folder / "matter.toml").write_text(f"title = {json.dumps(title)}\n{spoken}", encoding="utf-8")


def _read(manifest: str) -> Iterator[DemoRecording]:
    for entry in _json(manifest)["recordings"]:
        expected = entry["expected"]
        yield DemoRecording(
            path=_HERE / entry["file"],
            matter=entry["matter"],
            status=expected["status"],
            reason=expected["reason"],
            reference=_HERE / entry["reference"] if "reference" in entry else None,
        )


def _telephone_call(folder: Path) -> DemoRecording | None:
    package = find_spec("pyannote")
    for place in (package and package.submodule_search_locations) or ():
        sample = Path(place) / "audio" / "sample"
        if (sample / "sample.wav").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(sample / "sample.wav", folder / _CALL)
            return DemoRecording(folder / _CALL, _CALL_MATTER, "done", None, sample / "sample.stm")
    return None


def _json(name: str) -> dict[str, Any]:
    return json.loads((_HERE / name).read_text(encoding="utf-8"))  # type: ignore[no-any-return]
