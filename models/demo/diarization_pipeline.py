"""From two trained networks to pipeline directories that pyannote.audio loads, and from those to figures.

Knows the layouts, the PLDA that VBx needs, how thresholds are tuned and how diarization error is measured.
Training is in `diarization_networks`; the conversations themselves come from `diarization_voices`.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from pyannote.audio import Model, Pipeline
from pyannote.core import Annotation, Segment
from pyannote.metrics.diarization import DiarizationErrorRate

from models.demo import language
from models.demo.diarization_bank import Bank, read
from models.demo.diarization_networks import SECONDS, clean_weights
from models.demo.diarization_voices import RATE, Samples, cast, converse, mix, noise, telephone

PLDA_DIMENSION = 32
VBX: dict[str, Any] = {"threshold": 0.6, "Fa": 0.07, "Fb": 0.8}
AGGLOMERATIVE: dict[str, Any] = {"method": "centroid", "min_cluster_size": 6, "threshold": 0.9}


@dataclass
class Conversation:
    """A test recording and the truth about it."""

    name: str
    samples: Samples
    reference: Annotation
    telephone: bool
    snr: float


def conversation(random: Random, name: str, voices: tuple[str, ...]) -> Conversation:
    """Two to four people, 1.5 to 4 minutes, gains up to 6 dB apart, noise 15 to 30 dB below speech, some by phone."""
    people = cast(random, voices, random.choice([2, 2, 3, 3, 4]))
    placed = converse(random, people, random.choice(language.KINDS), random.uniform(90, 240))
    samples = mix(placed, [10 ** (random.uniform(-3, 3) / 20) for _ in people])
    snr = random.uniform(15, 30)
    samples = samples + np.float32(0.08 * 10 ** (-snr / 20)) * noise(random, len(samples))
    by_phone = random.random() < 0.25
    if by_phone:
        samples = telephone(samples)
    reference = Annotation(uri=name)
    for index, line in enumerate(placed):
        for part, (start, end) in enumerate(line.spoken.stretches()):
            reference[Segment(line.start + start, line.start + end), f"{index}.{part}"] = f"speaker {line.speaker}"
    gain = np.float32(10 ** (random.uniform(-20, 6) / 20))
    return Conversation(name, np.clip(gain * samples, -1, 1), reference, by_phone, snr)


def fit_plda(model: Model, bank: Bank, seed: int, folder: Path) -> None:
    """Two-covariance PLDA in the form that `pyannote.audio.utils.vbx.vbx_setup` reads, from the training speakers."""
    from scipy.linalg import eigh

    random = Random(seed)
    vectors, owners = [], []
    model.eval()
    with torch.inference_mode():
        for _ in range(60):
            features, active, who = read(bank, random, 32, SECONDS)
            weights = clean_weights(random, active)
            usable = weights.sum(-1) >= 50
            vectors.append(model.embed(features, weights)[usable].double().numpy())
            owners.append(who[usable].numpy())
    raw, owner = np.concatenate(vectors), np.concatenate(owners)

    def unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))

    def scatter(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Covariances within and between speakers."""
        names, index, counts = np.unique(owner, return_inverse=True, return_counts=True)
        means = np.stack([rows[owner == name].mean(0) for name in names])
        ridge = 1e-3 * np.eye(rows.shape[1])
        within = np.cov((rows - means[index]).T) * len(rows) / (len(rows) - len(names)) + ridge
        return within, np.cov(means.T) - within * np.mean(1 / counts) + ridge

    def floor(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        values, axes = np.linalg.eigh(matrix)
        return np.asarray((axes * np.maximum(values, 1e-3)) @ axes.T)

    size = raw.shape[1]
    mean1 = raw.mean(0)
    first = np.sqrt(size) * unit(raw - mean1)
    within, between = scatter(first)
    lda = eigh(floor(between), within)[1][:, ::-1][:, :PLDA_DIMENSION]
    reduced = first @ lda
    mean2 = reduced.mean(0)
    ready = np.sqrt(PLDA_DIMENSION) * unit(reduced - mean2)
    within, between = scatter(ready)
    strengths, axes = eigh(floor(between), within)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "xvec_transform.npz", mean1=mean1, mean2=mean2, lda=lda)
    np.savez(folder / "plda.npz", mu=ready.mean(0), tr=axes.T[::-1], psi=strengths[::-1])


def describe(folder: Path, clustering: str, parameters: dict[str, Any]) -> None:
    """`config.yaml` and the file that marks the directory as a demo model."""
    config = {
        "dependencies": {"pyannote.audio": "4.0.0"},
        "pipeline": {
            "name": "pyannote.audio.pipelines.SpeakerDiarization",
            "params": {
                "clustering": clustering,
                "segmentation": "$model/segmentation",
                "segmentation_batch_size": 32,
                "embedding": "$model/embedding",
                "embedding_batch_size": 32,
                "embedding_exclude_overlap": True,
                "plda": "$model/plda",
            },
        },
        "params": {"clustering": parameters, "segmentation": {"min_duration_off": 0.0}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    mark = {
        "kind": "diarization",
        "name": f"caseprep-demo-{folder.name.replace('_', '-')}",
        "demo": True,
        "note": "Trained on synthetic voices only, to show the pipeline at work. Not for real recordings.",
    }
    (folder / "caseprep.json").write_text(json.dumps(mark, indent=2) + "\n")


def assemble(community: Path, agglomerative: Path) -> None:
    """Both layouts, each complete in itself, so that each can be checked by the digests of its own files."""
    describe(community, "VBxClustering", VBX)
    for part in ("segmentation", "embedding", "plda"):
        shutil.copytree(community / part, agglomerative / part, dirs_exist_ok=True)
    describe(agglomerative, "AgglomerativeClustering", AGGLOMERATIVE)


def files_of(conversations: list[Conversation]) -> list[dict[str, Any]]:
    """Conversations as pyannote.audio takes them. A pipeline in training mode leaves in them what the networks said, so
    that whoever asks again with the same networks, only with another clustering, asks in a fraction of the time."""
    return [{"waveform": torch.from_numpy(c.samples)[None], "sample_rate": RATE, "uri": c.name} for c in conversations]


def load(folder: Path) -> Pipeline:
    pipeline = Pipeline.from_pretrained(folder)
    pipeline.training = True
    return pipeline


def errors(pipeline: Pipeline, conversations: list[Conversation], files: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Diarization error of each conversation, no collar, overlap counted, number of speakers not given."""
    found = []
    for conversation, file in zip(conversations, files, strict=True):
        guess = pipeline(file).speaker_diarization
        parts = DiarizationErrorRate()(conversation.reference, guess, detailed=True)
        total = parts["total"]
        found.append(
            {
                "der": round(parts["diarization error rate"], 4),
                "missed": round(parts["missed detection"] / total, 4),
                "false_alarm": round(parts["false alarm"] / total, 4),
                "confusion": round(parts["confusion"] / total, 4),
                "speakers": len(conversation.reference.labels()),
                "speakers_found": len(guess.labels()),
                "seconds": round(len(conversation.samples) / RATE, 1),
                "telephone": conversation.telephone,
                "snr_db": round(conversation.snr, 1),
            }
        )
    return found


def tune(
    folder: Path, choices: dict[str, list[Any]], conversations: list[Conversation], files: list[dict[str, Any]]
) -> dict[str, Any]:
    """The clustering parameters with the least mean error on these conversations, tried all together."""
    pipeline = load(folder)
    best: tuple[float, dict[str, Any]] = (float("inf"), {})
    for values in product(*choices.values()):
        parameters = dict(zip(choices, values, strict=True))
        pipeline.instantiate({"clustering": parameters, "segmentation": {"min_duration_off": 0.0}})
        error = float(np.mean([e["der"] for e in errors(pipeline, conversations, files)]))
        print(f"tuning {parameters} {error:.4f}", flush=True)
        best = min(best, (error, parameters), key=lambda b: b[0])
    return best[1]
