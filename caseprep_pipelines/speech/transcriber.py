"""What every recogniser must do: the seam behind which faster-whisper stands. No engine belongs here."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
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

    languages: tuple[str, ...] = ()
    """ISO 639 codes of what is spoken; none: whatever is likely."""
    preferred_languages: tuple[str, ...] = ()
    """Which languages to take where the sound leaves it open."""
    hotwords: tuple[str, ...] = ()
    """Names and terms to expect, most important first."""


@dataclass(frozen=True)
class Heard:
    """What a recogniser made of a clip."""

    segment: Segment | None
    """None: nothing was said. It carries only the flags that the recogniser knows, and no number."""
    languages: Mapping[str, float] = field(default_factory=dict)
    """How likely each language is; empty where the clip's was given. What is hardly likely is left out."""


@dataclass(frozen=True)
class Clip:
    """A clip of some recording's channel on its way through a recogniser."""

    channel: Path
    """A 16 kHz mono file."""
    span: Span
    languages: tuple[str, ...]
    """What it can be in: one, some, or, where empty, whichever the model knows."""
    preferred: tuple[str, ...]
    hotwords: tuple[str, ...]
    words: bool
    """False: only the language is asked for."""
    again: bool
    """Decoded with the second settings."""
    deliver: Callable[[Heard | Exception, float], None]
    """Called once, from any thread: with what was heard, or with the `Fault` or other error that kept the clip from
    being recognised; and with the clip's share of the time, in seconds, for which the recogniser was at work."""

    @property
    def seconds(self) -> float:
        return self.span.end - self.span.start


class Transcriber(Protocol):
    """A loaded recogniser. Its methods may be called from several threads, `recognise` by one at a time."""

    @property
    def identity(self) -> ModelIdentity: ...

    @property
    def device(self) -> str:
        """`cpu`, or what the GPU is called."""
        ...

    @property
    def batch_size(self) -> int:
        """Clips recognised together now; less than was asked for where the device's memory did not hold them."""
        ...

    def libraries(self) -> dict[str, str]:
        """Name and version of everything that shapes the words."""
        ...

    def settings(self, options: TranscribeOptions) -> DecodeSettings:
        """Every setting that shapes the words. Raises `ConfigurationError` where the model cannot do what is asked."""
        ...

    def recognise(self, clips: Iterable[Clip]) -> Iterator[None]:
        """Recognises each clip by itself, however it was batched, taking clips as it has need of them.

        Yields now and then, after clips were delivered; at the end all were. Where the caller stops early, clips in
        hand are finished and delivered first.
        """
        ...
