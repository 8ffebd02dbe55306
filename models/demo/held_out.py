"""The conversations by which the tests hold the shipped models to their figures: `python -m models.demo.held_out`.

Two recordings, one of two people and one of three, of held-out sentences in held-out voices and speeds, with pauses and
with noise 20 dB below the speech: drawn as `evaluate_whisper` draws its own, from a seed of their own. Beside each
stands who said what, when each word was said, and in which stretches somebody spoke. They are small, so that they ship
with the tests, which then need no synthesizer. Large sets, and the figures, belong to the evaluations.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from random import Random

from models.demo.evaluate_whisper import RATE, held_out_lines, record
from models.demo.recordings import reference
from models.demo.recordings_media import write_audio

SEED = 20_262
CONVERSATIONS = (("deposition-of-two", 2, "deposition"), ("call-of-three", 3, "jail_call"))
SENTENCES = 36
BITS_PER_SECOND = 16_000
SHIPPED = Path(__file__).resolve().parents[2] / "caseprep_pipelines_tests" / "speech" / "data"


def make(out: Path) -> None:
    """Write both recordings and their references below `out`."""
    out.mkdir(parents=True, exist_ok=True)
    for number, (name, speakers, kind) in enumerate(CONVERSATIONS):
        random = Random(SEED + number)
        spoken = record(random, held_out_lines(random, speakers, kind, SENTENCES))
        write_audio(out / f"{name}.ogg", spoken.samples[None], RATE, "libopus", BITS_PER_SECOND)
        truth = reference(name, spoken.lines, [f"speaker {speaker + 1}" for speaker in range(speakers)])
        for entry, line in zip(truth, spoken.lines, strict=True):
            entry["turns"] = [
                [round(line.start + start, 3), round(line.start + end, 3)] for start, end in line.spoken.stretches()
            ]
        (out / f"{name}.json").write_text("[\n" + ",\n".join(map(json.dumps, truth)) + "\n]\n")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, default=SHIPPED, help="where the recordings and references go")
    make(arguments.parse_args().out)


if __name__ == "__main__":
    main()
