"""`transcript.json`: the canonical document itself, indented. Nothing is added, left out or changed."""

from caseprep_pipelines.renditions.content import Inputs


def transcript_json(inputs: Inputs) -> str:
    """Follows `docs/schemas/transcript-1.json`; `Transcript.from_bytes` reads it back."""
    return inputs.transcript.model_dump_json(indent=2) + "\n"
