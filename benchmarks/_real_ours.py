"""The product's own words for the recordings: `python -m benchmarks._real_ours CORPUS MODEL OUT [--only NAME]`.

Writes `ITEM.json`, each a product `raw_transcript`, and `times.json`: seconds of the whole, loading apart.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from benchmarks._real_baselines import model_digest
from benchmarks._real_corpus import Item, called, corpus
from benchmarks.short_clips import normalized
from caseprep_pipelines.models.identity import ModelIdentity


def transcribe(items: Sequence[Item], folder: Path, model: Path, out: Path) -> float:
    """Words of every item, into `out`; returns seconds."""
    from caseprep_pipelines.settings import read_settings
    from caseprep_pipelines.speech.transcriber import TranscribeOptions
    from caseprep_pipelines.speech.transcription import Job, transcribe_many
    from caseprep_pipelines.speech.whisper import load_transcriber

    out.mkdir(parents=True, exist_ok=True)
    settings = read_settings()
    identity = ModelIdentity(name="starter", digest=model_digest(model))
    whisper = load_transcriber(
        model, identity, device="cpu", beam_size=settings.beam_size, batch_size=settings.batch_size
    )
    # as the stage has them where no matter says otherwise
    asked = {field.name for field in fields(TranscribeOptions)} & {"languages", "preferred_languages"}
    options = TranscribeOptions(**{name: getattr(settings, name) for name in asked})
    started = time.perf_counter()
    for outcome in transcribe_many(items, lambda item: Job(normalized(folder / item.file), folder, whisper, options)):
        if isinstance(outcome.result, Exception):
            raise outcome.result
        (out / f"{outcome.item.name}.json").write_bytes(outcome.result.to_bytes())
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks._real_ours", description=__doc__)
    for name in ("corpus", "model", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--only", help="conditions or items whose name begins so")
    given = parser.parse_args()
    items = corpus(given.corpus, called(given.only))
    seconds = transcribe(items, given.corpus, given.model, given.out)
    minutes = sum(item.seconds for item in items) / 60
    print(json.dumps({"items": len(items), "minutes": round(minutes, 2), "seconds": round(seconds, 1)}))


if __name__ == "__main__":
    main()
