"""What every recogniser must do: the seam behind which faster-whisper stands. No engine belongs here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from caseprep_pipelines.models.identity import ModelIdentity
from caseprep_pipelines.speech.documents import DecodeSettings, Segment, Span

Progress = Callable[[float], None]
"""Called with the seconds of audio done so far, of all channels together; never less than before."""


def no_progress(seconds: float) -> None:
    """A `Progress` that tells nobody."""


@dataclass(frozen=True)
class TranscribeOptions:
    """What a matter or an operator asks of a recogniser."""

    language: str | None = None
    """ISO 639 code; None: detected once for each channel."""
    hotwords: tuple[str, ...] = ()
    """Names and terms to expect, most important first."""


@dataclass(frozen=True)
class Heard:
    """What a recogniser heard on one channel."""

    language: str | None
    language_probability: float | None
    segments: tuple[Segment, ...]
    """In order; at most one for each clip, none for a clip without words. Flags known to the recogniser only."""


class Transcriber(Protocol):
    """A loaded recogniser. Usable by one thread at a time; it may use several itself."""

    @property
    def identity(self) -> ModelIdentity: ...

    def libraries(self) -> dict[str, str]:
        """Name and version of everything that shapes the words."""
        ...

    def settings(self, options: TranscribeOptions) -> DecodeSettings:
        """Every setting that shapes the words. Raises `ConfigurationError` where the model cannot do what is asked."""
        ...

    def transcribe(
        self, channel: Path, clips: Sequence[Span], options: TranscribeOptions, progress: Progress = no_progress
    ) -> Heard:
        """Recognises each clip of a 16 kHz mono file by itself; memory does not grow with the file.

        `progress` gets the seconds of clips done. Raises `ConfigurationError`, or `Fault` where the device failed.
        """
        ...
