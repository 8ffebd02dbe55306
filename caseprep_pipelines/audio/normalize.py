"""The stage `normalized_audio` for one recording: checks what must hold before decoding, has it done, describes it."""

import hashlib
import os
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from caseprep_pipelines.audio import sandbox
from caseprep_pipelines.audio.documents import ChannelAudio, Gap, NormalizedAudio, SourceRecording
from caseprep_pipelines.audio.limits import Limits
from caseprep_pipelines.audio.reading import SAMPLE_RATE
from caseprep_pipelines.audio.register import read_original
from caseprep_pipelines.errors import Fault

#: Bytes that are left alone on the disk that is worked on.
_RESERVE = 64 * 10**6

#: Bytes a second of the leanest speech codec: an upper bound on the length of a file that states none.
_LEANEST = 600


def normalize(
    original: Path,
    source: SourceRecording,
    folder: Path,
    limits: Limits,
    progress: Callable[[float], None] | None = None,
) -> NormalizedAudio:
    """Writes `channel-NN.flac` for every channel into `folder`, which exists and is empty, and describes them.

    `original` are the registered bytes; `progress` is given the seconds of audio done. Raises `RejectedRecording`
    (corrupt, truncated, no-audio, too-long, too-costly-to-decode, …) and `Fault` (disk, changed original, process);
    nothing is left in the folder then. The same bytes give the same files.
    """
    _check_space(source, folder, limits)
    _check_original(original, source)
    try:
        product = sandbox.run("decode", original, limits, folder=folder, progress=progress)
        channels = tuple(
            ChannelAudio(sha256=_sha256(folder / channel["file"]), **channel) for channel in product.pop("channels")
        )
    except BaseException:
        for left in folder.glob("*.flac"):
            left.unlink(missing_ok=True)
        raise
    return NormalizedAudio(
        partition=source.partition,
        source_sha256=source.sha256,
        channels=channels,
        gaps=tuple(Gap(start=start, end=end) for start, end in product.pop("gaps")),
        libraries=libraries(),
        **product,
    )


def libraries() -> dict[str, str]:
    """Versions of what shapes the samples."""
    return {name: version(name) for name in ("av", "numpy", "soundfile")}


def _check_space(source: SourceRecording, folder: Path, limits: Limits) -> None:
    seconds = source.duration_seconds or source.size_bytes / _LEANEST
    needed = round(min(seconds, limits.max_seconds) * source.channels * SAMPLE_RATE * 2) + _RESERVE
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise Fault(f"The work directory cannot be used: {os.strerror(error.errno or 0)}.") from error
    if free < needed:
        raise Fault(
            f"Not enough disk space to work in: {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free; "
            "free some or point CASEPREP_WORK_DIRECTORY elsewhere."
        )


def _check_original(original: Path, source: SourceRecording) -> None:
    if read_original(original).sha256 != source.sha256:
        raise Fault("The original is not what was registered; `caseprep verify` says more.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
