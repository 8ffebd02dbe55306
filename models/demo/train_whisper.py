"""Train the demo's tiny Whisper from nothing, by one command and a fixed seed: `python -m models.demo.train_whisper`.

Fills the pool of utterances, trains, and writes the model directory that ships with the package. It can be stopped at
any time and goes on from its last checkpoint; `--steps` may be changed then: the learning rate is held, and falls over
the last third of however many steps there are to be. `models.demo.evaluate_whisper` measures what came out.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.utils.data import DataLoader

from models.demo import whisper_lessons, whisper_network, whisper_pool, whisper_tokenizer
from models.demo.whisper_clips import CLIP_SECONDS, Pool
from models.demo.whisper_optimizer import Muon

SHIPPED = Path(__file__).parents[2] / "caseprep_pipelines" / "models" / "demo" / "whisper"
SEED = 20_240
SHORT_STEPS = 1_000
"""Steps with short clips only, at changing positions: words are learnt there several times as fast."""
PEAK_RATE, WARM_UP = 3e-3, 100
MEMORY = 0.998
"""Of the moving average of the weights, which is what is shipped."""
CARD = f"""# The demo Whisper

Knows nothing but the demo: the few hundred words of `models/demo/language.py`, as espeak-ng says them. It is there so
that everything can be tried and tested without a download, and is useless for real recordings. It hears clips of at
most {CLIP_SECONDS} seconds, English only. Made from nothing by `python -m models.demo.train_whisper` in the project's
repository, without anybody's voice or recordings; its licence is the project's.
"""
WRONG_WORDS = 0.08
"""Share of words that the decoder is told wrongly, so that it listens instead of reciting."""


def plan(step: int, random: Random) -> tuple[int, int]:
    """Window in encoder positions and number of clips for a step."""
    if step < SHORT_STEPS:
        return 160, 20
    return random.choices([(160, 24), (232, 16), (whisper_network.WINDOW, 12)], [0.3, 0.2, 0.5])[0]


def rate(step: int, steps: int) -> float:
    """Learning rate: up, level, and down to nothing over the last third."""
    return PEAK_RATE * min(1.0, (step + 1) / WARM_UP, max(0.0, (steps - step) / (steps / 3)) + 0.005)


def losses(
    network: whisper_network.Network, batch: whisper_lessons.Batch, offset: int, known: Any
) -> dict[str, Tensor]:
    """Text, phones, words and attention; besides, the share of right words."""
    tokens = batch.tokens
    text = (tokens < known.end) & (torch.rand(tokens.shape) < WRONG_WORDS) & (batch.answers != whisper_lessons.IGNORED)
    tokens = torch.where(text, torch.randint(256, known.end, tokens.shape), tokens)
    states, phones, words = network(batch.mel, tokens, offset)
    asked = batch.answers != whisper_lessons.IGNORED
    scores, answers = network.scores(states[asked]), batch.answers[asked]
    written = answers < known.end
    return {
        "text": F.cross_entropy(scores, answers),
        "phones": F.cross_entropy(phones.flatten(0, 1), batch.phones.flatten()),
        "words": F.cross_entropy(words.flatten(0, 1), batch.words.flatten()),
        "looks": network.straying(batch.guides) if len(batch.guides) else torch.zeros(()),
        "right": (scores.argmax(-1) == answers)[written].float().mean(),
    }


def train(work: Path, steps: int, until: int) -> dict[str, Tensor]:
    """Train to step `until` of `steps`, with a checkpoint in `work` now and then; the averaged weights."""
    torch.manual_seed(SEED)
    tokenizer = whisper_tokenizer.build()
    known = whisper_tokenizer.numbers(tokenizer)
    network = whisper_network.Network(known)
    learnt = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizers = _optimizers(network)
    average = {name: value.clone() for name, value in network.state_dict().items()}
    step, checkpoint = 0, work / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(saved["network"])
        for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        average, step = saved["average"], saved["step"]
    make = partial(_teacher, work / "pool")
    lessons = whisper_lessons.Lessons(make, plan, step, SEED)
    batches = iter(DataLoader(lessons, batch_size=None, num_workers=1, prefetch_factor=8))
    told: list[dict[str, float]] = []
    began = saved_at = time.monotonic()
    while step < until:
        batch = next(batches)
        window = batch.mel.shape[2] // 2
        random = Random(step)
        shifted = step < SHORT_STEPS and random.random() < 0.7
        # while the window is short, clips stand anywhere, so that every position is learnt; timestamps move along
        offset = random.randrange(whisper_network.WINDOW - window) if shifted else 0
        batch.tokens[batch.tokens >= known.zero] += offset
        batch.answers[batch.answers >= known.zero] += offset
        parts = losses(network, batch, offset, known)
        loss = parts["text"] + 0.5 * (parts["phones"] + parts["words"]) + 0.3 * parts["looks"]
        network.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = rate(step, steps)
            optimizer.step()
        network.reserve()
        step += 1
        memory = min(MEMORY, (1 + step) / (20 + step))
        for name, value in network.state_dict().items():
            average[name].lerp_(value, 1 - memory)
        told.append({name: float(value) for name, value in parts.items()})
        if step % 25 == 0:
            means = {name: round(sum(row[name] for row in told) / len(told), 3) for name in told[0]}
            print(json.dumps({"step": step, "seconds": round(time.monotonic() - began), **means}), flush=True)
            told = []
        if time.monotonic() - saved_at > 120 or step == until:
            saved_at = time.monotonic()
            states = [optimizer.state_dict() for optimizer in optimizers]
            kept = {"network": network.state_dict(), "optimizers": states, "average": average, "step": step}
            torch.save(kept, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").rename(checkpoint)
    return average


def _optimizers(network: whisper_network.Network) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, Adam for what is left."""
    learnt = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    inner = {name for name, parameter in learnt.items() if parameter.ndim == 2 and ".layers." in name}
    rest = [parameter for name, parameter in learnt.items() if name not in inner]
    return [
        Muon([learnt[name] for name in sorted(inner)], lr=PEAK_RATE),
        torch.optim.AdamW(rest, lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.01, fused=True),
    ]


def _teacher(folder: Path) -> whisper_lessons.Teacher:
    return whisper_lessons.Teacher(Pool(folder), whisper_tokenizer.build(), whisper_network.WORDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build") / "demo-whisper", help="pool and checkpoint (2 GB)")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="model directory to write")
    parser.add_argument("--steps", type=int, default=5_200)
    parser.add_argument("--shards", type=int, default=whisper_pool.SHARDS)
    parser.add_argument("--export", action="store_true", help="only write the model of the last checkpoint")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    chosen.work.mkdir(parents=True, exist_ok=True)
    if chosen.export:
        average = torch.load(chosen.work / "checkpoint.pt", weights_only=True)["average"]
    else:
        whisper_pool.fill(chosen.work / "pool", chosen.shards)
        average = train(chosen.work, chosen.steps, chosen.steps)
    whisper_network.write_weights(average, whisper_tokenizer.build(), chosen.out)
    mark = {"name": "caseprep-demo-whisper", "demo": True, "clip_seconds": CLIP_SECONDS}
    (chosen.out / "caseprep.json").write_text(json.dumps(mark, indent=2) + "\n")
    (chosen.out / "MODEL.md").write_text(CARD)


if __name__ == "__main__":
    main()
