"""The short fixed part of `real_speech` that runs in the tests: which recordings, and what faster-whisper made of them.

`python -m benchmarks._real_fixed MODEL CACHE` measures faster-whisper again and rewrites `FIGURES`: counts and places
of words, no text.
"""

import json
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks._real_baselines import WAYS, baseline, baselines, model_digest
from benchmarks._real_corpus import Item, Recipe, corpus
from benchmarks._real_measure import agreed_words
from caseprep_pipelines.evaluation.alignment import align
from caseprep_pipelines.evaluation.normalization import tokens

FIGURES = Path(__file__).parents[1] / "caseprep_pipelines_tests" / "speech" / "data" / "real_speech.json"
GROUPS = {"single": "single", "call": "call", "dense-0": "dense", "interpreted-0": "interpreted"}
"""Beginnings of the recordings' names, and what the group is called."""


@dataclass(frozen=True)
class Known:
    """What faster-whisper made of one recording."""

    sha256: str
    """Of the recording."""
    words: int
    errors: dict[str, int]
    """By way of decoding."""
    agreed: tuple[int, ...]
    """Places of the reference's words that at least one way heard."""
    agreed_by_both: tuple[int, ...]


def group(name: str) -> str | None:
    return next((own for start, own in GROUPS.items() if name.startswith(start)), None)


def wanted(recipe: Recipe) -> bool:
    return group(recipe.name) is not None


def known() -> tuple[str, dict[str, Known]]:
    """The day of the measurement, and what was measured by recording."""
    kept = json.loads(FIGURES.read_text())
    return kept["measured"], {
        name: Known(own["sha256"], own["words"], own["errors"], tuple(own["agreed"]), tuple(own["agreed_by_both"]))
        for name, own in kept["recordings"].items()
    }


def measured(item: Item, model: Path, cache: Path) -> dict[str, object]:
    heard = {way: baseline(way, item, model, cache) for way in WAYS}
    said = {
        way: tokens([(word["text"], word["start"], word["end"]) for word in own["words"]])
        for way, own in heard.items()
        if own is not None
    }
    truth, agreed = agreed_words(item, said)
    pairs = [align(truth, own).pairs for own in said.values()]
    return {
        "sha256": item.sha256,
        "words": len(truth),
        "errors": {way: align(truth, own).errors for way, own in said.items()},
        "agreed": [place for place, is_agreed in enumerate(agreed) if is_agreed],
        "agreed_by_both": [place for place in range(len(truth)) if all(own[place] is not None for own in pairs)],
    }


def main() -> None:
    import faster_whisper

    model, cache = map(Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        items = corpus(Path(folder), wanted)
        baselines(items, Path(folder), model, cache)
        kept = {
            "measured": f"{datetime.now(UTC):%Y-%m-%d}",
            "faster_whisper": faster_whisper.__version__,
            "model_sha256": model_digest(model),
            "recordings": {item.name: measured(item, model, cache) for item in items},
        }
    FIGURES.write_text(json.dumps(kept, indent=None, separators=(",", ":")).replace('},"', '},\n"') + "\n")


if __name__ == "__main__":
    main()
