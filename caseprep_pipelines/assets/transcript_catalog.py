"""Stage 7, `transcript_catalog`: the transcript in SQL, for queries and full-text search."""

from caseprep_pipelines.assets.stage import Made, Recording, Stage
from caseprep_pipelines.catalog.receipt import CatalogReceipt
from caseprep_pipelines.storage.document import Document
from caseprep_pipelines.storage.products import MACHINE, ProductVersion
from caseprep_pipelines.transcript.document import Transcript


def make(recording: Recording) -> Made:
    transcript = recording.document("transcript", Transcript)
    head = recording.pipeline.products.version("transcript", recording.partition)
    words = sum(len(utterance.words) for utterance in transcript.utterances)
    receipt = CatalogReceipt(
        partition=recording.partition,
        transcript_version=head.version,
        transcript_digest=head.digest,
        utterances=len(transcript.utterances),
        words=words,
    )
    return Made(
        receipt,
        metadata={"utterances": receipt.utterances, "words": words},
        audio_seconds=transcript.duration_seconds,
    )


def load(recording: Recording, _version: ProductVersion, document: Document) -> None:
    from caseprep_pipelines.catalog.loading import load_transcript

    assert isinstance(document, CatalogReceipt)  # noqa: S101 - narrows the type
    transcript = recording.document("transcript", Transcript)
    head = recording.pipeline.products.version("transcript", recording.partition, document.transcript_version)
    load_transcript(
        recording.pipeline.catalog,
        transcript,
        document.transcript_version,
        document.transcript_digest,
        adopted=head.head_set_by not in (None, MACHINE),
    )


STAGE = Stage(
    name="transcript_catalog",
    upstream=("transcript",),
    make=make,
    description="Transcripts and utterances in SQL, with full-text search; the words stay in the documents.",
    kinds=frozenset({"sql", "table"}),
    batch=300,
    after=load,
)
