"""What faster-whisper makes of the recordings, kept by content so that each is decoded once.

`python -m benchmarks._real_baselines MODEL CORPUS CACHE` decodes what is missing. Both ways are called as their makers
set them by default, with beam search of five and times of words; the language is theirs to find.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks._real_corpus import RATE, Item, corpus

WAYS = ("sequential", "batched")
SETTINGS = {"beam_size": 5, "word_timestamps": True}


def baseline(way: str, item: Item, model: Path, cache: Path) -> dict[str, Any] | None:
    """What is kept of that recording, or None."""
    path = _place(way, item, model, cache)
    kept: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return kept


def baselines(items: list[Item], folder: Path, model: Path, cache: Path) -> None:
    """Decodes what is missing."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel, decode_audio

    cache.mkdir(parents=True, exist_ok=True)
    whisper = WhisperModel(str(model), device="cpu", compute_type="int8", cpu_threads=os.cpu_count() or 1)
    decoders = {"sequential": whisper.transcribe, "batched": BatchedInferencePipeline(whisper).transcribe}
    for item in items:
        for way in WAYS:
            path = _place(way, item, model, cache)
            if path.exists():
                continue
            samples = decode_audio(str(folder / item.file), sampling_rate=RATE)
            started, worked = time.perf_counter(), time.process_time()
            segments, info = decoders[way](samples, **SETTINGS)
            words = [
                {"text": word.word.strip(), "start": round(float(word.start), 3), "end": round(float(word.end), 3)}
                for segment in segments
                for word in segment.words or ()
                if word.word.strip()
            ]
            said = {
                "item": item.name,
                "way": way,
                "language": info.language,
                "seconds": round(time.perf_counter() - started, 2),
                "cpu_seconds": round(time.process_time() - worked, 2),
                "words": words,
            }
            unfinished = path.with_suffix(f".{os.getpid()}")
            unfinished.write_text(json.dumps(said, ensure_ascii=False))
            unfinished.rename(path)
            print(f"{way} {item.name}: {said['seconds']} s, {len(words)} words, {info.language}", flush=True)


def _place(way: str, item: Item, model: Path, cache: Path) -> Path:
    import faster_whisper

    size = (model / "model.bin").stat().st_size
    said = json.dumps([way, SETTINGS, item.sha256, size, model_digest(model), faster_whisper.__version__])
    return cache / f"{item.name}.{way}.{hashlib.sha256(said.encode()).hexdigest()[:12]}.json"


def model_digest(model: Path) -> str:
    path = model / "model.bin"
    key = (str(path), path.stat().st_mtime_ns)
    if key not in _digests:
        with path.open("rb") as file:
            _digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _digests[key]


_digests: dict[tuple[str, int], str] = {}


def main() -> None:
    model, folder, cache = map(Path, sys.argv[1:])
    baselines(corpus(folder), folder, model, cache)


if __name__ == "__main__":
    main()
