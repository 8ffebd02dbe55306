"""The material that both diarization networks learn from: thousands of ten-second chunks as log-mel energies.

Chunks are mixed once, from pretended people who never speak in tuning or evaluation, and are read many times:
each reading cuts another window, moves the level and bends the spectrum. What is known of each chunk (who speaks in
each frame) comes from the synthesizer's word times. No network is trained here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray

from caseprep_pipelines.models.demo_networks import FRAME, LogMel
from models.demo import language
from models.demo.diarization_voices import (
    RATE,
    TRAINING_VOICES,
    Samples,
    Speaker,
    Spoken,
    invent,
    noise,
    speak,
    telephone,
)

SECONDS = 10
FRAMES = SECONDS * RATE // FRAME
TRACKS = 4
MELS = 48
_FLOOR = 1e-8


@dataclass(frozen=True)
class Bank:
    """`energies`: (chunk, 1 + MELS, 2 × FRAMES + 1) float16 log power, the first row that of the waveform itself.
    `active`: (chunk, TRACKS, FRAMES) bool. `who`: (chunk, TRACKS) index of the speaker, -1 where the track is empty."""

    energies: NDArray[np.float16]
    active: NDArray[np.bool_]
    who: NDArray[np.int64]
    speakers: int


def _people(random: Random, each: int) -> list[Speaker]:
    return [invent(random, voice) for voice in TRAINING_VOICES for _ in range(each)]


def _utterances(random: Random, people: list[Speaker], each: int) -> list[list[Spoken]]:
    """For each speaker, so many different lines out of conversations of every kind."""
    texts: list[str] = []
    spoken: list[list[Spoken]] = []
    for person in people:
        lines: list[Spoken] = []
        while len(lines) < each:
            if not texts:
                texts = [line.text for line in language.conversation(random, 3, random.choice(language.KINDS))]
                random.shuffle(texts)
            lines.append(speak(person, texts.pop(), random))
        spoken.append(lines)
    return spoken


def _chunk(
    random: Random, pool: list[list[Spoken]], rooms: list[Samples]
) -> tuple[Samples, NDArray[np.bool_], list[int]]:
    """Ten seconds of one to four people taking turns, sometimes at once, with the noise of the place."""
    length = SECONDS * RATE
    samples = np.zeros(length, dtype=np.float32)
    active = np.zeros((TRACKS, FRAMES), dtype=bool)
    who: list[int] = random.sample(range(len(pool)), random.choices([1, 2, 3, 4], [0.12, 0.45, 0.3, 0.13])[0])
    gains = [10 ** random.uniform(-0.4, 0.1) for _ in who]
    clock = random.uniform(-3.0, 1.5) if random.random() > 0.04 else float(SECONDS)
    last = -1
    while clock < SECONDS:
        track = (
            random.randrange(len(who))
            if last < 0 or random.random() < 0.25
            else random.choice([t for t in range(len(who)) if t != last] or [last])
        )
        spoken = random.choice(pool[who[track]])
        if last >= 0 and track != last and random.random() < 0.18:
            clock -= random.uniform(0.2, 1.2)
        first = round(clock * RATE)
        inside = slice(max(first, 0), max(min(first + len(spoken.samples), length), 0))
        samples[inside] += gains[track] * spoken.samples[inside.start - first : inside.stop - first]
        for start, end in spoken.stretches():
            frames = [min(max(round((clock + t) * RATE / FRAME), 0), FRAMES) for t in (start, end)]
            active[track, frames[0] : frames[1]] = True
        clock += len(spoken.samples) / RATE
        clock += random.uniform(0.05, 0.7) if random.random() < 0.8 else random.uniform(0.7, 3.0)
        last = track
    if random.random() < 0.85:
        room = random.choice(rooms)
        first = random.randint(0, len(room) - length)
        samples = samples + np.float32(0.08 * 10 ** random.uniform(-1.9, -0.55)) * room[first : first + length]
    if random.random() < 0.2:
        samples = telephone(samples)
    return samples, active, who


def build(folder: Path, seed: int, speakers_of_each_voice: int, lines_of_each: int, chunks: int) -> Bank:
    """Make the bank, or read it where an earlier run left it in `folder`."""
    from rich.progress import track

    files = {name: folder / f"{name}.npy" for name in ("energies", "active", "who")}
    random = Random(seed)
    people = _people(random, speakers_of_each_voice)
    if files["who"].exists():
        return Bank(*(np.load(file, mmap_mode="r") for file in files.values()), speakers=len(people))
    folder.mkdir(parents=True, exist_ok=True)
    pool = _utterances(random, people, lines_of_each)
    rooms = [noise(random, 30 * RATE) for _ in range(40)]
    mel = LogMel(MELS).mel
    energies = np.lib.format.open_memmap(files["energies"], "w+", np.float16, (chunks, 1 + MELS, 2 * FRAMES + 1))
    active = np.zeros((chunks, TRACKS, FRAMES), dtype=bool)
    who = np.full((chunks, TRACKS), -1, dtype=np.int64)
    for index in track(range(chunks), description="mixing chunks"):
        samples, active[index], present = _chunk(random, pool, rooms)
        who[index, : len(present)] = present
        wave = torch.from_numpy(samples)
        power = torch.nn.functional.pad(wave.square().reshape(-1, FRAME // 2).mean(1), (0, 1))
        energies[index] = torch.log(torch.cat([power[None], mel(wave)]) + _FLOOR).numpy()
    np.save(files["active"], active)
    np.save(files["who"], who)
    return build(folder, seed, speakers_of_each_voice, lines_of_each, chunks)


def read(bank: Bank, random: Random, size: int, seconds: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A batch of windows, each at another place of another chunk, through another imaginary microphone.

    Returns log-mel as `LogMel` gives it (size, MELS, 100 × seconds + 1), who is active (size, TRACKS, frames) and
    who that is (size, TRACKS).
    """
    frames = seconds * RATE // FRAME
    chosen = [(random.randrange(len(bank.who)), random.randint(0, FRAMES - frames)) for _ in range(size)]
    power = np.stack([bank.energies[c, :, 2 * f : 2 * (f + frames) + 1] for c, f in chosen]).astype(np.float32)
    energies = (torch.from_numpy(power).exp_() - 1.05 * _FLOOR).clamp_min_(0.0)  # half precision blurs the floor
    bend = torch.from_numpy(np.stack([_microphone(random) for _ in range(size)]))
    level = energies[:, 0, :-1].mean(dim=-1).clamp_min(1e-8)
    mels = energies[:, 1:] * bend[:, :, None] / level[:, None, None]
    active = torch.from_numpy(np.stack([bank.active[c, :, f : f + frames] for c, f in chosen]))
    who = torch.from_numpy(np.stack([bank.who[c] for c, _ in chosen]))
    return torch.log(mels + 1e-3), active, who


def _microphone(random: Random) -> NDArray[np.float32]:
    """A smooth gain for each mel band, sometimes with the low end cut off as a telephone does."""
    knots = [random.gauss(0.0, 3.0) for _ in range(6)]
    decibels = np.interp(np.linspace(0, 5, MELS), range(6), knots)
    decibels -= decibels.mean()
    if random.random() < 0.25:
        cut = random.randint(1, 6)
        decibels[:cut] -= np.linspace(25, 3, cut)
    return (10 ** (decibels / 10)).astype(np.float32)
