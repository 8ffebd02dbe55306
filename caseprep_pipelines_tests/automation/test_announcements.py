"""What a bucket's notifications are read as: the names to look at, and what is somebody else's."""

import json
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caseprep_pipelines.automation.announcements import Announcement, read_announcement

CALL = "incoming/2024-cv-1/call.wav"


def record(key: str, bucket: str = "evidence", event: str = "ObjectCreated:Put") -> dict[str, Any]:
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventName": event,
        "s3": {"bucket": {"name": bucket}, "object": {"key": quote_plus(key), "size": 1, "sequencer": "0A"}},
    }


def message(*records: dict[str, Any]) -> str:
    return json.dumps({"Records": list(records)})


def bridged(key: str, bucket: str = "evidence", event: str = "Object Created") -> str:
    """As EventBridge hands it on."""
    detail = {
        "version": "0",
        "bucket": {"name": bucket},
        "object": {"key": key, "size": 1, "sequencer": "0A"},
        "reason": "PutObject",
    }
    return json.dumps({"version": "0", "detail-type": event, "source": "aws.s3", "detail": detail})


def read(body: str) -> Announcement:
    return read_announcement(body, "evidence", "root/", "incoming/")


@pytest.mark.parametrize(
    "event", ["ObjectCreated:Put", "ObjectCreated:CompleteMultipartUpload", "s3:ObjectCreated:Put"]
)
def test_a_new_object_is_looked_at(event: str) -> None:
    assert read(message(record(f"root/{CALL}", event=event))) == Announcement(frozenset({CALL}))


@given(name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_names_come_as_they_are_however_strange(name: str) -> None:
    key = f"incoming/2024-cv-1/a{name}.wav"
    read_name = read(message(record(f"root/{key}"))).names
    assert read_name <= {key}


def test_an_envelope_of_sns_is_opened() -> None:
    body = json.dumps({"Type": "Notification", "TopicArn": "arn", "Message": message(record(f"root/{CALL}"))})
    assert read(body).names == {CALL}


@pytest.mark.parametrize("name", ["call.wav", "call 1+2 100%.wav", "ä & b%20c.wav"])
def test_what_came_through_eventbridge_is_looked_at_under_its_name_as_it_is(name: str) -> None:
    said = read(bridged(f"root/incoming/2024-cv-1/{name}"))
    assert f"incoming/2024-cv-1/{name}" in said.names
    assert not said.foreign


def test_a_key_that_is_encoded_on_eventbridge_is_looked_at_too() -> None:
    assert CALL.replace("call", "a call") in read(bridged("root/incoming/2024-cv-1/a+call.wav")).names


def test_a_message_may_announce_several() -> None:
    body = message(record(f"root/{CALL}"), record("root/incoming/loose.wav"))
    assert read(body).names == {CALL, "incoming/loose.wav"}


@pytest.mark.parametrize(
    "body",
    [
        message(record(f"root/{CALL}", event="ObjectRemoved:Delete")),
        message(record("root/derived/transcript/x/1/transcript.json")),
        message(record("elsewhere/incoming/call.wav")),
        message(record("root/incoming/2024-cv-1/")),
        message(record("root/incoming/2024-cv-1/matter.toml")),
        message(record("root/incoming/2024-cv-1/call.wav.part")),
        json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "evidence"}),
        bridged(f"root/{CALL}", event="Object Deleted"),
        bridged("root/derived/transcript/x/1/transcript.json"),
    ],
)
def test_what_is_ours_and_announces_no_recording_is_done_with(body: str) -> None:
    assert read(body) == Announcement()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "hello",
        "null",
        "[]",
        '{"Records": []}',
        '{"Records": [{"s3": {}}]}',
        '{"Records": [{"s3": {"bucket": {"name": "evidence"}, "object": {"key": "\\ud800"}}, "eventName": "x"}]}',
        message(record(f"root/{CALL}", bucket="another")),
        json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "another"}),
        bridged(f"root/{CALL}", bucket="another"),
        '{"source": "aws.s3", "detail": {}}',
        '{"source": "aws.s3", "detail": {"bucket": {"name": "evidence"}, "object": {"key": 1}}, "detail-type": ""}',
        "[" * 100_000,
    ],
)
def test_what_is_not_ours_or_not_understood_is_left_to_others(body: str) -> None:
    assert read(body) == Announcement(foreign=True)


def test_a_message_that_is_ours_in_part_is_looked_at_and_left() -> None:
    body = message(record(f"root/{CALL}"), record(f"root/{CALL}", bucket="another"))
    assert read(body) == Announcement(frozenset({CALL}), foreign=True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "Records",
                    "s3",
                    "bucket",
                    "name",
                    "object",
                    "key",
                    "eventName",
                    "Type",
                    "Message",
                    "Event",
                    "source",
                    "detail",
                ]
            ),
            inside,
            max_size=4,
        )
    ),
)


@given(body=st.text() | JSON.map(json.dumps))
def test_nothing_that_a_queue_may_hold_stops_a_tick(body: str) -> None:
    assert read(body).names == frozenset()
