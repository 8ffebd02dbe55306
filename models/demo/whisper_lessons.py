"""From clips to batches: what the tiny Whisper reads, what it should answer, and where it should look.

A lesson is one clip with a prompt or none, timestamps or none; a batch is lessons of one window length. Which window
when is the training loop's business.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import IterableDataset

from models.demo import language
from models.demo.whisper_clips import FRAMES_PER_SECOND, PHONES, Clip, Pool, compose, features, weather
from models.demo.whisper_tokenizer import Numbers, numbers

IGNORED = -100
NO_PHONE = len(PHONES) + 1
FIRST_STAMP = 50
"""Decoders allow the first timestamp to be at most 1.00 s."""


@dataclass
class Batch:
    """`mel` (batch, 80, 2 × window); `tokens` and `answers` (batch, length), the answers ignored where nothing is
    asked; `phones` and `words` (batch, window) classes of frames; `guides` (rows, 4) as `Network.straying` wants."""

    mel: Tensor
    tokens: Tensor
    answers: Tensor
    phones: Tensor
    words: Tensor
    guides: Tensor


class Teacher:
    """Makes batches. Needs the pool, the tokenizer and the classes of words."""

    def __init__(self, pool: Pool, tokenizer: Tokenizer, words: tuple[str, ...]) -> None:
        self.pool = pool
        self.tokenizer = tokenizer
        self.known: Numbers = numbers(tokenizer)
        self.classes = {word: number for number, word in enumerate(words)}
        self.cache: dict[str, list[int]] = {}

    def encoded(self, word: str) -> list[int]:
        if word not in self.cache:
            self.cache[word] = self.tokenizer.encode(" " + word).ids
        return self.cache[word]

    def batch(self, random: Random, window: int, size: int) -> Batch:
        prompted = random.random() < 0.25
        lessons = [self._lesson(random, window, prompted and random.random() < 0.8) for _ in range(size)]
        longest = max(len(tokens) for _, tokens, _, _, _, _ in lessons)
        tokens = torch.full((size, longest), self.known.end)
        answers = torch.full((size, longest), IGNORED)
        guides: list[tuple[int, int, int, int]] = []
        for row, (_, read, said, _, _, looks) in enumerate(lessons):
            tokens[row, : len(read)] = torch.tensor(read)
            answers[row, : len(said)] = torch.tensor(said)
            guides += [(row, *look) for look in looks]
        mel, phones, words = (np.stack([lesson[part] for lesson in lessons]) for part in (0, 3, 4))
        return Batch(
            torch.from_numpy(mel),
            tokens,
            answers,
            torch.from_numpy(phones),
            torch.from_numpy(words),
            torch.tensor(guides, dtype=torch.long).reshape(-1, 4),
        )

    def _lesson(
        self, random: Random, window: int, prompted: bool
    ) -> tuple[np.ndarray, list[int], list[int], np.ndarray, np.ndarray, list[tuple[int, int, int]]]:
        known = self.known
        clip = compose(random, self.pool, (window - 16) / FRAMES_PER_SECOND)
        heard = features(weather(random, clip))[:, : 2 * window]
        mel = np.zeros((80, 2 * window), dtype=np.float32)  # faster-whisper pads features with zeros, not with silence
        mel[:, : heard.shape[1]] = heard
        phones = np.full(window, NO_PHONE, dtype=np.int64)
        for phone, start, end in clip.phones:
            phones[round(start * FRAMES_PER_SECOND) : round(end * FRAMES_PER_SECOND)] = phone
        words = np.full(window, len(self.classes), dtype=np.int64)
        for utterance in clip.utterances:
            for word, start, end in utterance:
                first = round(start * FRAMES_PER_SECOND)
                words[first : max(first + 1, round(end * FRAMES_PER_SECOND))] = self.classes[
                    " ".join(language.normal(word))
                ]
        prompt = self._prompt(random) if prompted else []
        stamped = random.random() < 0.35
        if clip.utterances:
            said, looks = self._speech(clip, len(prompt), window, stamped)
            read, answers = said[:-1], said[1:]
        else:  # the mark for silence is asked for at once, but decoders go on to the next and must get nothing there
            read, answers = [known.start, known.zero if stamped else known.plain], [known.silence, known.end]
            looks = []
        return mel, prompt + read, [IGNORED] * len(prompt) + answers, phones, words, looks

    def _speech(
        self, clip: Clip, before: int, window: int, stamped: bool
    ) -> tuple[list[int], list[tuple[int, int, int]]]:
        """Tokens from the start mark to the end, and (position, first frame, frame after the last) to look at."""
        known = self.known
        said = [known.start] if stamped else [known.start, known.plain]
        looks: list[tuple[int, int, int]] = []
        for number, utterance in enumerate(clip.utterances):
            begin, finish = (round(moment * FRAMES_PER_SECOND) for moment in (utterance[0][1], utterance[-1][2]))
            if stamped:
                said.append(known.zero + (min(begin, FIRST_STAMP) if number == 0 else begin))
            for position, (word, start, end) in enumerate(utterance):
                after = utterance[position + 1][1] if position + 1 < len(utterance) else end + 0.2
                tokens = self.encoded(word)
                spoken = [token for token in tokens if self._letters(token)]
                span = (end - start) / max(len(spoken), 1)
                told = 0
                for token in tokens:
                    if token in spoken:
                        look = (start + told * span, start + (told + 1) * span)
                        told += 1
                    else:
                        look = (end - 0.02, max(after, end))
                    first = math.floor(look[0] * FRAMES_PER_SECOND + 0.3)
                    last = max(first + 1, math.ceil(look[1] * FRAMES_PER_SECOND - 0.3))
                    if last < window:
                        looks.append((before + len(said) - 1, max(first, 0), last))
                    said.append(token)
            if stamped:
                said.append(known.zero + finish)
        return [*said, known.end], looks

    def _letters(self, token: int) -> bool:
        return any(letter.isalpha() for letter in self.tokenizer.decode([token]))

    def _prompt(self, random: Random) -> list[int]:
        """What may stand before: hot words of any kind, or earlier text. It must not be repeated."""
        kind = random.random()
        if kind < 0.35:
            words = [random.choice(language.vocabulary()) for _ in range(random.randint(1, 8))]
        elif kind < 0.65:
            words = [
                "".join(random.choices(string.ascii_lowercase, k=random.randint(2, 9)))
                for _ in range(random.randint(1, 3))
            ]
            words = [word.title() if random.random() < 0.6 else word for word in words]
        else:
            words = language.sentence(random).split()
        text = " " + random.choice([" ", ", ", " ", "; "]).join(words) if kind < 0.65 else " " + " ".join(words)
        return [self.known.previous, *self.tokenizer.encode(text).ids[:60]]


class Lessons(IterableDataset):  # type: ignore[type-arg]
    """Batches for ever, from a step on: `plan` says window and size for a step and a random number generator."""

    def __init__(
        self, make: Callable[[], Teacher], plan: Callable[[int, Random], tuple[int, int]], step: int, seed: int
    ) -> None:
        self.make, self.plan, self.step, self.seed = make, plan, step, seed

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        teacher = self.make()
        step = self.step
        while True:
            random = Random(self.seed * 1_000_003 + step)
            yield teacher.batch(random, *self.plan(step, random))
            step += 1
