"""What a transcriber loses and invents against the references and against faster-whisper's two ways.

`python -m benchmarks._real_measure CORPUS MODEL BASELINES OURS [--words] [--json]` prints a table by condition. OURS is
a folder of `ITEM.json`: a list of words `{"text", "start", "end"}` (and "language", "speaker" where known), or an
object of such "words" and "marks" `{"start", "end"}`, or a product `raw_transcript`.

- A word is *agreed* where the reference has it and at least one of faster-whisper's ways heard it; without a reference
  where both of its ways have it. An agreed word is *lost* that ours lacks. Lost words in a row are a *stretch*.
  *Of both* counts only what both ways heard (and the reference, where there is one).
- A word of ours is *invented* that neither the reference nor either way of faster-whisper has.
- A lost or invented word is *marked* where a mark of ours lies over its time.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks._real_baselines import WAYS, baseline
from benchmarks._real_corpus import Item, called, corpus
from caseprep_pipelines.evaluation.alignment import align, stretches
from caseprep_pipelines.evaluation.normalization import Token, tokens, without_remarks
from caseprep_pipelines.evaluation.transcripts import spread

STRETCH = 4
MARK_SECONDS = 1.0
"""A mark so near counts: times of words are not exact."""


@dataclass(frozen=True)
class Ours:
    words: list[dict[str, Any]]
    marks: list[tuple[float, float]]

    def tokens(self) -> list[Token]:
        return tokens([(word["text"], word["start"], word["end"]) for word in self.words])

    def marked(self, token: Token) -> bool:
        assert token.start is not None and token.end is not None  # noqa: PT018
        middle = (token.start + token.end) / 2
        return any(start - MARK_SECONDS <= middle <= end + MARK_SECONDS for start, end in self.marks)


@dataclass(frozen=True)
class Stretch:
    item: str
    start: float
    end: float
    words: str
    marked: bool


@dataclass
class Score:
    """Of one item; sums of them are scores of a condition."""

    items: int = 0
    minutes: float = 0.0
    reference: int = 0
    agreed: int = 0
    agreed_by_both: int = 0
    """Words that both of faster-whisper's ways have, and the reference where there is one."""
    lost_of_both: int = 0
    lost: int = 0
    lost_unmarked: int = 0
    ours: int = 0
    invented: int = 0
    invented_unmarked: int = 0
    invented_by: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WAYS, 0))
    """By the other ways: words that neither the reference nor the other way has."""
    errors: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("ours", *WAYS), 0))
    turns: int = 0
    turns_right: int = 0
    """Turns of speech, and those whose words mostly came in their language."""
    turns_said: int = 0
    """Turns with words in some language."""
    other_language: int = 0
    """Words in a language that the recording does not hold."""
    stretches: list[Stretch] = field(default_factory=list)
    lost_words: list[tuple[str, float, str]] = field(default_factory=list)
    invented_words: list[tuple[str, float, str]] = field(default_factory=list)

    def add(self, other: "Score") -> None:
        for name, value in vars(other).items():
            own = getattr(self, name)
            if isinstance(value, dict):
                setattr(self, name, {key: own[key] + value[key] for key in own})
            else:
                setattr(self, name, own + value)

    @property
    def language_f1(self) -> float | None:
        """Of turns: precision over those with words, recall over all."""
        return 2 * self.turns_right / (self.turns + self.turns_said) if self.turns else None

    def wer(self, who: str) -> float | None:
        return 100 * self.errors[who] / self.reference if self.reference else None


def read_ours(path: Path) -> Ours:
    said = json.loads(path.read_text())
    if isinstance(said, list):
        return Ours(said, [])
    if "channels" in said:
        segments = [segment for channel in said["channels"] for segment in channel["segments"]]
        flagged = [part for channel in said["channels"] for part in channel["flagged"]]
        flagged += [segment for segment in segments if segment["flags"]]
        words = [
            {**word, "language": segment.get("language", channel["language"])}
            for channel in said["channels"]
            for segment in channel["segments"]
            for word in segment["words"]
        ]
        return Ours(sorted(words, key=lambda word: float(word["start"])), _marks(flagged))
    return Ours(said["words"], _marks(said.get("marks", ())))


def read_whisperx(path: Path) -> Ours:
    """Words of WhisperX without alignment, each with a share of its segment's time."""
    words = [
        {"text": text, "start": start, "end": end}
        for segment in json.loads(path.read_text())["segments"]
        for text, start, end in spread(segment["text"].split(), float(segment["start"]), float(segment["end"]))
    ]
    return Ours(words, [])


def _marks(marks: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    return [(mark["start"], mark["end"]) for mark in marks]


def reference_tokens(item: Item) -> list[Token] | None:
    """Its words in order; a word's time is a share of its turn's."""
    if item.turns is None:
        return None
    words = [word for turn in item.turns for word in spread(without_remarks(turn.words).split(), turn.start, turn.end)]
    return tokens(words)


def score(item: Item, ours: Ours, heard: dict[str, dict[str, Any]]) -> Score:
    mine = ours.tokens()
    ways = {way: Ours(said["words"], []).tokens() for way, said in heard.items()}
    reference = reference_tokens(item)
    truth, agreed = agreed_words(item, ways)
    found = [pair is not None for pair in align(truth, mine).pairs]
    known = [token for token, is_agreed in zip(truth, agreed, strict=True) if is_agreed]
    lost = [not is_found for is_found, is_agreed in zip(found, agreed, strict=True) if is_agreed]
    witnesses = [*([reference] if reference is not None else []), *ways.values()]
    invented = [not is_known for is_known in _found(mine, *witnesses)]
    result = Score(
        items=1,
        minutes=item.seconds / 60,
        agreed=len(known),
        lost=sum(lost),
        lost_unmarked=sum(is_lost and not ours.marked(token) for token, is_lost in zip(known, lost, strict=True)),
        ours=len(mine),
        invented=sum(invented),
        invented_unmarked=sum(
            is_invented and not ours.marked(token) for token, is_invented in zip(mine, invented, strict=True)
        ),
        lost_words=[
            (item.name, token.start or 0.0, token.text) for token, is_lost in zip(known, lost, strict=True) if is_lost
        ],
        invented_words=[
            (item.name, token.start or 0.0, token.text)
            for token, is_invented in zip(mine, invented, strict=True)
            if is_invented
        ],
    )
    for way, other in (("sequential", "batched"), ("batched", "sequential")):
        others = [*([reference] if reference is not None else []), ways[other]]
        result.invented_by[way] = sum(not is_known for is_known in _found(ways[way], *others))
    both = [all(own) for own in zip(*(_found(truth, said) for said in ways.values()), strict=True)]
    result.agreed_by_both = sum(both)
    result.lost_of_both = sum(is_known and not is_found for is_known, is_found in zip(both, found, strict=True))
    if reference is not None:
        result.reference = len(reference)
        result.errors = {who: align(reference, said).errors for who, said in {"ours": mine, **ways}.items()}
    for first, last in stretches(lost, STRETCH):
        part = known[first : last + 1]
        middle = part[len(part) // 2]
        result.stretches.append(
            Stretch(item.name, part[0].start or 0.0, part[-1].end or 0.0, " ".join(token.text for token in part),
                    ours.marked(middle))
        )  # fmt: skip
    if item.turns and any("language" in word for word in ours.words):
        for turn in item.turns:
            said = [
                str(word.get("language"))
                for word in ours.words
                if turn.start <= (word["start"] + word["end"]) / 2 <= turn.end
            ]
            result.turns += 1
            result.turns_said += bool(said)
            result.turns_right += bool(said) and max(sorted(set(said)), key=said.count) == turn.language
        result.other_language = sum(word.get("language") not in item.languages for word in ours.words)
    return result


def agreed_words(item: Item, ways: dict[str, list[Token]]) -> tuple[list[Token], list[bool]]:
    """The words that are known, and which of them were heard surely enough that they must not be lost."""
    reference = reference_tokens(item)
    if reference is not None:
        return reference, _found(reference, ways["sequential"], ways["batched"])
    return ways["sequential"], _found(ways["sequential"], ways["batched"])


def _found(words: Sequence[Token], *others: Sequence[Token]) -> list[bool]:
    """For each word whether any of the others has it."""
    found = [False] * len(words)
    for other in others:
        for place, pair in enumerate(align(words, other).pairs):
            found[place] = found[place] or pair is not None
    return found


def measure(items: Sequence[Item], model: Path, cache: Path, ours: Path) -> tuple[dict[str, Score], list[str]]:
    """Scores by condition, `all` the last, and the names of items that ours or the baselines lack."""
    by: dict[str, Score] = {}
    total, missing = Score(), []
    for item in items:
        heard = {way: baseline(way, item, model, cache) for way in WAYS}
        if item.turns == ():
            # nothing was said: what is invented needs no witness
            heard = {way: said or {"words": []} for way, said in heard.items()}
        path = ours / f"{item.name}.json"
        if not path.exists() or any(said is None for said in heard.values()):
            missing.append(item.name)
            continue
        own = score(item, read_ours(path), {way: said for way, said in heard.items() if said is not None})
        by.setdefault(item.condition, Score()).add(own)
        total.add(own)
    return {**by, "all": total}, missing


def table(scores: dict[str, Score]) -> list[str]:
    head = ("condition", "min", "words", "agreed", "WER", "seq", "batch", "lost", "%", "of both %", "unmkd",
            "invent", "unmkd", "seq", "batch", "str>=4", "unmkd", "lang")  # fmt: skip
    rows = [head]
    for name, own in scores.items():
        wers = ["-" if own.wer(who) is None else f"{own.wer(who):.1f}" for who in ("ours", *WAYS)]
        unmarked = sum(not stretch.marked for stretch in own.stretches)
        language = "-" if own.language_f1 is None else f"{own.turns_right}/{own.turns} F1 {own.language_f1:.2f}"
        if own.other_language:
            language += f" +{own.other_language}w other"
        rows.append(
            (name, f"{own.minutes:.1f}", str(own.reference), str(own.agreed), *wers, str(own.lost),
             f"{100 * own.lost / own.agreed:.1f}" if own.agreed else "-",
             f"{100 * own.lost_of_both / own.agreed_by_both:.1f}" if own.agreed_by_both else "-",
             str(own.lost_unmarked), str(own.invented), str(own.invented_unmarked),
             *(str(own.invented_by[way]) for way in WAYS), str(len(own.stretches)),
             str(unmarked), language)
        )  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return [
        "  ".join(cell.ljust(width) if not column else cell.rjust(width) for column, (cell, width) in
                  enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks._real_measure", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    for name in ("corpus", "model", "baselines", "ours"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--words", action="store_true", help="every lost and every invented word with its time")
    parser.add_argument("--only", help="conditions or items whose name begins so")
    parser.add_argument("--json", action="store_true", help="everything as JSON")
    given = parser.parse_args()
    items = corpus(given.corpus, called(given.only))
    scores, missing = measure(items, given.model, given.baselines, given.ours)
    if given.json:
        print(json.dumps({name: asdict(own) for name, own in scores.items()}, ensure_ascii=False))
        return
    print("\n".join(table(scores)))
    for stretch in scores["all"].stretches:
        print(
            f"{'marked' if stretch.marked else 'LOST  '} {stretch.item} {stretch.start:.1f}-{stretch.end:.1f}: "
            f"{stretch.words}"
        )
    if given.words:
        for kind in ("lost", "invented"):
            last: tuple[str, float] = ("", 0.0)
            for item, at, text in getattr(scores["all"], f"{kind}_words"):
                if item != last[0] or at - last[1] > 2:
                    print(f"\n{kind} {item} {at:.1f}:", end="")
                print(f" {text}", end="")
                last = (item, at)
            print()
    if missing:
        print(f"left out, as ours or a baseline is missing: {len(missing)} items: {' '.join(missing)}")


if __name__ == "__main__":
    main()
