"""Opening a recording with FFmpeg and saying what it holds. Runs in the child process only: it parses hostile bytes.

The file comes as a descriptor, so FFmpeg sees neither its name nor its extension and can open nothing else: the only
protocol allowed is the descriptor's. Only containers that recordings come in are allowed; playlists, concatenation
scripts, image sequences and capture devices are not among them. Video decoders are not started.
"""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

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

#: See `is_truncated`.
MIN_DELIVERED = 0.9
MISSING_SECONDS = 2.0

#: From here on the size in a WAV header means that it was not known when the header was written.
_NO_LENGTH = 0x7FFF_0000

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


def open_media(descriptor: int) -> "InputContainer":
    """Opens the file; raises `UnfitError` (not-media, truncated, corrupt) where FFmpeg cannot."""
    container = _open(descriptor, {})
    if all(_known(stream) for stream in container.streams.audio) and container.streams.audio:
        return container
    # transport and programme streams announce nothing: sound that sets in late is found only by reading further
    container.close()
    return _open(descriptor, _PATIENCE)


def _open(descriptor: int, more: dict[str, str]) -> "InputContainer":
    import av

    options = {
        "fd": str(descriptor),
        "protocol_whitelist": "fd",
        "format_whitelist": CONTAINERS,
        "codec_whitelist": ",".join(_audio_decoders()),
        # WAV in packets of 64 kB: its own default is a few milliseconds
        "max_size": "65536",
        **more,
    }
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        return av.open("fd:", options=options, metadata_errors="replace")
    except MemoryError:
        raise
    except (av.error.FFmpegError, OSError) as error:
        raise _why_not_opened(descriptor) from error


def _known(stream: "AudioStream") -> bool:
    """Whether what decoding needs to know has been found; streams that no decoder knows never get there."""
    return stream.codec_context is None or bool(stream.codec_context.sample_rate and stream.codec_context.channels)


def usable_streams(container: "InputContainer") -> list["AudioStream"]:
    """The audio streams that can be decoded."""
    return [stream for stream in container.streams.audio if stream.codec_context is not None and _known(stream)]


def describe(container: "InputContainer", descriptor: int, max_seconds: float) -> dict[str, Any]:
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
    if container.format.name == "wav":
        # FFmpeg believes the file's size rather than a WAV header that promises more
        stated = wav_seconds(descriptor)
        if stated is not None and duration is not None and is_truncated(stated, duration):
            raise UnfitError("truncated", f"states {stated:.1f} s and holds {duration:.1f} s")
    if duration is not None and duration > max_seconds:
        size = os.fstat(descriptor).st_size
        if size < duration * _LEANEST_BYTES_PER_SECOND:
            raise UnfitError("truncated", f"declares {duration:.0f} s in {size} bytes")
        raise UnfitError("too-long", f"{duration / 3600:.1f} h, at most {max_seconds / 3600:.1f} h are allowed")
    return {
        "container": container.format.name,
        "duration_seconds": duration,
        "has_video": bool(video),
        "audio_streams": streams,
    }


def is_truncated(stated: float, reached: float) -> bool:
    """Whether a recording is cut off: less than 90 % of the length its header states arrives, and 2 s are missing.

    Smaller differences are for the duration check and a person: encoders pad, and a length may be rounded.
    """
    return reached < MIN_DELIVERED * stated and stated - reached > MISSING_SECONDS


def wav_seconds(descriptor: int) -> float | None:
    """The length that a WAV header states; None where it states none, as recorders do that could not finish it."""
    size = os.fstat(descriptor).st_size
    offset, byte_rate = 12, 0
    while offset + 8 <= size:
        header = os.pread(descriptor, 24, offset)
        length = int.from_bytes(header[4:8], "little")
        if header[:4] == b"fmt ":
            byte_rate = int.from_bytes(header[16:20], "little")
        if header[:4] == b"data":
            return length / byte_rate if byte_rate and 0 < length < _NO_LENGTH else None
        offset += 8 + length + length % 2
    return None


def states_length(container: "InputContainer") -> bool:
    return bool(set(container.format.name.split(",")) & STATED_LENGTH)


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


def _why_not_opened(descriptor: int) -> UnfitError:
    head = os.pread(descriptor, 16, 0)
    size = os.fstat(descriptor).st_size
    if head[4:8] in _ATOMS:
        if not _has_whole_index(descriptor, size):
            return UnfitError("truncated", "MP4 without its index (moov)")
        return UnfitError("corrupt", "MP4 that cannot be opened")
    if head.startswith(_SIGNATURES):
        return UnfitError("truncated" if size < 4096 else "corrupt", "the file's header cannot be read")
    return UnfitError("not-media")


def _has_whole_index(descriptor: int, size: int) -> bool:
    offset = 0
    while offset + 8 <= size:
        header = os.pread(descriptor, 16, offset)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length == 0:
            length = size - offset
        if length < 8:
            return False
        if header[4:8] == b"moov":
            return offset + length <= size
        offset += length
    return False
