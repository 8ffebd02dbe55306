"""Diarizing against stock pyannote.audio on the same audio, with networks of real size and with the demo's.

Both have a thread for every core. With networks of real size the stock pipeline takes a quarter of an hour on two cores
for each of the rounds.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import soundfile

from benchmarks import Result
from benchmarks._made_models import make_diarization
from benchmarks.common import RATE, clean_environment, demo_speech
from caseprep_pipelines import large_pages
from caseprep_pipelines.speech.engines import usable_cores

MINUTES = 10
ROUNDS = 3

#: Loads, diarizes half a minute to be warm, then the recording; prints its seconds, peak memory in MB and the turns.
#: Of the stock pipeline the turns alone are asked for; ours says how sure it is of each as well.
WORK = """
import json, resource, sys, time, soundfile, torch
from pathlib import Path
from caseprep_pipelines.models.identity import ModelIdentity
from caseprep_pipelines.speech import pyannote_diarizer
from caseprep_pipelines.speech.diarizer import DiarizeOptions
who, folder, path = sys.argv[1:]
if who == "stock":
    pyannote_diarizer.FASTER = "pyannote.audio.pipelines.SpeakerDiarization"
    pyannote_diarizer.CPU_BATCH = 32
diarizer = pyannote_diarizer.load_diarizer(Path(folder), ModelIdentity(name="made", digest="0" * 64), device="cpu")
samples, _ = soundfile.read(path, dtype="float32")
def turns(samples):
    if who == "ours":
        said = diarizer.hear(samples, DiarizeOptions())().turns
        return [[turn.speaker, turn.start, turn.end] for turn in said]
    file = {"waveform": torch.from_numpy(samples)[None], "sample_rate": 16000, "uri": "recording"}
    said = diarizer.pipeline(file).speaker_diarization
    rows = {label: row for row, label in enumerate(said.labels())}
    found = sorted((round(turn.start, 3), round(turn.end, 3), rows[label])
                   for turn, _, label in said.itertracks(yield_label=True))
    return [[row, start, end] for start, end, row in found]
turns(samples[: 16000 * 30])
started = time.perf_counter()
said = turns(samples)
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
print(json.dumps([seconds, peak, said]))
"""


def run() -> Result:
    from caseprep_pipelines.models.directories import resolve_diarization

    ratios: dict[str, float] = {}
    figures: dict[str, float | str] = {"minutes": MINUTES}
    with tempfile.TemporaryDirectory() as name, clean_environment(Path(name)) as environment:
        folder = Path(name)
        environment["OMP_NUM_THREADS"] = str(usable_cores())
        make_diarization(folder / "made")
        demo = resolve_diarization("demo", folder / "models").path
        speech = np.take(demo_speech(), range(MINUTES * 60 * RATE), mode="wrap")
        soundfile.write(folder / "recording.flac", speech, RATE)
        for size, models in (("", folder / "made"), ("demo_", demo)):
            measured: dict[str, list[list[object]]] = {"stock": [], "ours": []}
            for _ in range(ROUNDS):
                for who in measured:
                    command = [sys.executable, "-c", WORK, who, str(models), str(folder / "recording.flac")]
                    # as the program and every run have it
                    own = {large_pages.VARIABLE: large_pages.LARGE} if who == "ours" else {}
                    said = subprocess.run(command, env=environment | own, check=True, capture_output=True, text=True)
                    measured[who].append(json.loads(said.stdout.splitlines()[-1]))
            seconds = {who: [float(str(run[0])) for run in runs] for who, runs in measured.items()}
            pairs = [stock / own for stock, own in zip(seconds["stock"], seconds["ours"], strict=True)]
            ratios[f"{size}diarization_vs_pyannote"] = round(median(pairs), 2)
            figures[f"{size}seconds"] = round(median(seconds["ours"]), 1)
            figures[f"{size}seconds_pyannote"] = round(median(seconds["stock"]), 1)
            figures[f"{size}peak_mb"] = round(max(float(str(run[1])) for run in measured["ours"]))
            same = all(run[2] == measured["stock"][0][2] for runs in measured.values() for run in runs)
            figures[f"{size}same_turns"] = "yes" if same else "no"
    return Result(ratios=ratios, figures=figures)
