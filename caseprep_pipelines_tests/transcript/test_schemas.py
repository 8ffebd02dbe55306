"""The published JSON Schemas are what the code writes."""

import json
from pathlib import Path

import jsonschema
import pytest

from caseprep_pipelines.rejections import REMEDIES, Reason, Rejection
from caseprep_pipelines.renditions.formats import FORMATS, render
from caseprep_pipelines.transcript.schemas import DOCUMENTS, publish, schema, schema_name
from caseprep_pipelines_tests.samples import (
    PARTITION,
    sample_audio,
    sample_raw,
    sample_source,
    sample_transcript,
    sample_turns,
)

PUBLISHED = Path(__file__).parents[2] / "docs" / "schemas"
REFRESH = "run: python -m caseprep_pipelines.transcript.schemas docs/schemas (and see docs/schemas/README.md)"


@pytest.mark.parametrize("document", DOCUMENTS, ids=schema_name)
def test_what_is_published_equals_the_code(document, tmp_path):
    name = f"{schema_name(document)}.json"
    publish(tmp_path)
    published = PUBLISHED / name
    assert published.is_file(), REFRESH
    assert published.read_text(encoding="utf-8") == (tmp_path / name).read_text(encoding="utf-8"), REFRESH


@pytest.mark.parametrize("document", DOCUMENTS, ids=schema_name)
def test_a_schema_is_valid_and_says_what_it_describes(document):
    found = schema(document)
    jsonschema.Draft202012Validator.check_schema(found)
    assert found["$id"].endswith(schema_name(document))
    assert found["title"] == schema_name(document)
    assert found["description"].endswith(".")
    assert found["properties"]["document"]["const"] == document.model_fields["document"].default
    assert isinstance(found["properties"]["schema_version"]["const"], int)
    assert found["additionalProperties"] is False


def test_what_the_docstrings_say_of_fields_is_published():
    definitions = schema(type(sample_turns()))["$defs"]
    assert definitions["Turn"]["properties"]["confidence"]["description"].startswith("0 to 1: how far")


def test_the_readme_lists_every_schema():
    readme = (PUBLISHED / "README.md").read_text(encoding="utf-8")
    assert [name for document in DOCUMENTS if (name := schema_name(document)) not in readme] == []


def test_documents_are_valid_by_their_schemas(tmp_path):
    transcript, turns, raw = sample_transcript(), sample_turns(), sample_raw()
    reason = Reason.EMPTY
    documents = (
        *(sample_source(), sample_audio(), raw, turns, transcript),
        render(transcript, turns, raw, FORMATS, tmp_path, version="v1"),
        Rejection(partition=PARTITION, stage="source_recording", reason=reason, remedy=REMEDIES[reason]),
    )
    for document in documents:
        jsonschema.validate(json.loads(document.to_bytes()), schema(type(document)))


def test_a_document_with_an_unknown_field_or_a_wrong_type_is_not_valid():
    good = json.loads(sample_transcript().to_bytes())
    for wrong in ({"surprise": 1}, {"duration_seconds": "long"}, {"schema_version": 2}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**good, **wrong}, schema(type(sample_transcript())))
