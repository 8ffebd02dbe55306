"""Short clips and diarization on an NVIDIA GPU: against the peers, how busy it is, how far from the engines alone.

The engines' own bound is the time that their networks take for as many windows and chunks in full batches, with nothing
else to do. Everything runs in one warm process with models of real size.
"""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import soundfile

from benchmarks import Result, Unavailable
from benchmarks._made_models import make_diarization, make_whisper
from benchmarks.common import RATE
from benchmarks.short_clips import Model, normalized, recordings
from caseprep_pipelines.models.identity import ModelIdentity

CLIPS = 300
DIARIZED_MINUTES = 30
ROUNDS = 3


def run() -> Result:
    import torch

    if not torch.cuda.is_available():
        raise Unavailable("no NVIDIA GPU is at hand")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_whisper(folder / "whisper")
        make_diarization(folder / "diarization")
        *short, long = recordings(folder, CLIPS, DIARIZED_MINUTES)
        heard = transcription(Model(folder / "whisper", 30.0), short, "cuda")
        told = diarization(folder / "diarization", long, "cuda")
    rates = heard.figures["transcription_hours_per_hour"], told.figures["diarization_hours_per_hour"]
    return Result(
        ratios={**heard.ratios, **told.ratios},
        figures={
            "device": torch.cuda.get_device_name(),
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "clips": CLIPS,
            "diarized_minutes": DIARIZED_MINUTES,
            **heard.figures,
            **told.figures,
            "both_hours_per_hour": round(1 / sum(1 / float(rate) for rate in rates), 1),
        },
    )


def transcription(model: Model, files: Sequence[Path], device: str) -> Result:
    from faster_whisper import BatchedInferencePipeline, WhisperModel
    from faster_whisper.tokenizer import Tokenizer

    from caseprep_pipelines.speech.transcriber import TranscribeOptions
    from caseprep_pipelines.speech.transcription import Job, transcribe_many
    from caseprep_pipelines.speech.whisper import load_transcriber

    identity = ModelIdentity(name="made", digest="0" * 64, clip_seconds=model.clip_seconds)
    whisper = load_transcriber(model.path, identity, device=device)
    engine = whisper.engine
    windows = 0

    def ours() -> None:
        nonlocal windows
        windows = 0
        for outcome in transcribe_many(
            files, lambda path: Job(normalized(path), path.parent, whisper, TranscribeOptions(("en",)))
        ):
            if isinstance(outcome.result, Exception):
                raise outcome.result
            windows += sum(len(one.clips) for one in outcome.result.channels)

    peer = BatchedInferencePipeline(
        WhisperModel(str(model.path), device=device, compute_type=engine.model.compute_type, local_files_only=True)
    )
    audio = [soundfile.read(path, dtype="float32")[0] for path in files]

    def faster_whisper() -> None:
        for samples in audio:
            said, _ = peer.transcribe(
                samples, language="en", beam_size=5, temperature=0, word_timestamps=True, batch_size=16,
            )  # fmt: skip
            for _ in said:
                pass

    tokenizer = Tokenizer(engine.hf_tokenizer, engine.model.is_multilingual, task="transcribe", language="en")
    prompt = engine.get_prompt(tokenizer, [], without_timestamps=True)
    shape = (engine.model.n_mels, engine.feature_extractor.nb_max_frames)
    features = np.random.default_rng(1).normal(size=(whisper.batch_size, *shape)).astype(np.float32)

    def bound() -> None:
        for first in range(0, windows, len(features)):
            batch = features[: windows - first]
            engine.model.generate(engine.encode(batch), [prompt] * len(batch), beam_size=5, max_length=448)

    seconds = sum(len(samples) for samples in audio) / RATE
    return _compared("transcription", "short_clips_vs_faster_whisper", ours, faster_whisper, bound, seconds, device)


def diarization(models: Path, file: Path, device: str) -> Result:
    import torch
    from pyannote.audio.pipelines import SpeakerDiarization

    from caseprep_pipelines.speech.diarization import Job, diarize
    from caseprep_pipelines.speech.documents import ChannelTranscript, RawTranscript
    from caseprep_pipelines.speech.pyannote_diarizer import load_diarizer
    from caseprep_pipelines.speech.voice_activity import detect

    diarizer = load_diarizer(models, ModelIdentity(name="made", digest="0" * 64), device=device)
    pipeline: Any = diarizer.pipeline
    speech = ChannelTranscript.model_construct(channel=0, speech=detect(file).speech)
    raw = RawTranscript.model_construct(channels=(speech,))
    samples = torch.from_numpy(soundfile.read(file, dtype="float32")[0])

    def ours() -> None:
        diarize(Job(normalized(file), file.parent, raw, lambda: diarizer))

    def stock() -> None:
        stacked = type(pipeline)
        pipeline.__class__ = SpeakerDiarization
        try:
            pipeline({"waveform": samples[None], "sample_rate": RATE, "uri": "recording"})
        finally:
            pipeline.__class__ = stacked

    chunk, step = round(pipeline._segmentation.duration * RATE), round(pipeline._segmentation.step * RATE)
    chunks = 1 + max(0, len(samples) - chunk) // step
    waveforms = samples[:chunk].repeat(max(pipeline.segmentation_batch_size, pipeline.embedding_batch_size), 1, 1)
    frames = pipeline._segmentation.model.num_frames(chunk)

    def bound() -> None:
        for first in range(0, chunks, pipeline.segmentation_batch_size):
            pipeline._segmentation.infer(waveforms[: min(pipeline.segmentation_batch_size, chunks - first)])
        for first in range(0, chunks, pipeline.embedding_batch_size):
            batch = waveforms[: min(pipeline.embedding_batch_size, chunks - first)]
            pipeline._embed(batch, np.ones((len(batch), 3, frames), dtype=np.float32))

    seconds = len(samples) / RATE
    return _compared("diarization", "diarization_vs_pyannote", ours, stock, bound, seconds, device)


def _compared(
    what: str,
    ratio: str,
    ours: Callable[[], None],
    peer: Callable[[], None],
    bound: Callable[[], None],
    audio_seconds: float,
    device: str,
) -> Result:
    """Each once to be warm, then by turns."""
    times: dict[str, list[float]] = {"ours": [], "peer": [], "bound": []}
    busy: list[float] = []
    for number in range(ROUNDS + 1):
        for name, work in (("ours", ours), ("peer", peer), ("bound", bound)):
            with _utilisation(device) as seen:
                started = time.perf_counter()
                work()
                seconds = time.perf_counter() - started
            if number:
                times[name].append(seconds)
                busy += seen if name == "ours" else []
    own = median(times["ours"])
    return Result(
        ratios={ratio: round(median(a / b for a, b in zip(times["peer"], times["ours"], strict=True)), 2)},
        figures={
            f"{what}_hours_per_hour": round(audio_seconds / own, 1),
            f"{what}_peer_hours_per_hour": round(audio_seconds / median(times["peer"]), 1),
            f"{what}_engines_bound_hours_per_hour": round(audio_seconds / median(times["bound"]), 1),
            f"{what}_times_the_bound": round(own / median(times["bound"]), 2),
            **({f"{what}_gpu_busy_percent": round(fmean(busy), 1)} if busy else {}),
        },
    )


@contextmanager
def _utilisation(device: str) -> Iterator[list[float]]:
    """Percentages of time in which the GPU was at work, several a second, once the context has ended."""
    seen: list[float] = []
    if device != "cuda":
        yield seen
        return
    with subprocess.Popen(
        ["nvidia-smi", "--id=0", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=200"],
        stdout=subprocess.PIPE,
        text=True,
    ) as watching:
        try:
            yield seen
        finally:
            watching.terminate()
            said, _ = watching.communicate()
            seen += [float(line) for line in said.split() if line.isdigit()]
