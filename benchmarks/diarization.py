"""Diarizing against stock pyannote.audio on the same audio: networks of real size, the demo's and the starter models.

Both have a thread for every core. With networks of real size the stock pipeline takes a quarter of an hour on two cores
for each of the rounds. The starter models, where they are at hand, hear real people, and are scored on them.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import soundfile

from benchmarks import Result, Unavailable
from benchmarks._made_models import make_diarization
from benchmarks._real_corpus import Item, corpus
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


#: Diarizes each file and prints the turns of each; the number of speakers is not given.
TURNS = """
import json, sys, soundfile
from pathlib import Path
from caseprep_pipelines.models.identity import ModelIdentity
from caseprep_pipelines.speech.diarizer import DiarizeOptions
from caseprep_pipelines.speech.pyannote_diarizer import load_diarizer
diarizer = load_diarizer(Path(sys.argv[1]), ModelIdentity(name="starter", digest="0" * 64), device="cpu")
said = []
for path in sys.argv[2:]:
    samples, _ = soundfile.read(path, dtype="float32")
    turns = diarizer.hear(samples, DiarizeOptions())().turns
    said.append([[turn.speaker, turn.start, turn.end] for turn in turns])
print(json.dumps(said))
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
        sizes = [("", folder / "made", demo_speech()), ("demo_", demo, demo_speech())]
        starter = _starter()
        if starter is not None:
            real = _real(folder / "real")
            speech = [soundfile.read(folder / "real" / item.file, dtype="float32")[0] for item in real]
            sizes.append(("starter_", starter, np.concatenate(speech)))
            figures |= _errors(starter, folder / "real", real, environment)
        for size, models, speech in sizes:
            soundfile.write(folder / "recording.flac", np.take(speech, range(MINUTES * 60 * RATE), mode="wrap"), RATE)
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
            figures[f"{size}times_real_time"] = round(60 * MINUTES / median(seconds["ours"]), 1)
            figures[f"{size}peak_mb"] = round(max(float(str(run[1])) for run in measured["ours"]))
            same = all(run[2] == measured["stock"][0][2] for runs in measured.values() for run in runs)
            figures[f"{size}same_turns"] = "yes" if same else "no"
    return Result(ratios=ratios, figures=figures)


def _starter() -> Path | None:
    """The starter models' pipeline, where it has been fetched."""
    from caseprep_pipelines.errors import ConfigurationError
    from caseprep_pipelines.models.directories import resolve_diarization
    from caseprep_pipelines.settings import read_settings

    directory = Path(os.environ.get("STARTER_MODELS_DIRECTORY") or read_settings().models_directory)
    try:
        return resolve_diarization("starter", directory).path
    except ConfigurationError:
        return None


def _real(folder: Path) -> list[Item]:
    """Recordings of real people of whom it is known who speaks when: always the telephone call."""
    found = []
    for condition in ("call", "meeting", "conversation", "overlap"):
        try:
            found += corpus(folder, lambda recipe, condition=condition: recipe.condition == condition)  # type: ignore[misc]
        except Unavailable:
            continue
    return found


def _errors(models: Path, folder: Path, items: list[Item], environment: dict[str, str]) -> dict[str, float | str]:
    """Diarization error in percent by condition, without a collar, and how often the number of speakers is right."""
    from pyannote.core import Annotation, Segment, Timeline
    from pyannote.metrics.diarization import DiarizationErrorRate

    command = [sys.executable, "-c", TURNS, str(models), *(str(folder / item.file) for item in items)]
    said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    metrics: dict[str, Any] = {}
    right = 0
    for item, turns in zip(items, json.loads(said.stdout.splitlines()[-1]), strict=True):
        truth, told = Annotation(), Annotation()
        for number, (start, end, who) in enumerate(item.speakers or ()):
            truth[Segment(start, end), number] = who
        for number, (who, start, end) in enumerate(turns):
            told[Segment(start, min(end, item.seconds)), number] = str(who)
        metric = metrics.setdefault(item.condition, DiarizationErrorRate())
        metric(truth.support(), told, uem=Timeline([Segment(0, item.seconds)]))
        right += len(truth.labels()) == len(told.labels())
    figures: dict[str, float | str] = {
        f"starter_error_percent_{condition}": round(100 * abs(metric), 1) for condition, metric in metrics.items()
    }
    return {**figures, "starter_speakers_right": f"{right} of {len(items)}"}
