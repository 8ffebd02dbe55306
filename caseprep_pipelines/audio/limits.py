"""What one recording may cost, handed down by whoever read the settings. Rules about content stand with their stage."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds on one recording. The defaults are those of `settings`, whose fields have the same names."""

    max_recording_bytes: int = 200 * 10**9
    max_recording_hours: float = 26.0
    decode_memory_bytes: int = 2 * 10**9
    """Memory that a child process may take beyond what it has loaded before it opens the recording."""
    decode_speed_floor: float = 2.0
    """Decoding may use one second of processor time for this many seconds of audio, and never less than two minutes."""
    accept_truncated: bool = False
    """Whether a recording that was cut off is worked on as far as it goes."""

    @property
    def max_seconds(self) -> float:
        return self.max_recording_hours * 3600
