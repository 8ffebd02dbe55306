"""What a bucket's event notifications say, as a queue delivers them. Pure: text in, names out.

A message only says where to look; what lies there is asked of the store. So it does no harm that queues deliver
twice, late and out of order, or that an object was replaced or deleted meanwhile.
"""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from caseprep_pipelines.storage.recordings import is_recording


@dataclass(frozen=True)
class Announcement:
    names: frozenset[str] = frozenset()
    """Objects to look at, as the store names them."""
    foreign: bool = False
    """Something in the message is not about this bucket, or not understood: it may be somebody else's, and is left."""


def read_announcement(body: str, bucket: str, prefix: str, incoming: str) -> Announcement:
    """What a message says about `incoming` in the store at `prefix` of `bucket`; both end in `/` or are empty.

    Understands S3's own form, also inside an envelope of SNS, and EventBridge's. What it is about beside new recordings
    (deletions, other folders, the test event when notifications are set up) needs nothing done.
    """
    try:
        said = json.loads(body)
        if isinstance(said, dict) and said.get("Type") == "Notification" and "Message" in said:
            said = json.loads(said["Message"])
        if said.get("Event") == "s3:TestEvent":
            return Announcement(foreign=said["Bucket"] != bucket)
        if said.get("source") == "aws.s3":
            names = _bridged(said, bucket, prefix)
        else:
            names = [_name(record, bucket, prefix) for record in said["Records"]]
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError):
        return Announcement(foreign=True)
    wanted = [name for name in names if name and name.startswith(incoming) and not name.endswith("/")]
    return Announcement(
        frozenset(name for name in wanted if is_recording(name.removeprefix(incoming))),
        foreign=None in names or not names,
    )


def _name(record: Any, bucket: str, prefix: str) -> str | None:
    """The object that a record says was made, empty where it says nothing of the sort; None for another bucket's."""
    if record["s3"]["bucket"]["name"] != bucket:
        return None
    name = _inside(unquote_plus(record["s3"]["object"]["key"]), prefix)
    return name if "ObjectCreated:" in record["eventName"] else ""


def _bridged(event: Any, bucket: str, prefix: str) -> list[str | None]:
    """The same of an event that came through EventBridge.

    S3 encodes a key in its own notifications and leaves it as it is here, other services encode it here too: both
    readings are looked up, since a wrong one alone would find nothing and the message would be deleted.
    """
    if event["detail"]["bucket"]["name"] != bucket:
        return [None]
    key = event["detail"]["object"]["key"]
    made = event["detail-type"] == "Object Created"
    return [_inside(reading, prefix) if made else "" for reading in {key, unquote_plus(key)}]


def _inside(key: str, prefix: str) -> str:
    key.encode()  # JSON can hold what is no text, and no request could ask for
    return key.removeprefix(prefix) if key.startswith(prefix) else ""
