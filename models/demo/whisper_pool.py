"""Fill the pool of utterances for the tiny Whisper: `python -m models.demo.whisper_pool FOLDER [SHARDS]`.

Each shard has its own seed, so that stopping and going on gives the same pool. What is in a shard: `whisper_clips`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from models.demo import whisper_clips

SHARDS = 10


def fill(folder: Path, shards: int = SHARDS) -> None:
    """Make the shards that are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(shards):
        path = folder / f"{number:02d}"
        if not path.with_suffix(".json").exists():
            whisper_clips.write_shard(path, seed=1_000 + number)
            print(f"pool: shard {number + 1} of {shards}", flush=True)


if __name__ == "__main__":
    fill(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else SHARDS)
