"""What became of a recording, written into the catalog and read back: transcripts, rejections, faults.

Which recordings there are is known to `registry`; words and products stay in the documents.
"""

from collections.abc import Collection
from datetime import UTC, datetime

from sqlalchemy import delete, insert, select

from caseprep_pipelines.catalog.database import Catalog
from caseprep_pipelines.catalog.registry import chunks, locked
from caseprep_pipelines.catalog.search import words_of
from caseprep_pipelines.catalog.tables import FaultRow, RejectionRow, TranscriptVersion, UtteranceRow
from caseprep_pipelines.rejections import Reason, Rejection
from caseprep_pipelines.transcript.document import Transcript


def load_transcript(
    catalog: Catalog, transcript: Transcript, version: str, digest: str, *, adopted: bool = False
) -> bool:
    """Loads the head version of a recording's transcript; returns whether anything changed.

    Its utterances take the place of the ones that people searched before, and a rejection of the recording is
    cleared, all in one transaction. As in the product store, a machine's version takes the place neither of one that
    a person `adopted` nor of a later one (versions sort by age): it is kept beside it and is not searched. Raises
    `ConfigurationError` where the recording is not registered, and `ValueError` where the version is there with
    another digest: versions do not change.
    """
    partition = transcript.partition
    with catalog.writing() as session:
        locked(session, partition)
        row = session.get(TranscriptVersion, (partition, version))
        current = session.scalar(
            select(TranscriptVersion).where(TranscriptVersion.partition == partition, TranscriptVersion.current)
        )
        if row is not None and row.digest != digest:
            raise ValueError(f"version {version} of the transcript of {partition} is there with another digest")
        adopted = adopted or (row is not None and row.adopted)
        becomes_current = current is None or adopted or (not current.adopted and version >= current.version)
        if row is not None and row.current == becomes_current and row.adopted == adopted:
            return False

        if becomes_current and current is not None:
            session.execute(delete(UtteranceRow).where(UtteranceRow.partition == partition))
            current.current = False
            session.flush()
        if row is None:
            row = _version_row(transcript, version, digest)
            session.add(row)
        row.adopted, row.current = adopted, becomes_current
        session.flush()
        if becomes_current:
            session.execute(delete(RejectionRow).where(RejectionRow.partition == partition))
            if rows := _utterance_rows(transcript, version):
                session.execute(insert(UtteranceRow), rows)
    return True


def _version_row(transcript: Transcript, version: str, digest: str) -> TranscriptVersion:
    diarization = transcript.diarization_model
    return TranscriptVersion(
        partition=transcript.partition,
        version=version,
        matter=transcript.matter,
        digest=digest,
        demo=transcript.demo,
        duration_seconds=transcript.duration_seconds,
        languages=",".join(transcript.languages),
        transcription_model=transcript.transcription_model.name,
        transcription_model_digest=transcript.transcription_model.digest,
        diarization_model=diarization.name if diarization else None,
        diarization_model_digest=diarization.digest if diarization else None,
        speakers=len(transcript.speakers),
        utterances=len(transcript.utterances),
        words=sum(len(utterance.words) for utterance in transcript.utterances),
        flagged_utterances=sum(bool(utterance.flags) for utterance in transcript.utterances),
        unspoken_spans=len(transcript.unspoken),
        loaded_at=datetime.now(UTC),
    )


def _utterance_rows(transcript: Transcript, version: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for utterance in transcript.utterances:
        text = transcript.text_of(utterance)
        row = {
            "partition": transcript.partition,
            "version": version,
            "matter": transcript.matter,
            "index": utterance.index,
            "speaker": utterance.speaker,
            "channel": utterance.channel,
            "start": utterance.start,
            "end": utterance.end,
            # PostgreSQL stores no NUL.
            "text": text.replace("\0", ""),
            "flags": ",".join(utterance.flags),
            "search_words": " ".join(words_of(text)),
        }
        rows.append(row)
    return rows


def transcripts(catalog: Catalog, partition: str) -> list[TranscriptVersion]:
    """Every loaded version of a recording's transcript, oldest first."""
    query = select(TranscriptVersion).where(TranscriptVersion.partition == partition)
    with catalog.reading() as session:
        return list(session.scalars(query.order_by(TranscriptVersion.loaded_at, TranscriptVersion.version)))


def record_rejection(catalog: Catalog, rejection: Rejection, at: datetime | None = None) -> None:
    """Notes why a recording cannot go on; the newest reason stands, and its faults are over.

    The rejection is the head of every later stage now, so people no longer find a transcript that a machine made
    before; one that a person adopted stays, unless the recording turned out to be privileged.
    """
    row = RejectionRow(
        partition=rejection.partition,
        stage=rejection.stage,
        reason=str(rejection.reason),
        detail=rejection.detail,
        at=at or datetime.now(UTC),
    )
    with catalog.writing() as session:
        locked(session, rejection.partition)
        known = session.get(RejectionRow, rejection.partition)
        if known is None or (known.stage, known.reason, known.detail) != (row.stage, row.reason, row.detail):
            session.merge(row)
        session.execute(delete(FaultRow).where(FaultRow.partition == rejection.partition))
        current = session.scalar(
            select(TranscriptVersion).where(
                TranscriptVersion.partition == rejection.partition, TranscriptVersion.current
            )
        )
        if current is not None and (not current.adopted or rejection.reason is Reason.PRIVILEGED):
            current.current = False
            session.execute(delete(UtteranceRow).where(UtteranceRow.partition == rejection.partition))


def clear_rejection(catalog: Catalog, partition: str, stage: str) -> None:
    """Notes that the stage accepts the recording after all; another stage's rejection stands."""
    with catalog.writing() as session:
        session.execute(delete(RejectionRow).where(RejectionRow.partition == partition, RejectionRow.stage == stage))


def rejections(catalog: Catalog, partitions: Collection[str] | None = None) -> dict[str, RejectionRow]:
    """Rejections by partition: of these recordings, or all."""
    query = select(RejectionRow)
    asked = (
        [query]
        if partitions is None
        else [query.where(RejectionRow.partition.in_(c)) for c in chunks(list(partitions))]
    )
    with catalog.reading() as session:
        return {row.partition: row for each in asked for row in session.scalars(each)}


def record_fault(
    catalog: Catalog, partition: str, stage: str, kind: str, message: str, at: datetime | None = None
) -> int:
    """Notes that a stage failed by the world's fault; returns how often it did since it last succeeded.

    `kind` is the error's class, `message` its one line, which names no file and holds no text. The stage's next
    product clears the count (`progress.record_product`).
    """
    at = at or datetime.now(UTC)
    with catalog.writing() as session:
        locked(session, partition)
        row = session.get(FaultRow, (partition, stage))
        if row is None:
            row = FaultRow(partition=partition, stage=stage, attempts=0, first_at=at)
            session.add(row)
        row.kind, row.message, row.last_at = kind, message, at
        row.attempts += 1
        return row.attempts
