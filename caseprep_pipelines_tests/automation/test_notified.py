"""Taking up uploads that somebody told of: nothing missed, nothing twice, whatever the messages did."""

import itertools
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

import pytest

from caseprep_pipelines.automation import notified
from caseprep_pipelines.automation.intake import Intake, take_new
from caseprep_pipelines.automation.notified import LOOK_AT_ALL, Watch, take_announced, take_changed
from caseprep_pipelines.catalog import registry
from caseprep_pipelines.errors import ConfigurationError, Fault
from caseprep_pipelines.resources.pipeline import Pipeline
from caseprep_pipelines.settings import read_settings
from caseprep_pipelines.storage.objects import LocalObjects
from caseprep_pipelines.storage.queue import Queue, open_queue
from caseprep_pipelines.storage.s3 import S3Objects
from caseprep_pipelines_tests.s3_server import Break, S3Server

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
_NUMBERS = itertools.count()


# --- a bucket and its queue


class Bucket:
    """A bucket under which uploads lie, and a queue that it announces them to."""

    def __init__(self, s3: S3Server, folder: Path) -> None:
        self.s3 = s3
        self.queue = open_queue(self._made_queue(), "us-east-1")
        self.sqs: SQSClient = self.queue.client
        arn = self.sqs.get_queue_attributes(QueueUrl=self.queue.url, AttributeNames=["QueueArn"])["Attributes"]
        s3.client().put_bucket_notification_configuration(
            Bucket=s3.bucket,
            NotificationConfiguration={
                "QueueConfigurations": [{"QueueArn": arn["QueueArn"], "Events": ["s3:ObjectCreated:*"]}]
            },
        )
        self.pipeline = Pipeline(
            read_settings(
                storage=s3.root, s3_endpoint_url=s3.endpoint_url, s3_region="us-east-1", dagster_home=folder / "dagster"
            )
        )

    def _made_queue(self) -> str:
        import boto3

        sqs = boto3.client("sqs", endpoint_url=self.s3.endpoint_url, region_name="us-east-1")
        # what is left in it comes again at once
        made = sqs.create_queue(QueueName=f"uploads-{next(_NUMBERS)}", Attributes={"VisibilityTimeout": "0"})
        return made["QueueUrl"]

    def put(self, name: str, data: bytes = b"sound") -> None:
        self.s3.client().put_object(Bucket=self.s3.bucket, Key=f"some/prefix/incoming/{name}", Body=data)

    def delete(self, name: str) -> None:
        self.s3.client().delete_object(Bucket=self.s3.bucket, Key=f"some/prefix/incoming/{name}")

    def say(self, name: str, bucket: str | None = None) -> None:
        """A message of its own, as a queue that delivers twice or late would bring it."""
        key = quote_plus(f"some/prefix/incoming/{name}")
        about = {"bucket": {"name": bucket or self.s3.bucket}, "object": {"key": key}}
        body = json.dumps({"Records": [{"eventName": "ObjectCreated:Put", "s3": about}]})
        self.sqs.send_message(QueueUrl=self.queue.url, MessageBody=body)

    def look(self) -> Intake:
        return take_announced(self.pipeline, self.queue, NOW)

    @property
    def messages(self) -> int:
        told = self.sqs.get_queue_attributes(QueueUrl=self.queue.url, AttributeNames=["ApproximateNumberOfMessages"])
        return int(told["Attributes"]["ApproximateNumberOfMessages"])


@pytest.fixture
def bucket(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    monkeypatch.setattr("caseprep_pipelines.storage.queue.WAIT_SECONDS", 0)
    bucket = Bucket(s3, tmp_path)
    # what S3 says of itself when notifications are set up
    assert bucket.messages == 1
    assert bucket.look() == Intake()
    assert bucket.messages == 0
    return bucket


def test_an_announced_upload_is_registered_and_its_message_deleted(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(S3Objects, "list")
    bucket.put("2024-cv-1/call number 1+2 (ä).wav")
    (partition,) = bucket.look().new
    row = registry.recording(bucket.pipeline.catalog, partition)
    assert row is not None
    assert (row.matter, row.name) == ("2024-cv-1", "call number 1+2 (ä).wav")
    assert bucket.messages == 0
    assert bucket.look().new == ()


def test_what_one_sensor_took_up_the_other_leaves_alone(bucket: Bucket) -> None:
    bucket.put("2024-cv-1/a.wav", b"a")
    assert len(bucket.look().new) == 1
    bucket.put("2024-cv-1/b.wav", b"b")
    assert len(take_new(bucket.pipeline, NOW).new) == 1
    assert bucket.look().new == ()
    assert bucket.messages == 0


def test_messages_wait_while_nobody_looks(bucket: Bucket) -> None:
    bucket.sqs.set_queue_attributes(QueueUrl=bucket.queue.url, Attributes={"VisibilityTimeout": "30"})
    for number in range(25):
        bucket.put(f"2024-cv-1/{number}.wav", str(number).encode())
    assert len(bucket.look().new) == 25
    assert bucket.messages == 0


def test_a_message_twice_or_late_registers_nothing_twice(bucket: Bucket) -> None:
    bucket.put("2024-cv-1/a.wav")
    bucket.say("2024-cv-1/a.wav")
    assert len(bucket.look().new) == 1
    bucket.say("2024-cv-1/a.wav")
    assert bucket.look().new == ()
    assert bucket.messages == 0


def test_of_two_sensors_with_the_same_message_one_registers(bucket: Bucket) -> None:
    """What a queue delivers twice may lie with two daemons at the same time."""
    for number in range(6):
        bucket.put(f"2024-cv-1/{number}.wav", str(number).encode())
    _ = bucket.pipeline.objects, bucket.pipeline.catalog
    with ThreadPoolExecutor(2) as threads:
        looks = [threads.submit(bucket.look) for _ in range(2)]
        new = [key for look in looks for key in look.result().new]
    assert len(new) == len(set(new)) == 6
    assert bucket.messages == 0


def test_a_message_whose_deletion_failed_comes_again_and_does_no_harm(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise Fault("SQS: deleting from the queue failed")

    bucket.put("2024-cv-1/a.wav")
    with monkeypatch.context() as broken:
        broken.setattr(Queue, "delete", fails)
        with pytest.raises(Fault):
            bucket.look()
    assert bucket.messages == 1
    assert bucket.look().new == ()
    assert bucket.messages == 0
    assert len(registry.all_partitions(bucket.pipeline.catalog)) == 1


@pytest.mark.parametrize("seed", range(3))
def test_whatever_the_order_and_however_often_the_end_is_what_lies_there(bucket: Bucket, seed: int) -> None:
    """Uploads, replacements and deletions, of which the queue tells late, shuffled and twice, with looks in between."""
    chance = random.Random(seed)
    told: list[str] = []
    for step in range(24):
        name = f"2024-cv-1/{chance.randrange(6)}.wav"
        if chance.random() < 0.2:
            bucket.delete(name)
        else:
            bucket.put(name, f"{name} {step}".encode())
        told.append(name)
    while bucket.messages:
        found = bucket.sqs.receive_message(QueueUrl=bucket.queue.url, MaxNumberOfMessages=10).get("Messages", [])
        for each in found:
            bucket.sqs.delete_message(QueueUrl=bucket.queue.url, ReceiptHandle=each["ReceiptHandle"])
    told = [*told, *chance.sample(told, 12)]
    chance.shuffle(told)
    new: list[str] = []
    while told:
        for name in [told.pop() for _ in range(min(len(told), chance.randint(1, 9)))]:
            bucket.say(name)
        new.extend(bucket.look().new)
    there = bucket.s3.client().list_objects_v2(Bucket=bucket.s3.bucket, Prefix="some/prefix/incoming/")
    assert len(new) == len(set(new)) == there["KeyCount"]
    assert bucket.messages == 0
    assert take_new(bucket.pipeline, NOW).new == ()


def test_messages_out_of_order_lead_to_what_lies_there_now(bucket: Bucket) -> None:
    bucket.put("2024-cv-1/a.wav", b"first")
    (first,) = bucket.look().new
    bucket.put("2024-cv-1/a.wav", b"second")
    (second,) = bucket.look().new
    bucket.say("2024-cv-1/a.wav")  # about the first, late
    assert bucket.look().new == ()
    assert first != second
    assert take_new(bucket.pipeline, NOW).new == ()


def test_an_upload_that_was_deleted_before_anybody_looked_is_nothing(bucket: Bucket) -> None:
    bucket.put("2024-cv-1/a.wav")
    bucket.delete("2024-cv-1/a.wav")
    assert bucket.look().new == ()
    assert bucket.messages == 0


def test_what_is_somebody_elses_is_counted_and_left(bucket: Bucket) -> None:
    bucket.say("2024-cv-1/a.wav", bucket="another")
    bucket.sqs.send_message(QueueUrl=bucket.queue.url, MessageBody="hello")
    bucket.put("2024-cv-1/a.wav")
    intake = bucket.look()
    assert (len(intake.new), intake.foreign, bucket.messages) == (1, 2, 2)


def test_a_message_is_kept_until_its_recording_is_registered(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise Fault("the catalog's database failed")

    bucket.put("2024-cv-1/a.wav")
    with monkeypatch.context() as broken:
        broken.setattr(registry, "register", fails)
        with pytest.raises(Fault):
            bucket.look()
    assert bucket.messages == 1
    assert len(bucket.look().new) == 1


def test_a_message_is_kept_while_its_object_cannot_be_looked_up(
    bucket: Bucket, faulty_s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert faulty_s3.proxy is not None
    bucket.put("2024-cv-1/a.wav", b"a")
    bucket.put("2024-cv-1/b.wav", b"b")
    faulty_s3.proxy.breaks = [Break("503 SlowDown", "HEAD", 100, when=lambda path: "a.wav" in path)]
    settings = bucket.pipeline.settings.model_copy(update={"s3_endpoint_url": faulty_s3.endpoint_url})
    monkeypatch.setattr(bucket, "pipeline", Pipeline(settings))
    intake = bucket.look()
    assert (len(intake.new), intake.left, bucket.messages) == (1, 1, 1)
    faulty_s3.proxy.breaks = []
    assert len(bucket.look().new) == 1
    assert bucket.messages == 0


def test_a_tick_takes_its_share_and_leaves_the_rest_in_the_queue(bucket: Bucket) -> None:
    settings = bucket.pipeline.settings.model_copy(update={"sensor_max_new": 3})
    bucket.pipeline = Pipeline(settings)
    for number in range(7):
        bucket.put(f"2024-cv-1/{number}.wav", str(number).encode())
    taken = [len(bucket.look().new) for _ in range(3)]
    assert taken == [3, 3, 1]
    assert bucket.messages == 0


def test_versions_of_one_name_are_the_same_recordings_by_listing_and_by_messages(bucket: Bucket) -> None:
    bucket.s3.client().put_bucket_versioning(Bucket=bucket.s3.bucket, VersioningConfiguration={"Status": "Enabled"})
    bucket.put("2024-cv-1/a.wav", b"first")
    assert len(take_new(bucket.pipeline, NOW).new) == 1
    bucket.put("2024-cv-1/a.wav", b"second")
    assert len(bucket.look().new) == 1
    assert take_new(bucket.pipeline, NOW).new == ()


@pytest.mark.parametrize("url", ["uploads", "s3://bucket", "file:///tmp/queue"])
def test_what_is_no_queues_url_is_said_so(url: str) -> None:
    with pytest.raises(ConfigurationError, match="CASEPREP_SQS_QUEUE_URL"):
        open_queue(url)


def test_a_queue_that_is_not_there_is_said_so(bucket: Bucket) -> None:
    with pytest.raises(ConfigurationError, match="CASEPREP_SQS_QUEUE_URL"):
        take_announced(bucket.pipeline, Queue(bucket.sqs, f"{bucket.queue.url}-gone"), NOW)


def test_a_queue_that_does_not_answer_is_a_fault(bucket: Bucket) -> None:
    with pytest.raises(Fault):
        open_queue("http://127.0.0.1:9/queue", "us-east-1").receive()


# --- a directory and those who listen to it


class Folder:
    """A storage root on this machine; time passes by the hour hand of whoever looks."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pipeline = Pipeline(
            read_settings(storage=str(root / "storage"), dagster_home=root / "dagster", incoming_settle_seconds=0)
        )
        self.incoming = root / "storage" / "incoming"
        self.incoming.mkdir(parents=True)
        self.watch = Watch(root / "storage", "incoming/")
        self.listings = 0

    def put(self, name: str, content: bytes) -> Path:
        path = self.incoming / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (NOW.timestamp(), NOW.timestamp()))
        return path

    def look(self, now: datetime = NOW) -> Intake:
        return take_changed(self.pipeline, self.watch, now)

    def until(self, met: Callable[[list[str]], bool]) -> list[str]:
        """Looks until what was registered meets a condition: the system tells soon, not at once."""
        new: list[str] = []
        while not met(new):
            new.extend(self.look().new)
        return new


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    made = Folder(tmp_path)
    listing = LocalObjects.list

    def counted(self: LocalObjects, prefix: str = "", start_after: str | None = None) -> object:
        made.listings += prefix == "incoming/"
        return listing(self, prefix, start_after)

    monkeypatch.setattr(LocalObjects, "list", counted)
    yield made
    made.watch.close()


def count(wanted: int) -> Callable[[list[str]], bool]:
    return lambda new: len(new) >= wanted


def test_what_lay_there_before_anybody_listened_is_taken_up(folder: Folder) -> None:
    folder.put("2024-cv-1/a.wav", b"a")
    assert len(folder.look().new) == 1


def test_a_new_file_is_taken_up_without_another_listing(folder: Folder) -> None:
    folder.look()
    folder.put("2024-cv-1/a.wav", b"a")
    folder.until(count(1))
    assert folder.listings == 1


def test_files_that_came_by_a_move_or_in_folders_are_taken_up(folder: Folder, tmp_path: Path) -> None:
    folder.look()
    elsewhere = tmp_path / "elsewhere" / "2024-cv-2" / "disc 1"
    elsewhere.mkdir(parents=True)
    for number in range(3):
        (elsewhere / f"{number}.wav").write_bytes(f"moved {number}".encode())
        os.utime(elsewhere / f"{number}.wav", (NOW.timestamp(), NOW.timestamp()))
    shutil.move(tmp_path / "elsewhere" / "2024-cv-2", folder.incoming)
    folder.put("2024-cv-1/a.wav.part", b"a").rename(folder.incoming / "2024-cv-1" / "a.wav")
    folder.until(count(4))
    assert folder.listings == 1


def test_a_file_that_is_still_written_is_looked_at_until_it_has_settled(folder: Folder) -> None:
    settings = folder.pipeline.settings.model_copy(update={"incoming_settle_seconds": 30.0})
    folder.pipeline = Pipeline(settings)
    folder.look()
    folder.put("2024-cv-1/a.wav", b"a")
    intake = folder.look()
    while not intake.settling:
        intake = folder.look()
    assert intake.new == ()
    assert len(folder.look(NOW + timedelta(minutes=1)).new) == 1
    assert folder.listings == 1


def test_new_bytes_under_an_old_name_are_a_new_recording(folder: Folder) -> None:
    folder.put("2024-cv-1/a.wav", b"first")
    folder.look()
    folder.put("2024-cv-1/a.wav", b"the second")
    assert len(folder.until(count(1))) == 1


def test_a_file_that_is_gone_again_is_nothing(folder: Folder) -> None:
    folder.look()
    folder.put("2024-cv-1/a.wav", b"a").unlink()
    folder.put("2024-cv-1/b.wav", b"b")
    assert len(folder.until(count(1))) == 1


def test_everything_is_looked_at_once_an_hour_told_or_not(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network share tells nothing of what other machines write to it."""
    folder.look()
    monkeypatch.setattr(Watch, "look_again", lambda *_: None)
    folder.put("2024-cv-1/a.wav", b"a")
    assert folder.look(NOW + LOOK_AT_ALL / 2).new == ()
    assert len(folder.look(NOW + LOOK_AT_ALL).new) == 1


def test_where_nothing_is_told_every_look_is_at_everything(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def used_up(_: Watch) -> None:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr(Watch, "_begin", used_up)
    for number in range(3):
        folder.put(f"2024-cv-1/{number}.wav", str(number).encode())
        assert len(folder.look().new) == 1


def test_a_folder_that_appears_or_is_replaced_is_listened_to(folder: Folder, tmp_path: Path) -> None:
    folder.incoming.rmdir()
    assert folder.look().new == ()
    folder.put("2024-cv-1/a.wav", b"a")
    assert len(folder.look().new) == 1
    folder.incoming.rename(tmp_path / "old")
    folder.put("2024-cv-1/b.wav", b"b")
    assert len(folder.look().new) == 1


def test_what_was_told_before_a_fault_is_looked_at_after_it(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.look()
    folder.put("2024-cv-1/a.wav", b"a")
    folder.watch.look_again({"incoming/2024-cv-1/a.wav"})
    with monkeypatch.context() as broken:
        broken.setattr(notified, "take", lambda *_: (_ for _ in ()).throw(Fault("the catalog's database failed")))
        with pytest.raises(Fault):
            folder.look()
    assert len(folder.look().new) == 1
    assert folder.listings == 1


def test_links_are_not_followed(folder: Folder, tmp_path: Path) -> None:
    folder.look()
    (tmp_path / "outside.wav").write_bytes(b"outside")
    (folder.incoming / "2024-cv-1").mkdir()
    (folder.incoming / "2024-cv-1" / "link.wav").symlink_to(tmp_path / "outside.wav")
    folder.put("2024-cv-1/a.wav", b"a")
    assert len(folder.until(count(1))) == 1
    assert folder.look().new == ()
