"""What a media file holds, found out from its bytes in a process of its own; nothing is decoded here."""

from dataclasses import dataclass
from pathlib import Path

from caseprep_pipelines.audio import sandbox
from caseprep_pipelines.audio.documents import AudioStream
from caseprep_pipelines.audio.limits import Limits
from caseprep_pipelines.rejections import Reason, RejectedRecording


@dataclass(frozen=True)
class Probe:
    """What the container declares. `container` is FFmpeg's name of the demuxer."""

    container: str
    audio_streams: tuple[AudioStream, ...]
    duration_seconds: float | None
    has_video: bool

    @property
    def channels(self) -> int:
        """Sum over the audio streams that can be decoded."""
        return sum(stream.channels for stream in self.audio_streams)


def probe(path: Path, limits: Limits) -> Probe:
    """Reads the container's header. The file's name and extension play no part.

    Raises `RejectedRecording` (empty, not-media, truncated, corrupt, no-audio-stream, unsupported-codec, too-long,
    too-costly-to-decode) and `Fault`.
    """
    if path.exists() and path.stat().st_size == 0:
        raise RejectedRecording(Reason.EMPTY)
    found = sandbox.run("probe", path, limits)
    return Probe(
        container=found["container"],
        audio_streams=tuple(AudioStream(**stream) for stream in found["audio_streams"]),
        duration_seconds=found["duration_seconds"],
        has_video=found["has_video"],
    )
