"""A message queue in SQS, or a service that speaks its API: receiving, and deleting what is done with.

What messages say is read in `automation.announcements`. Messages of errors name the operation, never what was in a
message.
"""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from caseprep_pipelines.errors import ConfigurationError, Fault

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

SETTING = "CASEPREP_SQS_QUEUE_URL"

#: The most that SQS hands out, and takes back, at once.
AT_ONCE = 10
#: Seconds that an empty queue is waited for: without any, SQS asks only some of its servers and may overlook a message.
WAIT_SECONDS = 1

_WRONG = {
    "AWS.SimpleQueueService.NonExistentQueue",
    "QueueDoesNotExist",
    "InvalidAddress",
    "AccessDenied",
    "AccessDeniedException",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
    "InvalidSecurity",
}


@dataclass(frozen=True)
class Message:
    id: str
    """The same at every delivery."""
    body: str
    receipt: str
    """By which this delivery is deleted."""


class Queue:
    """A queue by its URL. A message that is received and not deleted comes again after the queue's own time."""

    def __init__(self, client: "SQSClient", url: str) -> None:
        self.client = client
        self.url = url

    def receive(self) -> list[Message]:
        """A few messages, none where there are none. Raises `Fault` and `ConfigurationError`."""
        with _faults("receiving from"):
            answer = self.client.receive_message(
                QueueUrl=self.url, MaxNumberOfMessages=AT_ONCE, WaitTimeSeconds=WAIT_SECONDS
            )
        return [
            Message(found["MessageId"], found.get("Body", ""), found["ReceiptHandle"])
            for found in answer.get("Messages", ())
        ]

    def delete(self, messages: Collection[Message]) -> None:
        """Deletes deliveries; one that was not deleted after all comes again, which does no harm."""
        receipts = [message.receipt for message in messages]
        for start in range(0, len(receipts), AT_ONCE):
            some = receipts[start : start + AT_ONCE]
            with _faults("deleting from"):
                self.client.delete_message_batch(
                    QueueUrl=self.url,
                    Entries=[{"Id": str(n), "ReceiptHandle": receipt} for n, receipt in enumerate(some)],
                )


def open_queue(url: str, region: str | None = None) -> Queue:
    """The queue at a URL as SQS shows it, which also says the service's address. Asks nobody.

    `region` is taken where the address does not tell it. Raises `ConfigurationError`.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"{SETTING} is no queue's URL; SQS shows it as https://sqs.REGION.amazonaws.com/…")
    told = re.match(r"sqs\.([a-z0-9-]+)\.amazonaws\.", parts.hostname)
    config = Config(retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=10)
    try:
        client = boto3.session.Session().client(
            "sqs",
            endpoint_url=f"{parts.scheme}://{parts.netloc}",
            region_name=told[1] if told else region,
            config=config,
        )
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(
            f"The queue cannot be used ({type(error).__name__}): check {SETTING} and CASEPREP_S3_REGION"
        ) from None
    return Queue(client, url)


@contextmanager
def _faults(doing: str) -> Iterator[None]:
    from botocore import exceptions

    try:
        yield
    except exceptions.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _WRONG:
            raise ConfigurationError(
                f"{doing.capitalize()} the queue was refused ({code}): check {SETTING}, the credentials, and that "
                "their policy allows sqs:ReceiveMessage and sqs:DeleteMessage there"
            ) from None
        raise Fault(f"SQS: {doing} the queue failed ({code or 'unknown error'})") from None
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.NoRegionError) as error:
        raise ConfigurationError(
            f"The queue cannot be used ({type(error).__name__}): check the AWS credentials of this process, and "
            "CASEPREP_S3_REGION"
        ) from None
    except (exceptions.BotoCoreError, exceptions.HTTPClientError) as error:
        raise Fault(f"SQS: {doing} the queue failed ({type(error).__name__})") from None
