"""The chain of what happened to a recording."""

import hashlib
import json
import multiprocessing
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from caseprep_pipelines.catalog import registry
from caseprep_pipelines.catalog.database import Catalog, open_catalog
from caseprep_pipelines.custody import chain
from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines_tests.catalog.examples import recording, sha
from caseprep_pipelines_tests.catalog.writers import append_some

RECEIPT = chain.Receipt(sha256=sha("bytes"), md5="0" * 32, size_bytes=5, software="x 1")
PRODUCT = chain.Product(asset="transcript", version="000001-a", digest=sha("p"), inputs={"a": sha("a")}, software="x 1")
EXPORT = chain.Export(version="000001-a", files={"transcript.srt": sha("srt")}, software="x 1")
ACCESS = chain.Access(action="read", actor="account-17")


def test_each_entry_carries_the_hash_of_the_one_before(catalog: Catalog, partition: str) -> None:
    for payload in (RECEIPT, PRODUCT, EXPORT, ACCESS):
        chain.append(catalog, partition, payload)
    entries = chain.entries(catalog, partition)
    assert [entry.sequence for entry in entries] == [1, 2, 3, 4]
    assert [entry.kind for entry in entries] == ["receipt", "product", "export", "access"]
    assert [entry.previous_hash for entry in entries] == ["0" * 64, *(entry.entry_hash for entry in entries[:-1])]
    assert chain.head(catalog, partition) == entries[-1]


def test_anyone_can_recompute_a_hash_from_the_row_alone(catalog: Catalog, partition: str) -> None:
    entry = chain.append(catalog, partition, RECEIPT, at=datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC))
    assert json.loads(entry.payload)["sha256"] == sha("bytes")
    text = (
        f'{{"at":"2026-01-02T03:04:05.678+00:00","kind":"receipt","partition":"{partition}",'
        f'"payload":{json.dumps(entry.payload)},"previous_hash":"{"0" * 64}","sequence":1}}'
    )
    assert entry.entry_hash == hashlib.sha256(text.encode()).hexdigest()


def test_an_empty_chain_has_no_head(catalog: Catalog, partition: str) -> None:
    assert chain.head(catalog, partition) is None
    assert chain.entries(catalog, partition) == []


def test_driving_again_enters_nothing_twice(catalog: Catalog, partition: str) -> None:
    first = [chain.append(catalog, partition, payload) for payload in (RECEIPT, PRODUCT, EXPORT)]
    again = [chain.append(catalog, partition, payload) for payload in (RECEIPT, PRODUCT, EXPORT)]
    assert first == again
    assert len(chain.entries(catalog, partition)) == 3


def test_another_version_and_every_access_are_entries_of_their_own(catalog: Catalog, partition: str) -> None:
    for payload in (PRODUCT, PRODUCT.model_copy(update={"version": "000002-a"}), ACCESS, ACCESS):
        chain.append(catalog, partition, payload)
    assert len(chain.entries(catalog, partition)) == 4


def test_each_recording_has_its_own_chain(catalog: Catalog, partition: str) -> None:
    other = registry.register(catalog, [recording("other.mp3")], "test")[0].partition
    first, second = (chain.append(catalog, each, RECEIPT) for each in (partition, other))
    assert (first.sequence, second.sequence) == (1, 1)
    assert first.entry_hash != second.entry_hash


def test_an_unregistered_recording_has_no_chain(catalog: Catalog) -> None:
    with pytest.raises(ConfigurationError, match="not in the catalog's registry"):
        chain.append(catalog, "nobody", RECEIPT)


@pytest.mark.parametrize(
    "fields",
    [
        {"action": "read", "actor": "Ms. Smith's \N{BLACK TELEPHONE}"},
        {"action": "read the deposition: 'I was not there'", "actor": "account-17"},
        {"action": "read", "actor": "account-17", "file": "smith.mp3"},
    ],
)
def test_names_and_texts_do_not_fit_into_an_entry(fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        chain.Access.model_validate(fields)


def test_several_processes_append_to_one_chain(catalog_url: str) -> None:
    catalog = open_catalog(catalog_url)
    partition = registry.register(catalog, [recording()], "test")[0].partition
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        answers = pool.starmap(append_some, [(catalog_url, partition, process, 8) for process in range(3)])
    entries = chain.entries(catalog, partition)
    # 24 accesses, and 8 products that each of the three processes entered.
    assert [entry.sequence for entry in entries] == list(range(1, 33))
    assert {sequence for answer in answers for sequence in answer} == set(range(1, 33))
    assert all(entry.computed_hash() == entry.entry_hash for entry in entries)
    assert [entry.previous_hash for entry in entries[1:]] == [entry.entry_hash for entry in entries[:-1]]
    catalog.close()
