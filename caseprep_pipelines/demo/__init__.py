"""The recordings that ship with the project, and what must become of each. Made by `models/demo/recordings.py`."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class DemoRecording:
    path: Path
    matter: str
    status: str
    reason: str | None
    reference: Path | None
    """SegLST: who said what when; None for what must be rejected."""


def demo_recordings() -> Iterator[DemoRecording]:
    for entry in _manifest()["recordings"]:
        expected = entry["expected"]
        yield DemoRecording(
            path=_HERE / entry["file"],
            matter=entry["matter"],
            status=expected["status"],
            reason=expected["reason"],
            reference=_HERE / entry["reference"] if "reference" in entry else None,
        )


def write_matters(incoming: Path) -> None:
    """Writes the demo matters' `matter.toml` files, as a firm would."""
    for matter, title in _manifest()["matters"].items():
        folder = incoming / matter
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "matter.toml").write_text(f'title = {json.dumps(title)}\nlanguage = "en"\n', encoding="utf-8")


def _manifest() -> dict:  # type: ignore[type-arg]
    return json.loads((_HERE / "manifest.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]
