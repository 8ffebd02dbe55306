"""Work that was put away is found again by whom it belongs to, and by nobody else."""

from datetime import timedelta

import numpy as np
import pytest

from caseprep_pipelines.storage.objects import ObjectStore
from caseprep_pipelines.storage.saved_work import SavedWork, packed, sweep, unpacked


def work(store: ObjectStore, partition: str = "m-1-aa", matter: str = "m-1", shaped_by: object = "a") -> SavedWork:
    return SavedWork(store, "raw_transcript", partition, matter, shaped_by)


def test_parts_come_back_in_order_and_by_kind(store: ObjectStore) -> None:
    work(store).add("json", b"1")
    work(store).add("npz", b"x")
    work(store).add("json", b"2")
    assert list(work(store).parts("json")) == [b"1", b"2"]
    assert list(work(store).parts("npz")) == [b"x"]


def test_arrays_come_back_and_damaged_ones_do_not() -> None:
    part = packed(chunks=np.arange(3), said=np.ones((3, 2), dtype=np.float32))
    arrays = unpacked(part)
    assert arrays["chunks"].tolist() == [0, 1, 2]
    assert arrays["said"].dtype == np.float32
    assert not unpacked(part[: len(part) // 2])
    assert not unpacked(b"")


def test_other_settings_find_nothing(store: ObjectStore) -> None:
    work(store).add("json", b"1")
    work(store).settle("000001-aaaaaaaaaaaa")
    assert work(store, shaped_by="b").finished() is None
    work(store, shaped_by="b").add("json", b"3")
    assert list(work(store).parts("json")) == []


def test_a_finished_recording_leaves_no_parts(store: ObjectStore) -> None:
    work(store, shaped_by="earlier settings").add("json", b"0")
    work(store).add("json", b"1")
    work(store, partition="m-1-bb").add("json", b"2")
    work(store).settle("000001-aaaaaaaaaaaa")
    assert list(work(store).parts("json")) == list(work(store, shaped_by="earlier settings").parts("json")) == []
    assert list(work(store, partition="m-1-bb").parts("json")) == [b"2"]


def test_the_same_work_is_found_in_the_same_matter_only(store: ObjectStore) -> None:
    work(store).settle("000001-aaaaaaaaaaaa")
    assert work(store, partition="m-1-bb").finished() == ("m-1-aa", "000001-aaaaaaaaaaaa")
    assert work(store, partition="m-2-bb", matter="m-2").finished() is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"partition": 1}'])
def test_a_damaged_entry_is_none(store: ObjectStore, damage: bytes) -> None:
    work(store).settle("000001-aaaaaaaaaaaa")
    (entry,) = store.list("results/")
    store.write_bytes(entry.name, damage)
    assert work(store).finished() is None


def test_parts_that_nobody_took_up_again_are_swept_by_age(store: ObjectStore) -> None:
    work(store).add("json", b"1")
    assert sweep(store, timedelta(days=1)) == 0
    assert sweep(store, timedelta(seconds=-1)) == 1
    assert list(work(store).parts("json")) == []
