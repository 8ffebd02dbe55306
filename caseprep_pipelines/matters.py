"""A matter's own settings: `incoming/MATTER/matter.toml`, written by the firm and only read here.

What every recording shares belongs in `settings`. The matter's id is the firm's number and names nobody; its title
and vocabulary may, so they never reach logs or metadata.
"""

import tomllib
from typing import Any

from pydantic import Field, ValidationError, model_validator

from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.storage.document import Part
from caseprep_pipelines.storage.objects import MissingObject, ObjectStore


class Matter(Part):
    """What `matter.toml` may say; every line of it is optional."""

    title: str | None = None
    languages: tuple[str, ...] = ()
    """What is spoken, as ISO 639 codes; no recording is taken for another language. `language = "en"` says the same
    of one."""
    vocabulary: tuple[str, ...] = ()
    min_speakers: int | None = Field(default=None, ge=1)
    max_speakers: int | None = Field(default=None, ge=1)
    rush: bool = False
    """Its recordings go before everybody else's, and before the archive."""
    accept_truncated: bool = False
    """Recordings that were cut off are worked on as far as they go, and their transcripts say so."""
    privileged: bool = False
    """Recordings of a privileged matter are registered and kept, but rejected before anything listens to them."""

    @model_validator(mode="before")
    @classmethod
    def _one_language(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("language"), str) and "languages" not in given:
            return {
                **{key: value for key, value in given.items() if key != "language"},
                "languages": (given["language"],),
            }
        return given


def parse_matter(data: bytes, matter: str) -> Matter:
    """Raises `ConfigurationError` naming the matter and the line's key, never its value."""
    try:
        return Matter.model_validate(tomllib.loads(data.decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise ConfigurationError(
            f"matter.toml of matter {matter} is not valid TOML; correct it and run again"
        ) from None
    except ValidationError as error:
        keys = ", ".join(sorted({".".join(map(str, e["loc"])) for e in error.errors(include_input=False)}))
        raise ConfigurationError(f"matter.toml of matter {matter}: check the value of {keys}") from None


def read_matter(objects: ObjectStore, incoming_prefix: str, matter: str) -> Matter:
    """The matter's settings, or the defaults where the firm wrote none."""
    name = f"{incoming_prefix.rstrip('/')}/{matter}/matter.toml"
    try:
        return parse_matter(objects.read_bytes(name), matter)
    except MissingObject:
        return Matter()
