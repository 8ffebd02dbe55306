"""The product's own words for the recordings: `python -m benchmarks._real_ours CORPUS MODEL OUT --diarization DIR`.

Writes `ITEM.json`, each a product `raw_transcript`, and prints the seconds of the whole, loading apart.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks._real_baselines import model_digest
from benchmarks._real_corpus import Item, called, corpus
from benchmarks.short_clips import normalized
from caseprep_pipelines.models.identity import ModelIdentity


def transcribe(items: Sequence[Item], folder: Path, model: Path, diarization: Path | None, out: Path) -> float:
    """Words of every item, into `out`; returns seconds, loading apart. Without a diarization nobody is asked beside the
    detector of speech."""
    from caseprep_pipelines.models.digests import directory_digest
    from caseprep_pipelines.settings import read_settings
    from caseprep_pipelines.speech.pyannote_diarizer import load_diarizer
    from caseprep_pipelines.speech.transcriber import TranscribeOptions
    from caseprep_pipelines.speech.transcription import Job, transcribe_many
    from caseprep_pipelines.speech.whisper import load_transcriber
    from caseprep_pipelines.speech.witness import second_witness

    out.mkdir(parents=True, exist_ok=True)
    settings = read_settings()
    identity = ModelIdentity(name="starter", digest=model_digest(model))
    whisper = load_transcriber(
        model, identity, device="cpu", beam_size=settings.beam_size, batch_size=settings.batch_size
    )
    witness = None
    if diarization is not None:
        voices = ModelIdentity(name="starter", digest=directory_digest(diarization))
        diarizer = load_diarizer(diarization, voices, device="cpu")
        witness = second_witness(lambda: diarizer)
    # as the stage has them where no matter says otherwise
    options = TranscribeOptions(settings.languages, tuple(settings.preferred_languages))

    def job(item: Item) -> Job:
        return Job(normalized(folder / item.file), folder, whisper, options, witness=witness)

    started = time.perf_counter()
    for outcome in transcribe_many(items, job):
        if isinstance(outcome.result, Exception):
            raise outcome.result
        (out / f"{outcome.item.name}.json").write_bytes(outcome.result.to_bytes())
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks._real_ours", description=__doc__)
    for name in ("corpus", "model", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--diarization", type=Path, help="speaker model, asked where else speech is")
    parser.add_argument("--only", help="conditions or items whose name begins so")
    given = parser.parse_args()
    items = corpus(given.corpus, called(given.only))
    seconds = transcribe(items, given.corpus, given.model, given.diarization, given.out)
    minutes = sum(item.seconds for item in items) / 60
    print(json.dumps({"items": len(items), "minutes": round(minutes, 2), "seconds": round(seconds, 1)}))


if __name__ == "__main__":
    main()
