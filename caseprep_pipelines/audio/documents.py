"""The products of the first two stages: what was received, and what it became as audio."""

from typing import Literal

from caseprep_pipelines.audio.findings import EXPLAINED, MISSING, sentence
from caseprep_pipelines.storage.document import Document, Part


class AudioStream(Part):
    """One audio stream as its container declares it."""

    index: int
    codec: str
    sample_rate: int
    """Hz."""
    channels: int
    layout: str | None = None
    sample_format: str | None = None
    bit_rate: int | None = None
    start_seconds: float = 0.0
    duration_seconds: float | None = None


class Origin(Part):
    """Where a recording came from and which version of it this is. Never a file name: names can name a client."""

    kind: Literal["file", "object"]
    bucket: str | None = None
    version_id: str | None = None
    etag: str | None = None
    received_at: str
    """UTC, ISO 8601."""


class SourceRecording(Document):
    """The registered original."""

    document: Literal["source_recording"] = "source_recording"
    schema_version: Literal[1] = 1
    partition: str
    matter: str
    sha256: str
    md5: str
    size_bytes: int
    original: str | None
    """Object name under the storage root; None where a locked version in a bucket is referenced: its place can name a
    client and stands in the registry only."""
    origin: Origin
    container: str
    """FFmpeg's name of the demuxer."""
    duration_seconds: float | None
    """As the container declares it; None where it declares none."""
    audio_streams: tuple[AudioStream, ...]
    has_video: bool
    channels: int
    """Sum over the audio streams."""


class Gap(Part):
    """A stretch that became silence so that second t stays second t: timestamps skip it, or its packets are damaged."""

    start: float
    end: float


class ChannelAudio(Part):
    """One channel as FLAC, 16 kHz, 16 bit, mono, with what was measured on it."""

    index: int
    file: str
    sha256: str
    stream: int
    channel_in_stream: int
    samples: int
    loudness_lufs: float | None
    """Integrated loudness, ITU-R BS.1770-4; None where the gate passes nothing (silence)."""
    peak_dbfs: float | None
    rms_dbfs: float | None
    clipped_ratio: float
    """Share of samples at full scale, as decoded, before anything is converted."""
    silence_ratio: float
    """Share of 100 ms frames whose RMS is below -60 dBFS."""
    duplicate_of: int | None = None
    """Index of the channel that this one repeats (dual mono); such a channel is kept but not transcribed."""


class Finding(Part):
    """Something amiss with the sound; `audio.findings` says in words what the kinds mean. Seconds."""

    kind: str
    by: str | None = None
    """What states the length, after "its": `header`, `data chunk`."""
    stated: float | None = None
    held: float | None = None
    seconds: float | None = None
    count: int | None = None

    @property
    def sentence(self) -> str:
        return sentence(**self.model_dump())

    @property
    def explained(self) -> bool:
        """Whether all sound is there all the same."""
        return self.kind in EXPLAINED

    @property
    def missing(self) -> bool:
        """Whether sound of the original is not in the product."""
        return self.kind in MISSING


class NormalizedAudio(Document):
    """Every channel of a recording as FLAC beside this document."""

    document: Literal["normalized_audio"] = "normalized_audio"
    schema_version: Literal[1] = 1
    partition: str
    source_sha256: str
    sample_rate: Literal[16000] = 16000
    duration_seconds: float
    container_duration_seconds: float | None
    channels: tuple[ChannelAudio, ...]
    gaps: tuple[Gap, ...] = ()
    dual_mono: bool = False
    damaged_packets: int = 0
    """Packets that the decoder refused and that became silence."""
    trimmed_seconds: float = 0.0
    """Audio left out because the timestamps put it where other audio already was."""
    clock_resets: int = 0
    """Times that the timestamps started anew or leapt out of the recording; the audio then simply goes on."""
    undecoded_streams: tuple[int, ...] = ()
    """Audio streams beside the ones here that no decoder knows."""
    findings: tuple[Finding, ...] = ()
    """What is amiss, the worst first: what was decoded differs from a length that the file states, or was lost."""
    libraries: dict[str, str]

    @property
    def distinct_channels(self) -> tuple[ChannelAudio, ...]:
        """The channels that repeat no other."""
        return tuple(channel for channel in self.channels if channel.duplicate_of is None)
