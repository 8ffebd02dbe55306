"""Words on which a case may turn: negations, numbers and names. A transcript that loses one says another thing."""

from collections.abc import Iterable, Sequence

from caseprep_pipelines.evaluation.normalization import ONES, ORDINALS, SAME, SCALES, TENS, Token

KINDS = ("negations", "numbers", "names")

NEGATIONS = {
    "en": "no not never none nobody nothing neither nor nowhere without",
    "es": "no nunca jamas nadie nada ninguno ninguna ningun ni tampoco sin",
    "fr": "non ne pas jamais personne rien aucun aucune ni sans",
    "it": "no non mai nessuno nessuna niente nulla ne senza",
    "de": "nein nicht nie niemals niemand nichts kein keine keinen keinem keiner ohne",
    "pt": "nao nunca jamais ninguem nada nenhum nenhuma nem sem",
    "ru": "нет не никогда никто ничего ничто ни без",
}
NUMBERS = frozenset(
    [*ONES, *TENS, *(name for _, name in SCALES), *(one + "th" for one in ONES), *ORDINALS.values()]
    + [ten[:-1] + "ieth" for ten in TENS]
) - {"second"}
"""English; elsewhere what is written in digits."""
NOUNS_ARE_CAPITAL = frozenset({"de", "lb"})
_SENTENCE_ENDS = (".", "?", "!", ":", ";", '"', "”", "…")
_TITLES = frozenset({*SAME, *SAME.values()})


def kinds(
    words: Sequence[str], utterances: Iterable[str], tokens: Sequence[Token], languages: Sequence[str]
) -> list[tuple[int, str]]:
    """Places of tokens of each kind. `words` are as the reference writes them, `tokens` point at them."""
    negations = {word for language in languages for word in NEGATIONS.get(language, "").split()}
    names = set() if NOUNS_ARE_CAPITAL.intersection(languages) else _names(words, utterances)
    found = []
    for place, token in enumerate(tokens):
        if token.text in negations:
            found.append((place, "negations"))
        if token.text in NUMBERS or token.text.isdigit():
            found.append((place, "numbers"))
        if token.index in names and token.text not in _TITLES:
            found.append((place, "names"))
    return found


def _names(words: Sequence[str], utterances: Iterable[str]) -> set[int]:
    """Places of words with a capital where no sentence begins, which are nowhere written small.

    None in a text without small letters, or with hardly any.
    """
    plain = [word.strip(".,;:!?…\"“”'()-") for word in words]
    small = {word for word in plain if word[:1].islower()}
    if len(small) < 0.2 * len(set(plain)):
        return set()
    firsts, at = set(), 0
    for utterance in utterances:
        firsts.add(at)
        at += len(_split(utterance))
    return {
        place
        for place, word in enumerate(plain)
        if word[:1].isupper()
        and place not in firsts
        and not words[place - 1].endswith(_SENTENCE_ENDS)
        and word.casefold() not in small
        and word.partition("'")[0].partition("’")[0] != "I"
    }


def _split(utterance: str) -> list[str]:
    from caseprep_pipelines.evaluation.normalization import verbatim

    return verbatim(utterance)
