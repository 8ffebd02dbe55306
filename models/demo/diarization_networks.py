"""Training of the demo's segmentation and embedding networks on the bank of mixed chunks.

Both loops are plain: one optimizer, a rate that rises and then falls, a fixed seed. What is special is said where it
is done. How the trained networks become a pipeline is in `diarization_train`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from itertools import combinations, permutations
from pathlib import Path
from random import Random

import torch
import torch.nn as nn
import torch.nn.functional as F  # noqa: N812
from pyannote.audio.core.model import Model
from pyannote.audio.core.task import Problem, Resolution, Specifications

from caseprep_pipelines.models.demo_networks import DemoEmbedding, DemoSegmentation
from models.demo.diarization_bank import Bank, read

SECONDS = 5
"""Length of the chunks that the pipeline looks at."""
SPEAKERS, AT_ONCE = 3, 2

_CLASSES = [set(c) for size in range(AT_ONCE + 1) for c in combinations(range(SPEAKERS), size)]
_ORDERS = list(permutations(range(SPEAKERS)))
_RENAMED = torch.tensor([[_CLASSES.index({order[s] for s in c}) for c in _CLASSES] for order in _ORDERS])
"""(orders, classes): what each powerset class becomes when speakers are renamed."""


def segmentation_network() -> DemoSegmentation:
    network = DemoSegmentation()
    network.specifications = Specifications(
        problem=Problem.MONO_LABEL_CLASSIFICATION,
        resolution=Resolution.FRAME,
        duration=float(SECONDS),
        min_duration=float(SECONDS),
        warm_up=(0.0, 0.0),
        classes=[f"speaker#{n + 1}" for n in range(SPEAKERS)],
        powerset_max_classes=AT_ONCE,
        permutation_invariant=True,
    )
    network.setup()
    return network


def embedding_network() -> DemoEmbedding:
    network = DemoEmbedding()
    network.specifications = Specifications(
        problem=Problem.REPRESENTATION,
        resolution=Resolution.CHUNK,
        duration=float(SECONDS),
        min_duration=0.5,
        classes=[],
    )
    return network


def save(network: Model, path: Path) -> None:
    """A checkpoint as pyannote.audio reads it. Weights in half precision: half the size, and loading widens them."""
    state = {
        name: value.half() if isinstance(value, torch.Tensor) and name in dict(network.named_parameters()) else value
        for name, value in network.state_dict().items()
    }
    checkpoint = {
        "state_dict": state,
        "hyper_parameters": dict(network.hparams),
        "pytorch-lightning_version": "2.6.0",
        "epoch": 0,
        "global_step": 0,
    }
    network.on_save_checkpoint(checkpoint)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, path)


def _speakers_in_order(active: torch.Tensor) -> torch.Tensor:
    """The three most active tracks of each window, in the order in which they are first heard: (size, 3) indices."""
    frames = active.shape[-1]
    most = active.sum(-1).topk(SPEAKERS, dim=-1).indices
    first = torch.where(active.any(-1), active.float().argmax(-1), frames)
    return most.gather(1, first.gather(1, most).argsort(dim=-1, stable=True))


def _classes(active: torch.Tensor) -> torch.Tensor:
    """(size, 3, frames) activity -> (size, frames) powerset class; a third voice at once is left out."""
    kept = active & (active.cumsum(1) <= AT_ONCE)
    weights = torch.tensor([1, 2, 4])[None, :, None]
    table = torch.zeros(8, dtype=torch.long)
    for index, members in enumerate(_CLASSES):
        table[sum(1 << s for s in members)] = index
    return table[(kept * weights).sum(1)]


def _learn(
    name: str,
    parameters: list[nn.Parameter],
    steps: int,
    rate: float,
    loss_of: Callable[[float], tuple[torch.Tensor, str]],
    keep: Callable[[], None],
) -> None:
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=1e-3)
    started, text = time.monotonic(), ""
    for step in range(steps):
        progress = step / steps
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 60) * (0.5 * (1 + math.cos(math.pi * progress)) + 0.01)
        loss, text = loss_of(progress)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if (step + 1) % 50 == 0:
            print(f"{name} {step + 1}/{steps} {time.monotonic() - started:.0f} s {text}", flush=True)
        if (step + 1) % 250 == 0:
            keep()
    keep()


def train_segmentation(bank: Bank, seed: int, steps: int, file: Path, size: int = 32) -> None:
    """The permutation loss alone stalls. Two things get it going: at first speakers have fixed places in the order in
    which they are heard, and a second loss asks the recurrent layers which training speaker each frame belongs to."""
    torch.manual_seed(seed)
    random = Random(seed)
    network = segmentation_network()
    names = nn.Linear(network.lstm.hidden_size * 2, bank.speakers)
    shown = {"loss": 0.0, "error": 1.0}

    def loss_of(progress: float) -> tuple[torch.Tensor, str]:
        features, active, who = read(bank, random, size, SECONDS)
        order = _speakers_in_order(active)
        active = active.gather(1, order[..., None].expand(-1, -1, active.shape[-1]))
        target = _classes(active)
        heard = network.hear(features)
        scores = network.decide(heard)
        renamed = _RENAMED[:, target]
        losses = -torch.stack([scores.gather(-1, r[..., None])[..., 0].mean(-1) for r in renamed])
        best = losses.argmin(0)
        decision = losses[0] if progress < 0.35 else losses.gather(0, best[None])[0]
        heard_in = active[..., ::2]
        speaker = (heard_in * who.gather(1, order)[..., None]).sum(1).masked_fill(heard_in.sum(1) != 1, -100)
        naming = F.cross_entropy(names(heard).flatten(0, 1), speaker.flatten(), ignore_index=-100)
        right = renamed[best, torch.arange(size)]
        wrong = (scores.argmax(-1) != right).float().mean().item()
        shown["loss"] = 0.98 * shown["loss"] + 0.02 * decision.mean().item()
        shown["error"] = 0.98 * shown["error"] + 0.02 * wrong
        text = f"loss {shown['loss']:.3f} wrong frames {shown['error']:.3f} naming {naming.item():.2f}"
        return decision.mean() + 0.3 * (1 - progress) * naming, text

    network.train()
    _learn(
        "segmentation", [*network.parameters(), *names.parameters()], steps, 3e-3, loss_of, lambda: save(network, file)
    )


def clean_weights(random: Random, active: torch.Tensor) -> torch.Tensor:
    """For each track the frames where it speaks alone, at times only a part of them: (size, tracks, frames)."""
    clean = (active & (active.sum(1, keepdim=True) == 1)).float()
    frames = clean.shape[-1]
    for window in clean:
        if random.random() < 0.5:
            length = random.randint(60, frames - 20)
            first = random.randint(0, frames - length)
            window[:, :first] = 0
            window[:, first + length :] = 0
    return clean


def _mean_directions(bank: Bank, random: Random, network: DemoEmbedding, size: int) -> torch.Tensor:
    """Where the network puts each training speaker now: (speakers, dimension)."""
    sums = torch.zeros(bank.speakers, network.dimension)
    with torch.inference_mode():
        for _ in range(30):
            features, active, who = read(bank, random, size, SECONDS)
            weights = clean_weights(random, active)
            usable = weights.sum(-1) >= 25
            sums.index_add_(0, who[usable], F.normalize(network.eval().embed(features, weights)[usable], dim=-1))
    network.train()
    return sums.clone()


def train_embedding(bank: Bank, seed: int, steps: int, file: Path, again: bool = False, size: int = 32) -> None:
    """`again` starts from `file` and goes on at a lower rate.

    Additive-margin softmax over the training speakers, from exactly what the pipeline will hand over: a chunk with
    several people in it, and the frames of one of them."""
    torch.manual_seed(seed)
    random = Random(seed)
    network = embedding_network()
    directions = nn.Parameter(torch.randn(bank.speakers, network.dimension) * 0.1)
    if again:
        network.load_state_dict(torch.load(file, weights_only=False)["state_dict"])
        directions.data = _mean_directions(bank, random, network, size)
    shown = {"loss": 0.0, "right": 0.0}

    def loss_of(progress: float) -> tuple[torch.Tensor, str]:
        features, active, who = read(bank, random, size, SECONDS)
        weights = clean_weights(random, active)
        usable = weights.sum(-1) >= 25
        weights[~usable] = 1.0  # the gradient of an empty mean is not a number, even where nobody looks at it
        embeddings = F.normalize(network.embed(features, weights)[usable], dim=-1)
        speaker = who[usable]
        cosines = embeddings @ F.normalize(directions, dim=-1).T
        margin = 0.25 * min(1.0, 2 * progress) * F.one_hot(speaker, bank.speakers)
        loss = F.cross_entropy(25 * (cosines - margin), speaker)
        right = (cosines.argmax(-1) == speaker).float().mean().item()
        shown["loss"] = 0.98 * shown["loss"] + 0.02 * loss.item()
        shown["right"] = 0.98 * shown["right"] + 0.02 * right
        return loss, f"loss {shown['loss']:.3f} right {shown['right']:.3f}"

    network.train()
    _learn(
        "embedding",
        [*network.parameters(), directions],
        steps,
        1e-3 if again else 3e-3,
        loss_of,
        lambda: save(network, file),
    )
