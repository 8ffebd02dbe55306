"""Publishes the JSON Schemas of the documents: `python -m caseprep_pipelines.transcript.schemas docs/schemas`.

The documents are declared where they are known; this module only lists them. When a document changes in a way that
breaks readers, its `schema_version` goes up and the schema of the old version stays published.
"""

import ast
import inspect
import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from caseprep_pipelines.audio.documents import NormalizedAudio, SourceRecording
from caseprep_pipelines.catalog.receipt import CatalogReceipt
from caseprep_pipelines.models.pins import Pins
from caseprep_pipelines.rejections import Rejection
from caseprep_pipelines.renditions.formats import RenditionSet
from caseprep_pipelines.report.documents import ArchiveReport
from caseprep_pipelines.speech.documents import RawTranscript, SpeakerTurns
from caseprep_pipelines.storage.document import Document, Part
from caseprep_pipelines.transcript.document import Transcript

#: Every product that is a document, in the order of the graph, then what stands beside the graph.
DOCUMENTS: tuple[type[Document], ...] = (
    SourceRecording,
    NormalizedAudio,
    RawTranscript,
    SpeakerTurns,
    Transcript,
    RenditionSet,
    CatalogReceipt,
    ArchiveReport,
    Rejection,
    Pins,
)


def schema_name(document: type[Document]) -> str:
    """`NAME-N`."""
    fields = document.model_fields
    return f"{fields['document'].default}-{fields['schema_version'].default}"


def schema(document: type[Document]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of the document as it is written, with what the code's docstrings say of each field."""
    found = document.model_json_schema(mode="serialization")
    classes = {part.__name__: part for part in _subclasses(Part)}
    _describe(found, document)
    for name, definition in found.get("$defs", {}).items():
        if name in classes:
            _describe(definition, classes[name])
    name = schema_name(document)
    about = inspect.getdoc(document) if document.__doc__ else inspect.getdoc(sys.modules[document.__module__])
    found |= {"title": name, "description": (about or "").partition("\n\n")[0].replace("\n", " ")}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:caseprep-pipelines:schema:{name}",
        "title": found.pop("title"),
        "description": found.pop("description"),
        **found,
    }


def publish(folder: Path) -> list[Path]:
    """Writes `NAME-N.json` for every document; schemas of earlier versions stay as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for document in DOCUMENTS:
        path = folder / f"{schema_name(document)}.json"
        path.write_text(json.dumps(schema(document), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        written.append(path)
    return written


def _describe(definition: dict[str, Any], part: type[Part]) -> None:
    # pydantic would do this for classes that ask for it, but then at every import
    for name, text in _field_docstrings(part).items():
        definition["properties"][name]["description"] = text


def _field_docstrings(part: type[Part]) -> dict[str, str]:
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(part))).body
    if not isinstance(body, ast.ClassDef):
        return {}
    found = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        ):
            found[field.target.id] = inspect.cleandoc(text.value.value).replace("\n", " ")
    return found


def _subclasses(part: type[Part]) -> Iterator[type[Part]]:
    for subclass in part.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


if __name__ == "__main__":
    publish(Path(sys.argv[1]))
