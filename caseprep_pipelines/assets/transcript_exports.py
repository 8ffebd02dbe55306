"""Stage 6, `transcript_exports`: the files that people take away."""

from collections.abc import Mapping
from typing import Any

from caseprep_pipelines import __version__
from caseprep_pipelines.assets.stage import Made, Recording, Stage
from caseprep_pipelines.custody.chain import Export, append
from caseprep_pipelines.renditions.formats import RenditionSet, render
from caseprep_pipelines.settings import Settings
from caseprep_pipelines.speech.documents import RawTranscript, SpeakerTurns
from caseprep_pipelines.storage.document import Document
from caseprep_pipelines.storage.products import ProductVersion
from caseprep_pipelines.transcript.document import Transcript


def make(recording: Recording) -> Made:
    transcript = recording.document("transcript", Transcript)
    raw = recording.document("raw_transcript", RawTranscript)
    turns = recording.document("speaker_turns", SpeakerTurns)
    head = recording.pipeline.products.version("transcript", recording.partition)
    folder = recording.folder / "product"
    folder.mkdir()
    renditions = render(transcript, turns, raw, recording.settings.formats, folder, version=head.version)
    return Made(
        renditions,
        folder,
        metadata={"files": len(renditions.files), "formats": ", ".join(file.format for file in renditions.files)},
        audio_seconds=transcript.duration_seconds,
    )


def publish(recording: Recording, version: ProductVersion, document: Document) -> None:
    """Copies the renditions to `exports/`, where people look, and enters the export into custody."""
    assert isinstance(document, RenditionSet)  # noqa: S101 - narrows the type
    transcript = recording.document("transcript", Transcript)
    folder = recording.folder / "product"
    for file in document.files:
        recording.pipeline.objects.write_file(
            f"exports/{transcript.matter}/{recording.partition}/{file.file}", folder / file.file
        )
    append(
        recording.pipeline.catalog,
        recording.partition,
        Export(
            version=document.transcript_version,
            files={file.file: file.sha256 for file in document.files},
            software=f"caseprep-pipelines {__version__}",
        ),
    )


def shaped_by(settings: Settings) -> Mapping[str, Any]:
    return {"formats": sorted(settings.formats)}


STAGE = Stage(
    name="transcript_exports",
    upstream=("raw_transcript", "speaker_turns", "transcript"),
    make=make,
    description="The renditions: JSON, plain text, SRT, WebVTT, RTTM, CTM, SegLST.",
    kinds=frozenset({"json", "file"}),
    batch=400,
    shaped_by=shaped_by,
    after=publish,
)
