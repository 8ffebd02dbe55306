"""How a product document is written as bytes: validated, canonical, digestible.

The documents themselves live beside the code that knows them (`audio.documents`, `speech.documents`,
`transcript.document`, `renditions`, `rejections`); this module only fixes what they share.
"""

import hashlib
from typing import Self

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A piece of a document. Unknown fields are errors; validation errors never print what was read (privilege)."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False, ser_json_inf_nan="null"
    )


class Document(Part):
    """A product as JSON. Field order is the declaration's, so equal documents have equal bytes.

    Subclasses declare `document: Literal[NAME]` and `schema_version: Literal[N]`; the schema is published as
    `docs/schemas/NAME-N.json`.
    """

    def to_bytes(self) -> bytes:
        """UTF-8 JSON, one line, ending in a newline."""
        return self.model_dump_json().encode() + b"\n"

    def digest(self) -> str:
        """Hex SHA-256 of `to_bytes`."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Raises `pydantic.ValidationError` (without the input's values) where the bytes are not such a document."""
        return cls.model_validate_json(data)
