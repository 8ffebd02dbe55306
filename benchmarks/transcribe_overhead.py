"""What `caseprep transcribe` costs on 50 one-minute recordings against the bare engines in one loop in one process."""

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks import Result
from benchmarks.common import clean_environment, run_watched
from caseprep_pipelines.demo.calls import write_calls

RECORDINGS = 50
SECONDS = 60
ROUNDS = 3

#: faster-whisper's own batched pipeline and pyannote's own call on every file, models loaded once; decoded audio is
#: handed to both. Same models, same clip length, same device.
ENGINES = """
import json, os, sys
from pathlib import Path
os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
import torch
from faster_whisper import BatchedInferencePipeline, WhisperModel, decode_audio
from pyannote.audio import Pipeline
whisper_path, pyannote_path, clip_seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
whisper = BatchedInferencePipeline(WhisperModel(whisper_path, device="cpu", compute_type="int8"))
diarize = Pipeline.from_pretrained(pyannote_path)
for path in sys.argv[4:]:
    audio = decode_audio(path, sampling_rate=16000)
    segments, _ = whisper.transcribe(audio, language="en", beam_size=1, temperature=0, word_timestamps=True,
        batch_size=8, vad_filter=True,
        vad_parameters=dict(max_speech_duration_s=clip_seconds, min_silence_duration_ms=160))
    list(segments)
    diarize({"waveform": torch.from_numpy(audio)[None], "sample_rate": 16000, "uri": Path(path).stem})
"""


def run() -> Result:
    from caseprep_pipelines.models.directories import resolve_diarization, resolve_whisper

    with tempfile.TemporaryDirectory() as name, clean_environment(Path(name)) as environment:
        folder = Path(name)
        (folder / "recordings").mkdir()
        files = write_calls(folder / "recordings", RECORDINGS, SECONDS)
        whisper = resolve_whisper("demo", folder / "models")
        pyannote = resolve_diarization("demo", folder / "models")
        engines = [
            sys.executable, "-c", ENGINES, str(whisper.path), str(pyannote.path), str(whisper.identity.clip_seconds),
            *map(str, files),
        ]  # fmt: skip
        ours, bare = [], []
        for number in range(ROUNDS):
            bare.append(run_watched(engines, environment)[0])
            with clean_environment(folder / str(number)) as own:
                started = time.perf_counter()
                run_watched(
                    [
                        str(Path(sys.executable).parent / "caseprep"),
                        "transcribe",
                        str(folder / "recordings"),
                        "--out",
                        str(folder / str(number) / "out"),
                    ],
                    own,
                )
                ours.append(time.perf_counter() - started)
    pairs = [a / b for a, b in zip(ours, bare, strict=True)]
    return Result(
        ratios={"transcribe_vs_engines": round(median(pairs), 3)},
        figures={"transcribe_seconds": round(median(ours), 1), "engines_seconds": round(median(bare), 1)},
    )
