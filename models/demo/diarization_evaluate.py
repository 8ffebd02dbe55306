"""Diarization error of the shipped demo pipelines on unseen people: `python -m models.demo.diarization_evaluate`.

Twenty conversations from voices that neither training nor tuning has used.
Prints JSON and writes FIGURES-diarization.json.
"""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from random import Random

os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
os.environ["HF_HUB_OFFLINE"] = "1"

SEED = 90_417
CONVERSATIONS = 20


def main() -> None:
    import numpy as np
    import pyannote.audio
    import torch

    from models.demo import diarization_pipeline as pipelines
    from models.demo.diarization_train import SHIPPED
    from models.demo.diarization_voices import UNSEEN_VOICES

    torch.set_num_threads(1)
    random = Random(SEED)
    unseen = [pipelines.conversation(random, f"unseen {n}", UNSEEN_VOICES) for n in range(CONVERSATIONS)]
    seconds = sum(len(c.samples) for c in unseen) / 16_000
    figures: dict[str, object] = {
        "measured": "diarization error, no collar, overlap counted, number of speakers not given",
        "conversations": CONVERSATIONS,
        "minutes": round(seconds / 60, 1),
        "versions": {"pyannote.audio": pyannote.audio.__version__, "torch": torch.__version__},
        "machine": platform.machine(),
    }
    files = pipelines.files_of(unseen)
    for name in ("diarization", "diarization_agglomerative"):
        each = pipelines.errors(pipelines.load(SHIPPED / name), unseen, files)
        mean = {
            key: round(float(np.mean([e[key] for e in each])), 4)
            for key in ("der", "missed", "false_alarm", "confusion")
        }
        right = sum(e["speakers"] == e["speakers_found"] for e in each)
        figures[name] = {
            "mean": mean,
            "worst_der": max(e["der"] for e in each),
            "right_number_of_speakers": right,
            "each": each,
        }
    text = json.dumps(figures, indent=1)
    (Path(__file__).parent / "FIGURES-diarization.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
