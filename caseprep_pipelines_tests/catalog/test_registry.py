"""The registry: what is registered once, in which order, and how a person finds it again."""

import os
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caseprep_pipelines.catalog import registry
from caseprep_pipelines.catalog.database import Catalog
from caseprep_pipelines.catalog.registry import NewRecording
from caseprep_pipelines.catalog.tables import PathText
from caseprep_pipelines.custody import chain
from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines_tests.catalog.examples import recording, sha

NAMES = [
    "plain.mp3",
    'it\'s "quoted" & spaced.mp3',
    "Zeugenvernehmung Müller – 音声.wav",
    "--help",
    "../../etc/passwd",
    "100%_sure.mp3",
    "back\\slash.mp3",
    "a\\u0041.mp3",
    "x" * 300,
    os.fsdecode(b"not utf-8 \xff\xfe.mp3"),
    "n\0ul.mp3",
]


def names(found: list) -> list[str]:
    return [row.name for row in found]


def test_recordings_are_registered_in_their_order_in_one_call(catalog: Catalog) -> None:
    answers = registry.register(catalog, [recording(name) for name in NAMES], "test")
    assert all(answer.new for answer in answers)
    rows = registry.recordings_in_order(catalog)
    assert names(rows) == NAMES
    assert [row.partition for row in rows] == [answer.partition for answer in answers]
    assert [row.location for row in rows] == [f"/evidence/{name}" for name in NAMES]
    assert rows[0].matter == "2024-cv-00123"
    assert rows[0].registered_by == "test"
    assert datetime.now(UTC) - rows[0].registered_at < timedelta(minutes=5)


def test_the_same_recording_twice_is_one(catalog: Catalog) -> None:
    first, again = registry.register(catalog, [recording(), recording()], "test")
    later = registry.register(catalog, [recording("other.mp3"), recording()], "test")
    assert first.partition == again.partition == later[1].partition
    assert [first.new, again.new, later[0].new, later[1].new] == [True, False, True, False]
    assert len(registry.all_partitions(catalog)) == 2


def test_the_same_bytes_in_two_matters_are_two(catalog: Catalog) -> None:
    registry.register(catalog, [recording(matter="a"), recording(matter="b")], "test")
    assert [p[:2] for p in registry.all_partitions(catalog)] == ["a-", "b-"]


def test_nothing_to_register_is_fine(catalog: Catalog) -> None:
    assert registry.register(catalog, [], "test") == []


def test_a_bad_matter_registers_nothing(catalog: Catalog) -> None:
    with pytest.raises(ConfigurationError, match="no matter id"):
        registry.register(catalog, [recording(), recording(matter="../x")], "test")
    assert registry.all_partitions(catalog) == []


def test_two_origins_never_share_a_key(catalog: Catalog) -> None:
    first = recording("a.mp3")
    twin = NewRecording(first.matter, "b.mp3", "/b.mp3", first.origin_digest[:12] + "0" * 52)
    registry.register(catalog, [first], "test")
    with pytest.raises(ConfigurationError, match="already stands for another recording"):
        registry.register(catalog, [twin], "test")


def test_a_file_that_moved_before_it_was_received_is_taken_from_its_new_place(catalog: Catalog) -> None:
    partition = registry.register(catalog, [recording("old.mp3", content="x")], "test")[0].partition
    registry.register(catalog, [recording("new.mp3", content="x")], "test")
    assert registry.recording(catalog, partition).location == "/evidence/new.mp3"


def test_where_a_received_file_came_from_stays_on_record(catalog: Catalog) -> None:
    partition = registry.register(catalog, [recording("old.mp3", content="x")], "test")[0].partition
    chain.append(catalog, partition, chain.Receipt(sha256=sha("x"), md5="0" * 32, size_bytes=1, software="x 1"))
    assert not registry.register(catalog, [recording("new.mp3", content="x")], "test")[0].new
    row = registry.recording(catalog, partition)
    assert (row.name, row.location) == ("old.mp3", "/evidence/old.mp3")


def test_a_recording_is_found_by_its_key_and_by_its_name(catalog: Catalog) -> None:
    answers = registry.register(catalog, [recording(name) for name in NAMES], "test")
    for name, answer in zip(NAMES, answers, strict=True):
        assert names(registry.find(catalog, answer.partition)) == [name]
        assert names(registry.find(catalog, name)) == [name]


def test_a_recording_is_found_by_every_name_that_it_was_given_under(catalog: Catalog) -> None:
    registry.register(catalog, [recording("first.mp3", content="x"), recording("jones.mp3")], "test")
    for _ in range(2):
        registry.register(catalog, [recording(name, content="x") for name in NAMES], "test")
    registry.register(catalog, [recording("jones.mp3", content="x")], "test")
    for name in NAMES:
        assert [row.sha256 for row in registry.find(catalog, name)] == [sha("x")]
    assert [row.sha256 for row in registry.find(catalog, "PLAIN")] == [sha("x")]
    assert [row.sha256 for row in registry.find(catalog, "jones.mp3")] == [sha("x"), sha("jones.mp3")]
    assert len(registry.all_partitions(catalog)) == 2


def test_the_name_that_was_meant_is_known_of_a_recording_with_several(catalog: Catalog) -> None:
    names = ["monday.wav", "smith.call.wav", "Exhibit 4.wav"]
    key = registry.register(catalog, [recording(name, content="x") for name in names], "test")[0].partition
    for wanted, meant in [
        (key, "monday.wav"),
        ("MONDAY", "monday.wav"),
        ("smith.call", "smith.call.wav"),
        ("/elsewhere/Exhibit 4.wav", "Exhibit 4.wav"),
        ("exhibit 4", "Exhibit 4.wav"),
    ]:
        [found] = registry.find(catalog, wanted)
        assert registry.name_meant(catalog, found, wanted) == meant


def test_a_recording_is_found_by_what_a_person_remembers(catalog: Catalog) -> None:
    registry.register(catalog, [recording(), recording("smith deposition two.mp3")], "test")
    for wanted in ("Smith Deposition.mp3", "smith deposition", "SMITH DEPOSITION", "/elsewhere/smith deposition.mp3"):
        assert names(registry.find(catalog, wanted)) == ["smith deposition.mp3"]


def test_recordings_of_one_name_are_all_found_the_first_first(catalog: Catalog) -> None:
    registry.register(catalog, [recording(content="1"), recording(content="2", matter="other")], "test")
    assert [row.matter for row in registry.find(catalog, "smith deposition.mp3")] == ["2024-cv-00123", "other"]


def test_what_is_not_there_is_not_found(catalog: Catalog) -> None:
    registry.register(catalog, [recording()], "test")
    for wanted in ("", "%", "_", "nothing", "smith%", "\0", "\udcff", "/", "smith"):
        assert registry.find(catalog, wanted) == []


def test_the_registry_is_read_in_pages(catalog: Catalog) -> None:
    registry.register(catalog, [recording(f"{n}", matter="ab"[n % 2]) for n in range(10)], "test")
    page = registry.recordings_in_order(catalog, limit=4)
    assert names(page) == ["0", "1", "2", "3"]
    assert names(registry.recordings_in_order(catalog, after=page[-1].position, limit=4)) == ["4", "5", "6", "7"]
    assert names(registry.recordings_in_order(catalog, matter="b", limit=2)) == ["1", "3"]


def test_partitions_follow_the_registry(catalog: Catalog) -> None:
    keys = [r.partition for r in registry.register(catalog, [recording(f"{n}") for n in range(3)], "test")]
    assert registry.pending_partitions(catalog) == keys
    registry.mark_partitions_added(catalog, keys[:2])
    assert registry.pending_partitions(catalog) == keys[2:]
    assert registry.all_partitions(catalog) == keys
    added = registry.recording(catalog, keys[0]).partition_added_at
    registry.mark_partitions_added(catalog, keys)
    assert registry.pending_partitions(catalog) == []
    assert registry.recording(catalog, keys[0]).partition_added_at == added


def test_what_was_received_is_noted(catalog: Catalog) -> None:
    partition = registry.register(catalog, [recording()], "test")[0].partition
    registry.mark_received(catalog, partition, sha("bytes"), 5)
    row = registry.recording(catalog, partition)
    assert (row.sha256, row.size_bytes) == (sha("bytes"), 5)
    assert registry.recordings(catalog, [partition, "nobody"]).keys() == {partition}
    assert registry.recording(catalog, "nobody") is None
    with pytest.raises(ConfigurationError, match="register the recording first"):
        registry.mark_received(catalog, "nobody", sha("bytes"), 5)


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(days=1)


def test_an_object_is_taken_once_however_often_it_is_seen(catalog: Catalog) -> None:
    partition = registry.register(catalog, [recording()], "test")[0].partition
    first = registry.observe(catalog, {"/in/a": "1", "/in/b": "1"}, NOON)
    assert [(o.location, o.since, o.partition) for o in first] == [("/in/a", NOON, None), ("/in/b", NOON, None)]
    registry.mark_taken(catalog, {"/in/a": partition})
    again = {o.location: o for o in registry.observe(catalog, {"/in/a": "1", "/in/b": "1"}, LATER)}
    assert (again["/in/a"].partition, again["/in/a"].since) == (partition, NOON)
    assert (again["/in/b"].partition, again["/in/b"].since) == (None, NOON)


def test_an_object_whose_bytes_changed_is_new_again(catalog: Catalog) -> None:
    partition = registry.register(catalog, [recording()], "test")[0].partition
    registry.observe(catalog, {"/in/a": "1"}, NOON)
    registry.mark_taken(catalog, {"/in/a": partition})
    [changed] = registry.observe(catalog, {"/in/a": "2"}, LATER)
    assert (changed.partition, changed.since) == (None, LATER)
    [settled] = registry.observe(catalog, {"/in/a": "2"}, LATER + timedelta(hours=1))
    assert (settled.partition, settled.since) == (None, LATER)


def test_locations_of_any_length_and_bytes_are_told_apart(catalog: Catalog) -> None:
    locations = ["/" + "x" * 4000, "/" + "x" * 4000 + "y", os.fsdecode(b"/\xff"), "/\\udcff"]
    registry.observe(catalog, dict.fromkeys(locations, "1"), NOON)
    assert {o.location for o in registry.observe(catalog, dict.fromkeys(locations, "1"), LATER)} == set(locations)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(st.one_of(st.characters(exclude_categories=[]), st.sampled_from("\\u0041dc\0\udcff"))))
def test_any_name_is_stored_as_plain_text_and_comes_back(name: str) -> None:
    stored = PathText().process_bind_param(name, None)
    stored.encode()
    assert "\0" not in stored
    assert PathText().process_result_value(stored, None) == name


def test_a_look_at_many_objects_tells_the_same_as_a_look_at_each(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = registry.register(catalog, [recording()], "test")[0].partition
    before = {f"/in/{number}": str(number) for number in range(7)}
    registry.observe(catalog, before, NOON)
    registry.mark_taken(catalog, {"/in/3": partition})
    now = {**before, "/in/5": "changed", "/in/new": "1"}
    few = {name: registry.observe(catalog, {name: mark}, NOON)[0] for name, mark in before.items()}
    monkeypatch.setattr(registry, "_CHUNK", 3)
    many = {look.location: look for look in registry.observe(catalog, now, LATER)}
    assert {name for name, look in many.items() if look.since == LATER} == {"/in/5", "/in/new"}
    assert {name: many[name] for name in few if name != "/in/5"} == {n: few[n] for n in few if n != "/in/5"}
    assert many["/in/3"].partition == partition
