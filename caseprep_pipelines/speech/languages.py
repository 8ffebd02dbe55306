"""In which language each part of a channel is, from how likely the recogniser finds each language. Pure: no engine.

Whisper takes a stretch for one language, so where a question is English and its answer Spanish, one clip has both and
loses one. What it finds likely shows it: a clip of one language is that language by far, a mixed one is divided about
as the speech in it is. So only recordings with such a clip are asked again, stretch by stretch between pauses, for
their language alone; then the likeliest sequence of languages is found, in which changing costs something.

What is asked when belongs in `listening`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log

Likely = Mapping[str, float]
"""Probabilities by ISO 639 code; what is hardly likely may be missing."""

LANGUAGE_SECONDS = 10.0
"""Longest stretch whose language is asked for by itself. Whisper's encoder takes a third of the time for it that it
takes for a clip, and finds the same language (English and Spanish prompts by telephone: 47 of 49 either way)."""
PREFERENCE = 10.0
"""So many times likelier is a preferred language taken to be. Distant English looks like Welsh or Norwegian, with
English next; a recording that is Welsh leaves English far behind."""
MIXED = 0.08
"""A clip in which a second language is so likely may hold both, or neither."""
SURE = 0.6
"""Probability from which a stretch speaks for a language that is not the main one."""
ADMITTING_SECONDS, ADMITTING_SECONDS_PREFERRED, ADMITTING_SHARE = 8.0, 1.5, 0.1
"""A further language needs so much speech that is surely in it; one that is not preferred, the share of all too."""
CHANGE_COST = 0.7
"""What a change of language costs, in units of `_weight` times the logarithm of a probability: from 0.5 to 1.0 the same
4 of 164 stretches of interpreted hearings are wrong, from 1.5 to 2.0 six."""
RELATED = (
    frozenset({"es", "pt", "gl", "ca", "oc", "it", "fr", "ro", "la"}),
    frozenset({"en", "de", "nl", "af", "lb", "yi", "sv", "no", "nn", "da", "is", "fo"}),
    frozenset({"ru", "uk", "be", "bg", "mk", "sr", "hr", "bs", "sl", "cs", "sk", "pl"}),
)
"""Languages that are taken for each other: what goes to one that is not spoken here counts for its relative that is."""
USUALLY_LEFT = 0.1
"""How much of a stretch in one language is taken to be left to others, until stretches tell."""
LEAST = 0.01
"""No stretch is less likely in any language: one that is heard wrongly must not outweigh ten that are not."""
DOUBTFUL = 1.0
"""Languages are both likely where the better one is ahead by less, in the units of `CHANGE_COST`."""


@dataclass(frozen=True)
class Stretch:
    """Some speech whose language was asked for."""

    seconds: float
    loudness: float
    """0 to 1: of the recording's usual speech; what is faint counts less."""
    likely: Likely


def likeliest(likely: Likely, allowed: Sequence[str], preferred: Sequence[str]) -> str:
    """The language to take for one clip by itself: one of those allowed (any where none is named)."""
    leaning = _leaning(likely, allowed, preferred)
    if not leaning:
        return (allowed or preferred or ("en",))[0]
    return max(sorted(leaning), key=lambda language: leaning[language])


def mixed(likely: Likely, allowed: Sequence[str]) -> bool:
    """Whether a clip may be in two languages, or in none of those that seem likely."""
    restricted = _restricted(likely, allowed)
    return not restricted or 1.0 - max(restricted.values()) >= MIXED


def admitted(stretches: Sequence[Stretch], allowed: Sequence[str], preferred: Sequence[str]) -> tuple[str, ...]:
    """The languages that the recording is in, the main one first.

    Those allowed, where some are named; else the one that most of the speech is in, and others where enough of it is
    surely theirs.
    """
    if len(allowed) == 1 or not stretches:
        return tuple(allowed[:1] or preferred[:1] or ("en",))
    leanings = [_leaning(stretch.likely, allowed, preferred) for stretch in stretches]
    support: dict[str, float] = {}
    surely: dict[str, float] = {}
    for stretch, leaning in zip(stretches, leanings, strict=True):
        for language, probability in leaning.items():
            support[language] = support.get(language, 0.0) + _weight(stretch) * probability
            if probability >= SURE:
                surely[language] = surely.get(language, 0.0) + stretch.seconds
    if allowed:
        return tuple(sorted(allowed, key=lambda language: -support.get(language, 0.0)))
    if not support:
        return tuple(preferred[:1] or ("en",))
    main = max(sorted(support), key=lambda language: support[language])
    total = sum(stretch.seconds for stretch in stretches)
    others = [
        language
        for language, seconds in surely.items()
        if language != main
        and (
            seconds >= ADMITTING_SECONDS_PREFERRED
            if language in preferred
            else seconds >= max(ADMITTING_SECONDS, ADMITTING_SHARE * total)
        )
    ]
    return (main, *sorted(others, key=lambda language: (-support[language], language)))


def scores(stretches: Sequence[Stretch], languages: Sequence[str]) -> list[list[float]]:
    """For each stretch, the weighted log probability of each of the languages.

    What a stretch leaves to languages that are not spoken here counts for those that usually leave much: English is
    taken for English by far, while Spanish by telephone is taken for Latin, Italian or Hindi as well, so that of a
    stretch in which everything is a little likely English is the least likely.
    """
    claimed = [_claimed(stretch.likely, languages) for stretch in stretches]
    unclaimed = [max(0.0, 1.0 - sum(claims.values())) for claims in claimed]
    leaves = {name: [USUALLY_LEFT] for name in languages}
    for claims, left in zip(claimed, unclaimed, strict=True):
        if any(claims.values()):
            leaves[max(languages, key=lambda name: claims[name])].append(left)
    usual = {name: sum(left) / len(left) for name, left in leaves.items()}
    total = sum(usual.values())
    return [
        [_weight(stretch) * log(max(claims[name] + left * usual[name] / total, LEAST)) for name in languages]
        for stretch, claims, left in zip(stretches, claimed, unclaimed, strict=True)
    ]


def sequence(scores: Sequence[Sequence[float]], languages: Sequence[str]) -> list[str]:
    """The likeliest language of each stretch, in order of time, where each change costs `CHANGE_COST` (Viterbi)."""
    if not scores:
        return []
    best = [0.0] * len(languages)
    came_from: list[list[int]] = []
    for score in scores:
        origins = []
        after = []
        for at in range(len(languages)):
            before = max(range(len(languages)), key=lambda k: (best[k] - (CHANGE_COST if k != at else 0.0), k == at))
            origins.append(before)
            after.append(best[before] - (CHANGE_COST if before != at else 0.0) + score[at])
        best = after
        came_from.append(origins)
    at = max(range(len(languages)), key=lambda k: (best[k], -k))
    path = [at]
    for origins in reversed(came_from[1:]):
        at = origins[at]
        path.append(at)
    return [languages[at] for at in reversed(path)]


def runner_up(scores: Sequence[Sequence[float]], language: str, languages: Sequence[str]) -> str | None:
    """The language that stretches with these scores may be in as well as in `language`; None where there is no
    doubt."""
    if len(languages) < 2 or not scores:
        return None
    total = dict(zip(languages, (sum(column) for column in zip(*scores, strict=True)), strict=True))
    other = max(sorted(set(languages) - {language}), key=lambda name: total[name])
    return other if total[language] - total[other] < DOUBTFUL else None


def _claimed(likely: Likely, languages: Sequence[str]) -> dict[str, float]:
    """What each language has by itself and by relatives of which no other is spoken here."""
    claims = {name: likely.get(name, 0.0) for name in languages}
    for family in RELATED:
        here = [name for name in languages if name in family]
        if len(here) == 1:
            claims[here[0]] += sum(p for name, p in likely.items() if name in family and name not in claims)
    return claims


def _weight(stretch: Stretch) -> float:
    return min(max(stretch.seconds / 2, 0.1), 3.0) * stretch.loudness


def _restricted(likely: Likely, allowed: Sequence[str]) -> dict[str, float]:
    kept = {language: p for language, p in likely.items() if not allowed or language in allowed}
    total = sum(kept.values())
    return {language: p / total for language, p in kept.items()} if total > 0 else {}


def _leaning(likely: Likely, allowed: Sequence[str], preferred: Sequence[str]) -> dict[str, float]:
    """The same among those allowed, with the preferred ones `PREFERENCE` times likelier."""
    leaning = {
        language: p * (PREFERENCE if language in preferred else 1.0)
        for language, p in _restricted(likely, allowed).items()
    }
    total = sum(leaning.values())
    return {language: p / total for language, p in leaning.items()} if total > 0 else {}
