"""Full text over the current transcripts, with the same results on SQLite (FTS5) and PostgreSQL (tsvector).

Text and queries are folded to words here, by one function, so that the databases only match what we give them.
"""

import re
import unicodedata
from dataclasses import dataclass

from sqlalchemy import select, text

from caseprep_pipelines.catalog.database import Catalog
from caseprep_pipelines.catalog.tables import Recording, UtteranceRow, escaped

#: Further words of a query are ignored: nobody types more, and both databases stay well within their limits.
MAX_QUERY_WORDS = 32

_SNIPPET_BEFORE, _SNIPPET_LENGTH = 8, 30

# Scripts that are written without spaces between words; there each character counts as a word.
_WORD = re.compile(r"[\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]|"
                   r"[^\s\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]+")  # fmt: skip
_TERM = re.compile(r'"([^"]*)(?:"(\*?)|$)|([^\s"]+)')

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
    dialect = catalog.engine.dialect.name
    expression = _fts5(terms) if dialect == "sqlite" else _tsquery(terms)
    statement = (
        select(UtteranceRow, Recording.name)
        .join(Recording, Recording.partition == UtteranceRow.partition)
        .where(_MATCHES[dialect].bindparams(expression=expression))
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
    return _WORD.findall(unicodedata.normalize("NFC", kept))


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


def _fts5(terms: list[Term]) -> str:
    return " AND ".join(f'"{" ".join(term.words)}"{" *" if term.prefix else ""}' for term in terms)


def _tsquery(terms: list[Term]) -> str:
    phrases = (" <-> ".join(f"'{word}'" for word in term.words) + (":*" if term.prefix else "") for term in terms)
    return " & ".join(f"({phrase})" for phrase in phrases)


def snippet(text: str, terms: list[Term]) -> str:
    """The stretch of the text around its first match, in its own spelling."""
    pieces = text.split()
    folded = [(word, index) for index, piece in enumerate(pieces) for word in words_of(piece)]
    first = next((folded[at][1] for at in range(len(folded)) if _matches_at(folded, at, terms)), 0)
    start = max(0, first - _SNIPPET_BEFORE)
    end = min(len(pieces), start + _SNIPPET_LENGTH)
    return ("… " if start else "") + " ".join(pieces[start:end]) + (" …" if end < len(pieces) else "")


def _matches_at(folded: list[tuple[str, int]], at: int, terms: list[Term]) -> bool:
    for term in terms:
        found = [word for word, _ in folded[at : at + len(term.words)]]
        *head, last = term.words
        if len(found) == len(term.words) and found[:-1] == head and (
            found[-1].startswith(last) if term.prefix else found[-1] == last
        ):  # fmt: skip
            return True
    return False
