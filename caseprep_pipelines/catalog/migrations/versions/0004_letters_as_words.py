"""Where words are written without spaces, each letter is a word of the full-text index: folds such utterances again.

Transcripts that a person adopted are not loaded again by themselves.
"""

import sqlalchemy as sa
from alembic import op

from caseprep_pipelines.catalog.search import words_of

revision = "0004"
down_revision = "0003"

_LETTERS = ("\u0e00-\u0fff", "\u1000-\u109f", "\u1780-\u17ff")
_ROWS = 1000


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        having = " OR ".join(f"text GLOB '*[{letters}]*'" for letters in _LETTERS)
    else:
        having = f"text ~ '[{''.join(_LETTERS)}]'"
    query = sa.text(f"SELECT id, text FROM utterances WHERE id > :after AND ({having}) ORDER BY id LIMIT {_ROWS}")  # noqa: S608
    change = sa.text("UPDATE utterances SET search_words = :words WHERE id = :id")
    after = 0
    while rows := connection.execute(query, {"after": after}).all():
        connection.execute(change, [{"id": number, "words": " ".join(words_of(said))} for number, said in rows])
        after = rows[-1][0]
