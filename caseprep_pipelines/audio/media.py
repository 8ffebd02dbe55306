"""Opening a recording with FFmpeg and saying what it holds. Runs in the child process only: it parses hostile bytes.

The file comes as a descriptor, so FFmpeg sees neither its name nor its extension and can open nothing else: the only
protocol allowed is the descriptor's. Only containers that recordings come in are allowed; playlists, concatenation
scripts, image sequences and capture devices are not among them. Video decoders are not started.
"""

import os
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from caseprep_pipelines.audio.encryption import encrypted, scrambled
from caseprep_pipelines.audio.pieces import Piece
from caseprep_pipelines.audio.stated_lengths import Stated, mp4_boxes
from caseprep_pipelines.audio.views import View

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

#: FFmpeg's demuxers for what recorders, telephone systems, cameras and court systems write.
CONTAINERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,asf_o,au,avi,caf,dhav,dss,dts,dtshd,dv,eac3,flac,flv,gsm,gxf,h264,hevc,ircam,"
    "loas,matroska,mjpeg,mlp,mov,mp3,mpc,mpc8,mpeg,mpegts,mpegvideo,m4v,mxf,nistsphere,nut,ogg,oma,pva,qcp,rm,sox,tak,"
    "truehd,tta,voc,w64,wav,wtv,wv,xwma"
)

#: Containers whose header states a length, against which what arrives is measured. Elsewhere FFmpeg estimates it.
STATED_LENGTH = frozenset(
    "aiff,ape,asf,asf_o,au,avi,caf,flac,flv,gxf,matroska,mov,mxf,nistsphere,tak,tta,w64,wav,wv,xwma".split(",")  # noqa: SIM905
)

#: Containers of whose headers `stated_lengths` says more than FFmpeg.
_COUNTED = frozenset({"wav", "aiff", "au", "caf", "w64", "avi"})

#: How far the second attempt reads to find sound, in bytes and microseconds.
_PATIENCE = {"probesize": "50000000", "analyzeduration": "120000000"}

#: Fewer bytes for each second than the leanest speech codec writes: the header promises what the file cannot hold.
_LEANEST_BYTES_PER_SECOND = 50

_SIGNATURES = (b"RIFF", b"RIFX", b"RF64", b"riff", b"fLaC", b"OggS", b"FORM", b"ID3", b"caff", b"#!AMR", b".snd",
               b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75", b"FLV\x01")  # fmt: skip
_ATOMS = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")


class UnfitError(Exception):
    """The recording cannot go on. `reason` is a value of `rejections.Reason`, which this process does not import."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def open_media(view: View) -> "InputContainer":
    """Opens the file, or a piece of it; raises `UnfitError` (not-media, truncated, corrupt) where FFmpeg cannot."""
    container = _open(view, {})
    if all(_known(stream) for stream in container.streams.audio) and container.streams.audio:
        return container
    # transport and programme streams announce nothing: sound that sets in late is found only by reading further
    container.close()
    return _open(view, _PATIENCE)


def _open(view: View, more: dict[str, str]) -> "InputContainer":
    import av

    options = {
        "protocol_whitelist": "fd",
        "format_whitelist": CONTAINERS,
        "codec_whitelist": ",".join(_audio_decoders()),
        # WAV in packets of 64 kB: its own default is a few milliseconds
        "max_size": "65536",
        **more,
    }
    try:
        if view.whole and isinstance(view.source, int):
            os.lseek(view.source, 0, os.SEEK_SET)
            return av.open("fd:", options={"fd": str(view.source), **options}, metadata_errors="replace")
        view.seek(0)
        # PyAV's types know of files by name only
        return cast("InputContainer", av.open(view, options=options, metadata_errors="replace", buffer_size=1 << 18))
    except MemoryError:
        raise
    except (av.error.FFmpegError, OSError) as error:
        raise _why_not_opened(view) from error


def _known(stream: "AudioStream") -> bool:
    """Whether what decoding needs to know has been found; streams that no decoder knows never get there."""
    return stream.codec_context is None or bool(stream.codec_context.sample_rate and stream.codec_context.channels)


def usable_streams(container: "InputContainer") -> list["AudioStream"]:
    """The audio streams that can be decoded."""
    return [stream for stream in container.streams.audio if stream.codec_context is not None and _known(stream)]


def probe(pieces: Sequence[Piece], max_seconds: float, *, accept_truncated: bool) -> dict[str, Any]:
    """What the first piece that can be opened declares, with the lengths of all; raises `UnfitError` where none can."""
    found: dict[str, Any] | None = None
    refused: UnfitError | None = None
    scheme = encrypted(pieces[0].view)
    if scheme is not None:
        raise UnfitError("encrypted", scheme)
    for piece in pieces:
        try:
            with open_media(piece.view) as container:
                here = describe(container, piece.view, max_seconds, accept_truncated=accept_truncated)
        except UnfitError as error:
            if error.reason == "too-long":
                raise
            refused = refused or error
            continue
        if found is None:
            found = here
        elif found["duration_seconds"] is not None:
            found["duration_seconds"] += here["duration_seconds"] or 0.0
            found["has_video"] = found["has_video"] or here["has_video"]
    if found is None:
        if scrambled(pieces[0].view):
            raise UnfitError("encrypted", "a scrambled transport stream")
        raise refused or UnfitError("not-media")
    return found


def describe(container: "InputContainer", view: View, max_seconds: float, *, accept_truncated: bool) -> dict[str, Any]:
    """What the container declares, as `Probe`'s fields; raises `UnfitError` where nothing can be decoded from it."""
    from av.stream import Disposition

    names = set(container.format.name.split(","))
    streams = [_describe_stream(stream) for stream in container.streams.audio]
    video = [
        stream
        for stream in container.streams.video
        if not stream.disposition & (Disposition.attached_pic | Disposition.still_image)
    ]
    if not streams:
        if not container.streams.video:
            raise UnfitError("not-media", "no audio or video in it")
        raise UnfitError("no-audio-stream", f"{len(video)} video streams, container {container.format.name}")
    if not usable_streams(container):
        if all(stream.codec_context is not None for stream in container.streams.audio):
            # a codec is named, but not one frame of it could be found
            raise UnfitError("corrupt" if names & STATED_LENGTH else "not-media", f"container {container.format.name}")
        codecs = ", ".join(stream["codec"] for stream in streams)
        raise UnfitError("unsupported-codec", f"{codecs} in {container.format.name}")
    duration = _duration(container)
    if duration is not None and duration > max_seconds:
        if view.size >= duration * _LEANEST_BYTES_PER_SECOND:
            raise UnfitError("too-long", f"{duration / 3600:.1f} h, at most {max_seconds / 3600:.1f} h are allowed")
        if not accept_truncated:
            raise UnfitError("truncated", f"declares {duration:.0f} s in {view.size} bytes")
    return {
        "container": container.format.name,
        "duration_seconds": duration,
        "has_video": bool(video),
        "audio_streams": streams,
    }


def declared_lengths(container: "InputContainer") -> list[Stated]:
    """What the container's header says of its length and of its streams', where FFmpeg does not just estimate it."""
    name = container.format.name
    if not set(name.split(",")) & STATED_LENGTH:
        return []
    found = []
    # of these FFmpeg counts the bytes that are there, in WAV by a rate that may be wrong; `stated_lengths` reads them
    if name not in _COUNTED and container.duration and container.duration > 0:
        found.append(Stated("header", container.duration / 1_000_000))
    usable = usable_streams(container)
    for index, stream in enumerate(usable):
        if name.startswith("matroska"):
            seconds = _of_tag(stream.metadata.get("DURATION", ""))
        elif name in ("mxf", "gxf"):
            seconds = _seconds(stream, stream.duration)
        else:
            continue
        if seconds and len(usable) > 1:
            found.append(Stated("track", seconds, stream=index))
    return found


def _of_tag(text: str) -> float | None:
    """Seconds of Matroska's `00:01:02.345000000`."""
    found = re.fullmatch(r"(\d{1,4}):(\d\d):(\d\d(?:\.\d{1,9})?)", text)
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3]) if found else None


def _duration(container: "InputContainer") -> float | None:
    if container.duration is not None and container.duration > 0:
        return container.duration / 1_000_000
    lengths = [_seconds(stream, stream.duration) for stream in container.streams.audio]
    return max((length for length in lengths if length), default=None)


def _describe_stream(stream: "AudioStream") -> dict[str, Any]:
    context = stream.codec_context
    usable = context is not None and _known(stream)
    return {
        "index": stream.index,
        "codec": context.name if context is not None else "unknown",
        "sample_rate": context.sample_rate if usable else 0,
        "channels": context.channels if usable else 0,
        "layout": context.layout.name if usable else None,
        "sample_format": context.format.name if usable and context.format else None,
        "bit_rate": (context.bit_rate or None) if usable else None,
        "start_seconds": _seconds(stream, stream.start_time) or 0.0,
        "duration_seconds": _seconds(stream, stream.duration),
    }


def _seconds(stream: "AudioStream", ticks: int | None) -> float | None:
    return None if ticks is None or stream.time_base is None else float(ticks * stream.time_base)


def _audio_decoders() -> Iterator[str]:
    import av

    for name in av.codec.codecs_available:
        try:
            codec = av.codec.Codec(name, "r")
        except ValueError:
            continue
        if codec.type == "audio":
            yield codec.name


def _why_not_opened(view: View) -> UnfitError:
    head, size = view.at(0, 16), view.size
    if head[4:8] in _ATOMS:
        if not _has_whole_index(view):
            return UnfitError("truncated", "MP4 without its index (moov), without which nothing in it can be read")
        return UnfitError("corrupt", "MP4 that cannot be opened")
    if head.startswith(_SIGNATURES):
        return UnfitError("truncated" if size < 4096 else "corrupt", "the file's header cannot be read")
    return UnfitError("not-media")


def _has_whole_index(view: View) -> bool:
    return any(box.name == b"moov" and box.end <= view.size for box in mp4_boxes(view))
