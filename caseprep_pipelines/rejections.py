"""Rejections: the named, permanent reasons why a recording cannot go on. Data, not crashes.

The stage that finds a reason raises `RejectedRecording`; the machinery turns it into a `Rejection` document, which
is materialized with a failed check and which later stages pass on. Passing failures belong in `errors.Fault`.
"""

from enum import StrEnum
from typing import Literal

from caseprep_pipelines.storage.document import Document


class Reason(StrEnum):
    """Why a recording cannot go on. The value is what users, SQL and `summary.json` see."""

    EMPTY = "empty"
    NOT_MEDIA = "not-media"
    TRUNCATED = "truncated"
    NO_AUDIO_STREAM = "no-audio-stream"
    UNSUPPORTED_CODEC = "unsupported-codec"
    ENCRYPTED = "encrypted"
    NO_AUDIO = "no-audio"
    CORRUPT = "corrupt"
    TOO_LARGE = "too-large"
    TOO_LONG = "too-long"
    TOO_COSTLY_TO_DECODE = "too-costly-to-decode"
    SCANNER_REFUSED = "scanner-refused"
    CHANGED_DURING_READING = "changed-during-reading"
    PRIVILEGED = "privileged"


#: What a user can do about each reason: one plain sentence.
REMEDIES: dict[Reason, str] = {
    Reason.EMPTY: "The file holds no bytes; ask for it again.",
    Reason.NOT_MEDIA: "The file is no audio or video that can be recognised; check that it was exported as one.",
    Reason.TRUNCATED: "The file ends before its audio does; copy or export it again, or take what is there with "
    "--accept-truncated.",
    Reason.NO_AUDIO_STREAM: "The file has no audio track; ask for the version with sound.",
    Reason.UNSUPPORTED_CODEC: "The audio's format cannot be decoded; export it as WAV or MP3 with the vendor's player.",
    Reason.ENCRYPTED: "The audio is encrypted; export it without protection, with the program or the key it came with.",
    Reason.NO_AUDIO: "The audio track holds no samples; export the recording again.",
    Reason.CORRUPT: "The audio cannot be decoded; ask for another copy.",
    Reason.TOO_LARGE: "The file is larger than CASEPREP_MAX_RECORDING_BYTES allows; raise it or split the file.",
    Reason.TOO_LONG: "The recording is longer than CASEPREP_MAX_RECORDING_HOURS allows; raise it or split the file.",
    Reason.TOO_COSTLY_TO_DECODE: "Decoding needed more memory or time than it should; have the file inspected.",
    Reason.SCANNER_REFUSED: "The scanner named in CASEPREP_SCANNER_COMMAND refused the file; ask whoever runs it.",
    Reason.CHANGED_DURING_READING: "The file changed while it was read; wait until it is complete and submit it again.",
    Reason.PRIVILEGED: "The recording is marked privileged and is not transcribed.",
}


class RejectedRecording(Exception):
    """Raised by a stage; `detail` holds figures and names of formats, never content or file names."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail


class Rejection(Document):
    """The product of a stage that found a recording unfit; later stages pass it on unchanged."""

    document: Literal["rejection"] = "rejection"
    schema_version: Literal[1] = 1
    partition: str
    stage: str
    reason: Reason
    detail: str = ""
    remedy: str
