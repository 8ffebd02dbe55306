"""The formats by name, and writing a transcript in several of them. How one format looks is in its own module."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal

from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.renditions.content import Inputs
from caseprep_pipelines.speech.documents import RawTranscript, SpeakerTurns
from caseprep_pipelines.storage.document import Document, Part
from caseprep_pipelines.transcript.document import Transcript


@dataclass(frozen=True)
class Format:
    name: str
    """As in `--format` and `CASEPREP_FORMATS`."""
    file: str
    media_type: str
    function: str
    """`MODULE:FUNCTION` in this package; takes `Inputs` and returns the file's text."""


FORMATS: dict[str, Format] = {
    format_.name: format_
    for format_ in (
        Format("json", "transcript.json", "application/json", "canonical:transcript_json"),
        Format("txt", "transcript.txt", "text/plain", "text:transcript_txt"),
        Format("srt", "transcript.srt", "application/x-subrip", "subtitles:transcript_srt"),
        Format("vtt", "transcript.vtt", "text/vtt", "subtitles:transcript_vtt"),
        Format("rttm", "turns.rttm", "text/plain", "rttm:rendition"),
        Format("ctm", "transcript.ctm", "text/plain", "ctm:transcript_ctm"),
        Format("seglst", "transcript.seglst.json", "application/json", "seglst:transcript_seglst"),
    )
}


class Rendition(Part):
    """One exported file."""

    file: str
    format: str
    media_type: str
    sha256: str
    size_bytes: int


class RenditionSet(Document):
    """The files that one transcript version was exported to."""

    document: Literal["transcript_exports"] = "transcript_exports"
    schema_version: Literal[1] = 1
    partition: str
    transcript_version: str
    transcript_sha256: str
    """Digest of the transcript document that the files were made from."""
    files: tuple[Rendition, ...]


def check_formats(formats: Iterable[str]) -> list[Format]:
    """The formats of these names, each once; raises `ConfigurationError` for unknown names and where there is none."""
    names = list(dict.fromkeys(formats))
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        what = f"unknown format {', '.join(map(repr, unknown))}" if unknown else "no format is named"
        raise ConfigurationError(f"{what}; known are {', '.join(FORMATS)}")
    return [FORMATS[name] for name in names]


def render(
    transcript: Transcript,
    turns: SpeakerTurns,
    raw: RawTranscript,
    formats: Iterable[str],
    folder: Path,
    version: str,
) -> RenditionSet:
    """Writes the transcript's version `version` to `folder`, which must exist, one file per format, UTF-8.

    Raises `ConfigurationError` before anything is written where a format is not known.
    """
    inputs = Inputs(transcript, turns, raw, version)
    files = []
    for format_ in check_formats(formats):
        module, name = format_.function.split(":")
        function: Callable[[Inputs], str] = getattr(import_module(f"{__package__}.{module}"), name)
        data = function(inputs).encode()
        (folder / format_.file).write_bytes(data)
        files.append(
            Rendition(
                file=format_.file,
                format=format_.name,
                media_type=format_.media_type,
                sha256=hashlib.sha256(data).hexdigest(),
                size_bytes=len(data),
            )
        )
    return RenditionSet(
        partition=transcript.partition,
        transcript_version=version,
        transcript_sha256=transcript.digest(),
        files=tuple(files),
    )
