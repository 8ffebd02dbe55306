"""The tiny Whisper's tokenizer: byte-level, nearly every word of the demo's language one token, and Whisper's marks.

How text becomes numbers and which number means what; nothing of sound or of networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from models.demo import language

MARKS = (
    *("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|translate|>", "<|transcribe|>", "<|startoflm|>"),
    *("<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"),
)
"""In the order that faster-whisper and CTranslate2 count on: end of text first, the timestamps right after these."""
TICKS = 1501
"""Timestamps 0.00 to 30.00 in steps of 0.02 s."""


@dataclass(frozen=True)
class Numbers:
    """The token numbers that mean something."""

    end: int
    start: int
    previous: int
    silence: int
    plain: int
    zero: int
    blank: int
    english: int
    size: int


def build() -> Tokenizer:
    """A tokenizer whose byte pairs are learnt from the language's words alone, the same at every run."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    words = language.vocabulary()
    written = [" " + form for word in words for form in {word, word[0].upper() + word[1:]}]
    trainer = trainers.BpeTrainer(
        vocab_size=4_000,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[],
        show_progress=False,
    )
    tokenizer.train_from_iterator(sorted(written), trainer)
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in MARKS])
    tokenizer.add_tokens([AddedToken(f"<|{tick * 0.02:.2f}|>", normalized=False) for tick in range(TICKS)])
    return tokenizer


def numbers(tokenizer: Tokenizer) -> Numbers:
    """Look the meaningful tokens up."""
    end, start, english, _, _, _, previous, silence, plain = (tokenizer.token_to_id(mark) for mark in MARKS)
    zero, blank = tokenizer.token_to_id("<|0.00|>"), tokenizer.token_to_id("Ġ")
    return Numbers(end, start, previous, silence, plain, zero, blank, english, tokenizer.get_vocab_size())


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
