"""Full text over the current transcripts, with the same results on SQLite (FTS5) and PostgreSQL (tsvector).

Text and queries are folded to words here, by one function, so that the databases only match what we give them.
"""

import re
import unicodedata
from dataclasses import dataclass

from sqlalchemy import ColumnElement, TextClause, func, literal, select, text

from caseprep_pipelines.catalog.database import Catalog
from caseprep_pipelines.catalog.tables import Recording, UtteranceRow, escaped
from caseprep_pipelines.transcript.joining import UNSPACED_LETTERS

#: Further words of a query are ignored: nobody types more, where a letter can be a word, and both databases stay well
#: within their limits.
MAX_QUERY_WORDS = 128

#: Both cut longer ones at some length of their own.
MAX_WORD_LETTERS = 200

_SNIPPET_BEFORE, _SNIPPET_LENGTH = 8, 30
_LETTER_LENGTH = 0.25
"""What a letter of a script without spaces counts there, where a word counts 1."""

# Where there are no spaces between words, each letter counts as a word, with the marks that stand on it. A mark that is
# a part of another letter (the first half of a Thai ำ) counts alone, as the text may have it either way.
_MARKS = "".join(
    char
    for char in map(
        chr, [*range(0x0E00, 0x1100), *range(0x1780, 0x1800), *range(0x3000, 0x3100), *range(0xA9E0, 0xAA80)]
    )
    if unicodedata.category(char)[0] == "M" and char not in "\u0e4d\u0ecd"
)
_LETTER = f"[{UNSPACED_LETTERS}][{_MARKS}]*"
_WORD = re.compile(rf"{_LETTER}|[^\s{UNSPACED_LETTERS}]+")
_LETTERS = re.compile(_LETTER)
_TERM = re.compile(r'"([^"]*)(?:"(\*?)|$)|([^\s"]+)')

# Two spellings that look the same, and both are written: เเ for แ, and a tone before or after the circle of ำ.
_TWO_VOWELS = re.compile("\u0e40\u0e40|\u0ec0\u0ec0")
_TONES = re.compile("[\u0e48-\u0e4b\u0e4d]{2,}|[\u0ec8-\u0ecb\u0ecd]{2,}")

_Condition = ColumnElement[bool] | TextClause

_MATCHES = {
    "sqlite": text(
        "utterances.id IN (SELECT rowid FROM utterances_full_text WHERE utterances_full_text MATCH :expression)"
    ),
    "postgresql": text(
        "to_tsvector(CAST('simple' AS regconfig), utterances.search_words)"
        " @@ to_tsquery(CAST('simple' AS regconfig), :expression)"
    ),
}


@dataclass(frozen=True)
class Hit:
    """An utterance that matches."""

    partition: str
    matter: str
    name: str
    """The file's own name."""
    speaker: str | None
    start: float
    """Seconds of the recording."""
    end: float
    snippet: str
    page_line: str | None
    """As in `45:12`; None where the transcript was not paginated."""


@dataclass(frozen=True)
class Term:
    """Words that must follow each other; with `prefix`, the last may go on."""

    words: tuple[str, ...]
    prefix: bool


def search(catalog: Catalog, query: str, matter: str | None = None, limit: int = 100) -> list[Hit]:
    """Utterances that hold every term of the query, in order of matter, registration and time; at most `limit`.

    A query is words, `"quoted phrases"` and `beginnings*`; case, accents and punctuation do not count, and a query
    without any word finds nothing. There is no wrong query.
    """
    terms = parse_query(query)
    if not terms:
        return []
    statement = (
        select(UtteranceRow, Recording.name)
        .join(Recording, Recording.partition == UtteranceRow.partition)
        .where(*(_in_sqlite(terms) if catalog.engine.dialect.name == "sqlite" else _in_postgresql(terms)))
        .order_by(UtteranceRow.matter, Recording.position, UtteranceRow.start, UtteranceRow.index)
        .limit(limit)
    )
    if matter is not None:
        statement = statement.where(UtteranceRow.matter == escaped(matter))
    with catalog.reading() as session:
        return [
            Hit(
                partition=row.partition,
                matter=row.matter,
                name=name,
                speaker=row.speaker,
                start=row.start,
                end=row.end,
                snippet=snippet(row.text, terms),
                page_line=None if row.page is None else f"{row.page}:{row.line}",
            )
            for row, name in session.execute(statement)
        ]


def words_of(text: str) -> list[str]:
    """The words of a text as they are matched: folded in case and width, without accents and punctuation."""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    kept = "".join(
        char if unicodedata.category(char)[0] in "LMN" else " " for char in folded if not "\u0300" <= char <= "\u036f"
    )
    alike = _TONES.sub(_tones_first, _TWO_VOWELS.sub(lambda match: chr(ord(match[0][0]) + 1), kept))
    return [word[:MAX_WORD_LETTERS] for word in _WORD.findall(unicodedata.normalize("NFC", alike))]


def _tones_first(match: re.Match[str]) -> str:
    return "".join(sorted(match[0], key=lambda mark: mark in "\u0e4d\u0ecd"))


def parse_query(query: str) -> list[Term]:
    """What a person typed as terms, all of which must be found."""
    terms: list[Term] = []
    room = MAX_QUERY_WORDS
    for phrase, star, word in _TERM.findall(re.sub("[“”„«»]", '"', query)):
        words = tuple(words_of(phrase or word)[:room])
        room -= len(words)
        if words:
            terms.append(Term(words, bool(star) or word.endswith("*")))
    return terms


def _in_sqlite(terms: list[Term]) -> list[_Condition]:
    phrases = (f'"{" ".join(term.words)}"{" *" if term.prefix else ""}' for term in terms)
    return [_MATCHES["sqlite"].bindparams(expression=" AND ".join(phrases))]


def _in_postgresql(terms: list[Term]) -> list[_Condition]:
    """Its index finds the rows that hold all words. Whether they follow each other is looked up in those rows: it
    keeps only the first 256 places of a word and the first 16,383 of a text, and a long answer has more."""
    words = (f"'{word}'" for term in terms for word in (term.words[:-1] if term.prefix else term.words))
    beginnings = (f"'{term.words[-1]}':*" for term in terms if term.prefix)
    expression = " & ".join(dict.fromkeys([*words, *beginnings]))
    said = literal(" ") + UtteranceRow.search_words + " "
    return [
        _MATCHES["postgresql"].bindparams(expression=expression),
        *(
            func.strpos(said, f" {' '.join(term.words)}{'' if term.prefix else ' '}") > 0
            for term in terms
            if len(term.words) > 1
        ),
    ]


def snippet(text: str, terms: list[Term]) -> str:
    """The stretch of the text around its first match, in its own spelling."""
    pieces = list(_WORD.finditer(text))
    folds = {piece: words_of(piece) for piece in {piece[0] for piece in pieces}}
    folded = [(word, index) for index, piece in enumerate(pieces) for word in folds[piece[0]]]
    start = next((folded[at][1] for at in range(len(folded)) if _matches_at(folded, at, terms)), 0)
    lengths = [_LETTER_LENGTH if _LETTERS.match(piece[0]) else 1 for piece in pieces]
    room = float(_SNIPPET_BEFORE)
    while start and room >= lengths[start - 1]:
        start -= 1
        room -= lengths[start]
    end, room = start, float(_SNIPPET_LENGTH)
    while end < len(pieces) and room >= lengths[end]:
        room -= lengths[end]
        end += 1
    shown = text[pieces[start].start() : pieces[end - 1].end()] if pieces else ""
    return ("… " if start else "") + " ".join(shown.split()) + (" …" if end < len(pieces) else "")


def _matches_at(folded: list[tuple[str, int]], at: int, terms: list[Term]) -> bool:
    for term in terms:
        found = [word for word, _ in folded[at : at + len(term.words)]]
        *head, last = term.words
        if len(found) == len(term.words) and found[:-1] == head and (
            found[-1].startswith(last) if term.prefix else found[-1] == last
        ):  # fmt: skip
            return True
    return False
