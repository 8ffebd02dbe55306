"""Loading transcripts, rejections and faults: again and again, in any order, by several at once."""

import multiprocessing

import pytest
from sqlalchemy import select

from caseprep_pipelines.catalog import loading, progress, registry
from caseprep_pipelines.catalog.database import Catalog, open_catalog
from caseprep_pipelines.catalog.search import search
from caseprep_pipelines.catalog.tables import UtteranceRow
from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.rejections import REMEDIES, Reason, Rejection
from caseprep_pipelines_tests.catalog.examples import recording, sha, transcript
from caseprep_pipelines_tests.catalog.writers import load_versions

V1, V2, V3 = "000001-aaaaaaaaaaaa", "000002-bbbbbbbbbbbb", "000003-cccccccccccc"


@pytest.fixture
def partition(catalog: Catalog) -> str:
    return registry.register(catalog, [recording()], "test")[0].partition


def texts(catalog: Catalog, partition: str) -> list[str]:
    with catalog.reading() as session:
        query = select(UtteranceRow.text).where(UtteranceRow.partition == partition).order_by(UtteranceRow.index)
        return list(session.scalars(query))


def current(catalog: Catalog, partition: str) -> str | None:
    [version] = [row.version for row in loading.transcripts(catalog, partition) if row.current] or [None]
    return version


def rejection(partition: str, reason: Reason = Reason.TRUNCATED, stage: str = "normalized_audio") -> Rejection:
    return Rejection(partition=partition, stage=stage, reason=reason, detail="3 s", remedy=REMEDIES[reason])


def test_a_transcript_is_counted_and_its_utterances_are_there(catalog: Catalog, partition: str) -> None:
    document = transcript(partition, "Good morning.", "Where were you?")
    assert loading.load_transcript(catalog, document, V1, sha("1"))
    [row] = loading.transcripts(catalog, partition)
    assert (row.version, row.digest, row.matter) == (V1, sha("1"), "2024-cv-00123")
    assert (row.current, row.adopted, row.demo) == (True, False, False)
    assert (row.utterances, row.words, row.speakers, row.flagged_utterances) == (2, 5, 1, 1)
    assert (row.duration_seconds, row.languages, row.transcription_model) == (10.0, "en", "some-whisper")
    with catalog.reading() as session:
        rows = session.scalars(select(UtteranceRow).order_by(UtteranceRow.index)).all()
    assert [(u.start, u.end, u.speaker, u.text, u.flags) for u in rows] == [
        (0.0, 4.0, "SPEAKER_00", "Good morning.", ""),
        (5.0, 9.0, "SPEAKER_00", "Where were you?", "repetition"),
    ]


def test_the_same_version_twice_changes_nothing(catalog: Catalog, partition: str) -> None:
    document = transcript(partition, "Good morning.")
    loading.load_transcript(catalog, document, V1, sha("1"))
    [before] = loading.transcripts(catalog, partition)
    assert not loading.load_transcript(catalog, document, V1, sha("1"))
    [after] = loading.transcripts(catalog, partition)
    assert before.loaded_at == after.loaded_at
    assert texts(catalog, partition) == ["Good morning."]


def test_a_new_version_takes_the_place_of_the_old_one(catalog: Catalog, partition: str) -> None:
    loading.load_transcript(catalog, transcript(partition, "Good morning.", "Yes."), V1, sha("1"))
    loading.load_transcript(catalog, transcript(partition, "Good evening."), V2, sha("2"))
    assert texts(catalog, partition) == ["Good evening."]
    assert [(row.version, row.current) for row in loading.transcripts(catalog, partition)] == [(V1, False), (V2, True)]
    assert search(catalog, "morning") == []
    assert len(search(catalog, "evening")) == 1


def test_an_older_version_that_comes_late_does_not_take_over(catalog: Catalog, partition: str) -> None:
    loading.load_transcript(catalog, transcript(partition, "new"), V2, sha("2"))
    loading.load_transcript(catalog, transcript(partition, "old"), V1, sha("1"))
    assert current(catalog, partition) == V2
    assert texts(catalog, partition) == ["new"]


def test_a_machine_never_supersedes_what_a_person_adopted(catalog: Catalog, partition: str) -> None:
    loading.load_transcript(catalog, transcript(partition, "machine"), V1, sha("1"))
    loading.load_transcript(catalog, transcript(partition, "machine"), V1, sha("1"), adopted=True)
    loading.load_transcript(catalog, transcript(partition, "machine again"), V2, sha("2"))
    assert (current(catalog, partition), texts(catalog, partition)) == (V1, ["machine"])
    loading.load_transcript(catalog, transcript(partition, "person"), V3, sha("3"), adopted=True)
    assert (current(catalog, partition), texts(catalog, partition)) == (V3, ["person"])


def test_a_person_may_go_back_to_an_older_version(catalog: Catalog, partition: str) -> None:
    old = transcript(partition, "old")
    loading.load_transcript(catalog, old, V1, sha("1"))
    loading.load_transcript(catalog, transcript(partition, "new"), V2, sha("2"))
    assert loading.load_transcript(catalog, old, V1, sha("1"), adopted=True)
    assert (current(catalog, partition), texts(catalog, partition)) == (V1, ["old"])


def test_a_version_never_changes(catalog: Catalog, partition: str) -> None:
    loading.load_transcript(catalog, transcript(partition, "old"), V1, sha("1"))
    with pytest.raises(ValueError, match="another digest"):
        loading.load_transcript(catalog, transcript(partition, "new"), V1, sha("2"))
    assert texts(catalog, partition) == ["old"]


def test_a_transcript_without_words_and_one_with_strange_ones_load(catalog: Catalog, partition: str) -> None:
    loading.load_transcript(catalog, transcript(partition), V1, sha("1"))
    assert texts(catalog, partition) == []
    loading.load_transcript(catalog, transcript(partition, "n\0ul", "😀 … —", "x" * 5000, ""), V2, sha("2"))
    assert texts(catalog, partition) == ["nul", "😀 … —", "x" * 5000, ""]


def test_a_load_that_fails_leaves_the_old_transcript(
    catalog: Catalog, partition: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading.load_transcript(catalog, transcript(partition, "old"), V1, sha("1"))
    rows = loading._utterance_rows(transcript(partition, "new"), V2)
    monkeypatch.setattr(loading, "_utterance_rows", lambda *_: [*rows, {**rows[0], "index": 1, "text": None}])
    with pytest.raises(Exception, match="refused a row"):
        loading.load_transcript(catalog, transcript(partition, "new"), V2, sha("2"))
    assert (current(catalog, partition), texts(catalog, partition)) == (V1, ["old"])
    assert len(search(catalog, "old")) == 1


def test_an_unregistered_recording_is_a_configuration_error(catalog: Catalog) -> None:
    for load in (
        lambda: loading.load_transcript(catalog, transcript("nobody", "x"), V1, sha("1")),
        lambda: loading.record_rejection(catalog, rejection("nobody")),
        lambda: loading.record_fault(catalog, "nobody", "stage", "Fault", "why"),
    ):
        with pytest.raises(ConfigurationError, match="nobody is not in the catalog's registry"):
            load()


def test_several_processes_load_versions_of_one_recording(catalog_url: str) -> None:
    catalog = open_catalog(catalog_url)
    partition = registry.register(catalog, [recording()], "test")[0].partition
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        pool.starmap(load_versions, [(catalog_url, partition, process, 8) for process in range(3)])
    assert texts(catalog, partition) == ["This is version 72.", "And more."]
    rows = loading.transcripts(catalog, partition)
    assert len(rows) == 24
    assert [row.version[:6] for row in rows if row.current] == ["000072"]
    catalog.close()


def test_a_rejection_is_noted_with_its_reason_and_the_newest_stands(catalog: Catalog, partition: str) -> None:
    loading.record_fault(catalog, partition, "normalized_audio", "Fault", "disk full")
    loading.record_rejection(catalog, rejection(partition))
    first = loading.rejections(catalog)[partition]
    assert (first.stage, first.reason, first.detail) == ("normalized_audio", "truncated", "3 s")
    assert progress.faults(catalog, [partition]) == {}
    loading.record_rejection(catalog, rejection(partition))
    assert loading.rejections(catalog, [partition])[partition].at == first.at
    loading.record_rejection(catalog, rejection(partition, Reason.PRIVILEGED, "source_recording"))
    assert loading.rejections(catalog, [partition, "nobody"])[partition].reason == "privileged"
    loading.clear_rejection(catalog, partition, "normalized_audio")
    assert loading.rejections(catalog, [partition])
    loading.clear_rejection(catalog, partition, "source_recording")
    assert loading.rejections(catalog) == {}


def test_a_transcript_ends_a_rejection(catalog: Catalog, partition: str) -> None:
    loading.record_rejection(catalog, rejection(partition))
    loading.load_transcript(catalog, transcript(partition, "after all"), V1, sha("1"))
    assert loading.rejections(catalog) == {}


def test_a_rejected_recording_is_no_longer_found(catalog: Catalog, partition: str) -> None:
    document = transcript(partition, "my lawyer said")
    loading.load_transcript(catalog, document, V1, sha("1"))
    loading.record_rejection(catalog, rejection(partition, Reason.PRIVILEGED))
    assert search(catalog, "lawyer") == []
    assert current(catalog, partition) is None
    loading.load_transcript(catalog, document, V1, sha("1"))
    assert len(search(catalog, "lawyer")) == 1


def test_an_adopted_transcript_outlives_a_rejection_unless_it_is_privileged(catalog: Catalog, partition: str) -> None:
    loading.load_transcript(catalog, transcript(partition, "adopted"), V1, sha("1"), adopted=True)
    loading.record_rejection(catalog, rejection(partition, Reason.CHANGED_DURING_READING))
    assert len(search(catalog, "adopted")) == 1
    loading.record_rejection(catalog, rejection(partition, Reason.PRIVILEGED))
    assert search(catalog, "adopted") == []


def test_faults_are_counted_until_the_stage_succeeds(catalog: Catalog, partition: str) -> None:
    assert loading.record_fault(catalog, partition, "raw_transcript", "Fault", "S3 does not answer") == 1
    assert loading.record_fault(catalog, partition, "raw_transcript", "Fault", "the GPU is gone") == 2
    assert loading.record_fault(catalog, partition, "speaker_turns", "Fault", "out of memory") == 1
    found = progress.faults(catalog, [partition])[partition]
    assert {stage: (f.attempts, f.message) for stage, f in found.items()} == {
        "raw_transcript": (2, "the GPU is gone"),
        "speaker_turns": (1, "out of memory"),
    }
