"""What a container's own bytes say of its length: pure functions over bytes, beside and against what FFmpeg says.

A length is *promised* where a header states it: less sound means that the file was cut off. Else the bytes imply it:
frames that are there, whatever a header counts. What is made of differences stands in `findings`, how a file falls
into pieces in `pieces`. The bytes are hostile: every loop is bounded by the file's size, every read by a constant.
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from caseprep_pipelines.audio.views import View

#: Bytes that the walks over frames read at once.
_BLOCK = 1 << 20

#: An MP4's index is read up to this size; that of a day in packets of 20 ms is smaller.
_LARGEST_INDEX = 64 << 20

#: Boxes and pages that are looked at, so that a file of nothing else costs no hours.
_MOST_BOXES = 5_000_000

#: From here on the size in a WAV header means that it was not known when the header was written.
NO_LENGTH = 0x7FFF_0000


@dataclass(frozen=True)
class Stated:
    """One length that a file states. Of `seconds` and `of_bytes` one is there."""

    by: str
    """What states it, as a person would call it: after "its"."""
    seconds: float | None = None
    of_bytes: tuple[int, int] | None = None
    """Bytes of sound that are stated, and that are there."""
    stream: int | None = None
    """Which of the piece's audio streams, counted from 0; None: the longest."""
    promised: bool = True
    samples: bool = False
    """Whether it counts sound alone, so that no pause can stand for what is missing."""


@dataclass(frozen=True)
class Track:
    """An audio track of an MP4 as its boxes describe it."""

    format: str
    """Of its first sample entry: `mp4a`, or `enca` where it is encrypted."""
    media_seconds: float
    """Sum over its samples, in fragments or not."""
    played_seconds: float | None
    """What its edit list plays of it; None where it has none or it cannot be told."""
    begins: float
    """Decode time of the first fragment."""


def stated_lengths(view: View, container: str) -> list[Stated]:
    """Every length in the bytes of a file that FFmpeg opens as `container`; nothing where they make no sense."""
    if container == "flac":
        return flac(view)
    if container == "mp3":
        return mp3(view)
    if container == "aac":
        return adts(view)
    if container == "avi":
        return avi(view)
    if container.startswith("amr"):
        return amr(view)
    if container == "ogg":
        return ogg(view)
    if container.startswith("mov"):
        return [
            Stated("track", track.media_seconds if track.played_seconds is None else track.played_seconds, stream=index)
            for index, track in enumerate(mp4_tracks(view))
            if track.media_seconds > 0
        ]
    return []


# WAV


@dataclass(frozen=True)
class Wav:
    """The chunks of a WAV file that matter. Data as (start, end, bytes stated or None), `end` never past the file."""

    header: bytes
    """All that an opener needs before samples: from `RIFF` to the end of the `fmt ` chunk."""
    order: str
    data: tuple[tuple[int, int, int | None], ...]
    beyond: int = 0
    """Bytes of sound that follow the data of the last chunk though the header counts less."""
    leftover: int = 0
    """Bytes at the end that are neither a chunk nor sound."""


_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICS", b"3DI")
_CHUNKS = frozenset({b"LIST", b"bext", b"cue ", b"iXML", b"_PMX", b"id3 ", b"ID3 ", b"JUNK", b"junk", b"PAD ", b"FLLR",
                     b"fact", b"levl", b"LGWV", b"axml", b"smpl", b"inst", b"plst", b"note", b"labl"})  # fmt: skip


def wav_claim(view: View) -> int | None:
    """Where the file ends by its RIFF header; None where that was not written or lies beyond the file."""
    order = ">" if view.at(0, 4) == b"RIFX" else "<"
    size = _number(view.at(4, 4), order)
    if view.at(0, 4) in (b"RF64", b"BW64") and view.at(12, 4) == b"ds64":
        size = _number(view.at(20, 8), "<")
    end = 8 + size
    return end if size and end <= view.size + 1 else None


def wav(view: View) -> Wav | None:
    """None where there is no `fmt ` chunk before samples."""
    magic = view.at(0, 4)
    order = ">" if magic == b"RIFX" else "<"
    offset, long_data, form = 12, None, b""
    for _ in range(_MOST_BOXES):
        chunk = view.at(offset, 8)
        if len(chunk) < 8:
            return None
        name, length = chunk[:4], _number(chunk[4:], order)
        if name == b"ds64":
            long_data = _number(view.at(offset + 16, 8), "<")
        elif name == b"fmt ":
            form = view.at(offset, 8 + min(length, 4096))
        elif name == b"data":
            break
        offset += 8 + length + length % 2
    if not form or name != b"data":
        return None
    if long_data is not None and length == 0xFFFF_FFFF:
        length = long_data
    start = offset + 8
    known = length > 0 and not (length >= NO_LENGTH and start + length > view.size and long_data is None)
    header = (magic if magic == b"RIFX" else b"RIFF") + bytes(4) + b"WAVE" + form + bytes(len(form) % 2)
    data = [(start, min(start + length, view.size) if known else view.size, length if known else None)]
    beyond = leftover = 0
    offset = data[0][1] + (data[0][1] - start) % 2
    for _ in range(_MOST_BOXES):
        rest = view.size - offset
        chunk = view.at(offset, 8)
        if rest < 8 or chunk.startswith(_TAGS):
            break
        name, length = chunk[:4], _number(chunk[4:], order)
        if name == b"data" and length:
            data.append((offset + 8, min(offset + 8 + length, view.size), length))
            offset = data[-1][1] + length % 2
        elif name in _CHUNKS or (all(32 <= byte < 127 for byte in name) and length <= rest - 8):
            offset += 8 + length + length % 2
        elif offset - data[-1][1] <= 1:
            # samples go on: whoever wrote them did not live to count them
            beyond = view.size - data[-1][1]
            data[-1] = (data[-1][0], view.size, data[-1][2])
            break
        else:
            leftover = rest
            break
    return Wav(header, order, tuple(data), beyond, leftover)


def wav_header(found: Wav, length: int) -> bytes:
    """A header of our own for so many bytes of samples; 0 stands for `to the end`, as FFmpeg reads it."""
    counted = length if length < NO_LENGTH else 0
    return found.header + b"data" + struct.pack(f"{found.order}I", counted)


# AIFF, AU, CAF and Wave64: one chunk of samples, whose length stands before it


@dataclass(frozen=True)
class SoundChunk:
    start: int
    """Where its samples begin."""
    end: int
    """Where they end: as stated, or at the file's end where the header counts none, too many or too few."""
    stated: int | None
    """Bytes of samples; None where that was not known when the header was written."""
    mended: bytes | None
    """All that comes before the samples, with lengths put right; None where they are."""


def sound_chunk(view: View) -> SoundChunk | None:
    """None for other kinds of files, and where there is none or its codec doesn't let bytes be counted."""
    magic = view.at(0, 4)
    found = {b"FORM": _aiff, b".snd": _au, b"caff": _caf, b"riff": _wave64}.get(magic)
    return found(view) if found else None


def _chunk_of(view: View, start: int, stated: int | None, next_header: int) -> tuple[int, bool]:
    """Where samples that begin at `start` end, and whether that is another place than the header says."""
    if stated is None or start + stated > view.size:
        return view.size, True
    end = start + stated
    follows = view.at(end, 32)
    # chunks are aligned, and so what fills up to the next one is no sound either
    near = any(_is_chunk(follows[pad : pad + 4]) for pad in range(next_header))
    if view.size - end < 16 or near or follows.startswith(_TAGS):
        return end, False
    return view.size, True


def _is_chunk(name: bytes) -> bool:
    return len(name) == 4 and all(32 <= byte < 127 for byte in name)


def _au(view: View) -> SoundChunk | None:
    start, length = struct.unpack(">II", view.at(4, 8).ljust(8, b"\0"))
    if not 24 <= start <= min(view.size, 1 << 20):
        return None
    stated = length if 0 < length < 0xFFFF_FFFF else None
    # nothing follows the samples, so all the rest is sound
    held = view.size - start
    if stated == held or length == 0xFFFF_FFFF:
        return SoundChunk(start, view.size, stated, None)
    head = bytearray(view.at(0, start))
    head[8:12] = b"\xff" * 4
    return SoundChunk(start, view.size, stated, bytes(head))


def _caf(view: View) -> SoundChunk | None:
    offset, constant = 8, False
    for _ in range(10_000):
        chunk = view.at(offset, 12)
        if len(chunk) < 12:
            return None
        name, length = chunk[:4], int.from_bytes(chunk[4:], "big", signed=True)
        if name == b"desc":
            constant = _number(view.at(offset + 28, 4), ">") > 0
        if name == b"data" or length < 0:
            break
        offset += 12 + length
    start = offset + 16
    if name != b"data" or not constant or offset > _LARGEST_INDEX or start > view.size:
        return None
    stated = length - 4 if length > 4 else None
    end, other = _chunk_of(view, start, stated, 1)
    head = view.at(0, offset + 4) + b"\xff" * 8 + view.at(offset + 12, 4)
    return SoundChunk(start, end, stated, head if other else None)


_WAVE64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")


def _wave64(view: View) -> SoundChunk | None:
    offset = 40
    for _ in range(10_000):
        chunk = view.at(offset, 24)
        if len(chunk) < 24:
            return None
        length = _number(chunk[16:], "<")
        if chunk[:16] == b"data" + _WAVE64_TAIL:
            break
        if length < 24:
            return None
        offset += length + -length % 8
    start = offset + 24
    if offset > _LARGEST_INDEX or start > view.size:
        return None
    stated = length - 24 if length > 24 else None
    end, other = _chunk_of(view, start, stated, 8)
    head = bytearray(view.at(0, start))
    head[offset + 16 : offset + 24] = (end - offset).to_bytes(8, "little")
    return SoundChunk(start, end, stated, bytes(head) if other else None)


def _aiff(view: View) -> SoundChunk | None:
    offset, frame, counted = 12, 0, 0
    for _ in range(10_000):
        chunk = view.at(offset, 8)
        if len(chunk) < 8:
            return None
        name, length = chunk[:4], _number(chunk[4:], ">")
        if name == b"COMM":
            common = view.at(offset + 8, 22)
            channels, bits = _number(common[:2], ">"), _number(common[6:8], ">")
            plain = length < 22 or common[18:22] in (b"NONE", b"sowt", b"twos", b"in24", b"in32", b"fl32", b"fl64")
            frame, counted = (channels * ((bits + 7) // 8) if plain else 0), offset + 10
        if name == b"SSND":
            break
        offset += 8 + length + length % 2
    start = offset + 16
    if name != b"SSND" or not frame or offset > _LARGEST_INDEX or start > view.size:
        return None
    stated = length - 8 if length > 8 else None
    end, other = _chunk_of(view, start, stated, 2)
    head = bytearray(view.at(0, start))
    frames = (end - start) // frame
    end = start + frames * frame
    other = other or _number(view.at(counted, 4), ">") * frame + frame <= end - start
    head[4:8] = min(end - 8, 0xFFFF_FFFF).to_bytes(4, "big")
    head[counted : counted + 4] = min(frames, 0xFFFF_FFFF).to_bytes(4, "big")
    head[offset + 4 : offset + 8] = min(end - offset - 8, 0xFFFF_FFFF).to_bytes(4, "big")
    return SoundChunk(start, end, stated, bytes(head) if other else None)


# AVI


def avi(view: View) -> list[Stated]:
    """What the headers of its audio streams count; nothing for the kind over a gigabyte, where they count a part."""
    end = 8 + _number(view.at(4, 4), "<")
    if end + 12 <= view.size and view.at(end + 8, 4) == b"AVIX":
        return []
    found: list[Stated] = []
    for name, first, last in _riff(view, 12, view.size):
        if name == b"LIST" and view.at(first, 4) == b"hdrl":
            for inner, begins, ends in _riff(view, first + 4, last):
                if inner != b"LIST" or view.at(begins, 4) != b"strl":
                    continue
                header = next((at for part, at, _ in _riff(view, begins + 4, ends) if part == b"strh"), None)
                if header is not None and view.at(header, 4) == b"auds":
                    scale, rate, _, length = struct.unpack("<IIII", view.at(header + 20, 16).ljust(16, b"\0"))
                    if scale and rate and length:
                        seconds = length * scale / rate
                        # vendors count as they like; only a file that ends before its RIFF does was cut off
                        found.append(Stated("header", seconds, stream=len(found), promised=end > view.size))
            break
    return found


def _riff(view: View, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    for _ in range(10_000):
        chunk = view.at(start, 8)
        if start + 8 > end or len(chunk) < 8:
            return
        length = _number(chunk[4:], "<")
        yield chunk[:4], start + 8, min(start + 8 + length, end)
        start += 8 + length + length % 2


# FLAC


def flac(view: View) -> list[Stated]:
    rate, samples = _stream_info(view.at(_after_id3(view), 42)[8:])
    return [Stated("header", samples / rate, samples=True)] if rate and samples else []


def _stream_info(block: bytes) -> tuple[int, int]:
    """Rate and samples of a STREAMINFO block without its header; 0 where they are not known."""
    if len(block) < 18:
        return 0, 0
    packed = int.from_bytes(block[10:18], "big")
    return packed >> 44, packed & 0xF_FFFF_FFFF


# MP3


def _mpeg_audio_header(second: int, third: int) -> tuple[int, float] | None:
    """Bytes and seconds of the frame whose header has these bytes; None where no frame has."""
    if second & 0xE0 != 0xE0:
        return None
    version, layer = second >> 3 & 3, 4 - (second >> 1 & 3)
    row, column = third >> 4, third >> 2 & 3
    if version == 1 or layer == 4 or row in (0, 15) or column == 3:
        return None
    first = version == 3
    rate = (44100, 48000, 32000)[column] >> (0 if first else 1 if version == 2 else 2)
    kilobits = _KILOBITS[0 if first and layer == 1 else 1 if first and layer == 2 else 2 if first else 3
                         if layer == 1 else 4][row]  # fmt: skip
    samples = 384 if layer == 1 else 1152 if layer == 2 or first else 576
    padding = (third >> 1 & 1) * (4 if layer == 1 else 1)
    length = (12000 * kilobits // rate) * 4 if layer == 1 else samples * 125 * kilobits // rate
    return length + padding, samples / rate


_KILOBITS = (
    (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_MPEG_AUDIO = {
    second << 8 | third: found
    for second in range(256)
    for third in range(256)
    if (found := _mpeg_audio_header(second, third)) is not None
}


def _mpeg_audio(block: bytes, at: int) -> tuple[int, float] | None:
    return _MPEG_AUDIO.get(block[at + 1] << 8 | block[at + 2]) if block[at] == 0xFF else None


def mp3(view: View) -> list[Stated]:
    """What the Xing, Info and VBRI headers count, one for each of joined files, and what the frames come to."""
    implied = counted = 0.0
    counted_bytes, headers, all_bytes = 0, 0, True
    for frame, seconds in _frames(view, _mpeg_audio, 4, _after_id3(view)):
        implied += seconds
        found = _xing(frame)
        if found is not None:
            frames, size = found
            headers, counted, counted_bytes = headers + 1, counted + frames * seconds, counted_bytes + size
            all_bytes = all_bytes and size > 0
            implied -= seconds
    stated = [Stated("frames", implied, promised=False, samples=True)] if implied else []
    if headers:
        # a header that counts the very bytes that are there and other frames is wrong, and the file is whole
        whole = all_bytes and counted_bytes <= view.size * 1.01
        stated.append(Stated("Xing header", counted, promised=not whole, samples=True))
    return stated


def _xing(frame: bytes) -> tuple[int, int] | None:
    """Frames and bytes (0: not said) that the frame counts in place of sound."""
    for at in (36, 21, 13, 23):
        if frame[at : at + 4] in (b"Xing", b"Info"):
            flags = int.from_bytes(frame[at + 4 : at + 8], "big")
            if not flags & 1:
                return None
            size = int.from_bytes(frame[at + 12 : at + 16], "big") if flags & 2 else 0
            return int.from_bytes(frame[at + 8 : at + 12], "big"), size
    if frame[36:40] == b"VBRI":
        return int.from_bytes(frame[50:54], "big"), int.from_bytes(frame[46:50], "big")
    return None


# AAC in ADTS, AMR

_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)


def _adts(block: bytes, at: int) -> tuple[int, float] | None:
    if block[at] != 0xFF or block[at + 1] & 0xF6 != 0xF0:
        return None
    rate = block[at + 2] >> 2 & 15
    length = (block[at + 3] & 3) << 11 | block[at + 4] << 3 | block[at + 5] >> 5
    if rate >= len(_RATES) or length < 7:
        return None
    return length, 1024 * ((block[at + 6] & 3) + 1) / _RATES[rate]


def adts(view: View) -> list[Stated]:
    implied = sum(seconds for _, seconds in _frames(view, _adts, 7, _after_id3(view)))
    return [Stated("frames", implied, promised=False, samples=True)] if implied else []


_AMR = (13, 14, 16, 18, 20, 21, 27, 32, 6, 1, 1, 1, 1, 1, 1, 1)
_AMR_WIDE = (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 1, 1, 1, 1, 1, 1)


def amr(view: View) -> list[Stated]:
    """Frames of 20 ms; nothing for the many-channel kinds, which nobody writes."""
    head = view.at(0, 9)
    lengths = _AMR_WIDE if head == b"#!AMR-WB\n" else _AMR
    if not head.startswith((b"#!AMR\n", b"#!AMR-WB\n")):
        return []
    offset, frames = head.index(b"\n") + 1, 0
    while offset < view.size:
        block = view.at(offset, _BLOCK)
        at = 0
        while at < len(block):
            at += lengths[block[at] >> 3 & 15]
            frames += 1
        offset += at
    return [Stated("frames", frames * 0.02, promised=False, samples=True)]


def _frames(
    view: View, header: Callable[[bytes, int], tuple[int, float] | None], longest: int, offset: int
) -> Iterator[tuple[bytes, float]]:
    """The beginning and the seconds of every frame that another one, or the end, follows; the rest is stepped over.

    `header` gives length and seconds for a place in a block, `longest` is how many bytes it looks at.
    """
    synchronized = False
    block, base = b"", 0
    while offset + longest <= view.size:
        at = offset - base
        if not 0 <= at <= len(block) - longest:
            base, block, at = offset, view.at(offset, _BLOCK), 0
        found = header(block, at)
        if found is not None and not synchronized:
            # a chance likeness has no second frame where it says
            follows = view.at(offset + found[0], longest)
            if len(follows) == longest and header(follows, 0) is None:
                found = None
        if found is None:
            synchronized = False
            near = block.find(b"\xff", at + 1)
            offset = base + (near if near >= 0 else max(at + 1, len(block) - longest + 1))
            continue
        synchronized = True
        yield block[at : at + 64], found[1]
        offset += found[0]


# Ogg


_PAGE = re.compile(rb"OggS\x00")


@dataclass
class _Logical:
    """A stream of one link."""

    rate: float
    skip: int
    first: int | None = None
    last: int | None = None


@dataclass(frozen=True)
class Page:
    offset: int
    length: int
    begins: bool
    """Whether a stream begins with it."""
    granule: int
    serial: int
    body: int
    """Where its packets begin."""


def ogg_pages(view: View) -> Iterator[Page]:
    """Whole pages in order; damage between them is stepped over."""
    offset = 0
    for _ in range(_MOST_BOXES * 10):
        head = view.at(offset, 27)
        if len(head) < 27:
            return
        if not head.startswith(b"OggS\0"):
            offset = next(view.find_all(_PAGE, offset + 1), view.size)
            continue
        table = view.at(offset + 27, head[26])
        length = 27 + len(table) + sum(table)
        if offset + length > view.size:
            return
        granule, serial = struct.unpack_from("<qI", head, 6)
        yield Page(offset, length, bool(head[5] & 2), granule, serial, offset + 27 + len(table))
        offset += length


def ogg(view: View) -> list[Stated]:
    """The granules of one link: its streams' last, against the first where it was cut out of something longer."""
    streams: dict[int, _Logical] = {}
    for page in ogg_pages(view):
        if page.begins:
            rate, skip = _ogg_rate(view.at(page.body, 80))
            if rate:
                streams.setdefault(page.serial, _Logical(rate, skip))
        elif page.serial in streams and page.granule > 0:
            stream = streams[page.serial]
            if stream.first is None:
                stream.first = page.granule
            stream.last = page.granule
    found = []
    for index, stream in enumerate(streams.values()):
        if stream.last is not None and stream.first is not None:
            late = stream.first / stream.rate
            length = (stream.last - stream.skip) / stream.rate - (late if late > 5 else 0)
            found.append(Stated("granules", max(0.0, length), stream=index, promised=False))
    return found


def _ogg_rate(packet: bytes) -> tuple[float, int]:
    """Granules a second and how many of them come before the sound; 0 for what is no audio."""
    if packet.startswith(b"OpusHead") and len(packet) >= 12:
        return 48000, int.from_bytes(packet[10:12], "little")
    if packet.startswith(b"\x01vorbis") and len(packet) >= 16:
        return int.from_bytes(packet[12:16], "little"), 0
    if packet.startswith(b"Speex   ") and len(packet) >= 40:
        return int.from_bytes(packet[36:40], "little"), 0
    if packet.startswith(b"\x7fFLAC"):
        return _stream_info(packet[17:])[0], 0
    return 0, 0


# MP4


@dataclass(frozen=True)
class Box:
    name: bytes
    start: int
    """Where its contents begin."""
    end: int
    """Where it ends, as it states; may lie past the file."""
    offset: int


def mp4_boxes(view: View, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes side by side from `start` on; ends where the bytes are no box."""
    stop = view.size if end is None else min(end, view.size)
    offset = start
    for _ in range(_MOST_BOXES):
        head = view.at(offset, 16)
        if offset + 8 > stop or len(head) < 8:
            return
        length, header = int.from_bytes(head[:4], "big"), 8
        if length == 1:
            length, header = int.from_bytes(head[8:16], "big"), 16
        elif length == 0:
            length = stop - offset
        if length < header or not all(32 <= byte < 127 or byte == 0xA9 for byte in head[4:8]):
            return
        yield Box(head[4:8], offset + header, offset + length, offset)
        offset += length


def mp4_tracks(view: View) -> list[Track]:
    """The audio tracks in the order of their boxes."""
    index = next((box for box in mp4_boxes(view) if box.name == b"moov"), None)
    if index is None or index.end > view.size or index.end - index.start > _LARGEST_INDEX:
        return []
    inside = View(view.at(index.start, index.end - index.start))
    movie_scale = 0
    tracks: dict[int, tuple[str, int, int, list[tuple[int, int]] | None]] = {}
    defaults: dict[int, int] = {}
    for box in mp4_boxes(inside):
        if box.name == b"mvhd":
            version = inside.at(box.start, 1)
            movie_scale = _number(inside.at(box.start + (20 if version == b"\1" else 12), 4), ">")
        elif box.name == b"trak" and (found := _track(inside, box)) is not None:
            number, *rest = found
            tracks.setdefault(number, tuple(rest))  # type: ignore[arg-type]
        elif box.name == b"mvex":
            for trex in mp4_boxes(inside, box.start, box.end):
                if trex.name == b"trex":
                    number, _, duration = struct.unpack(">III", inside.at(trex.start + 4, 12).ljust(12, b"\0"))
                    defaults[number] = duration
    media = {number: track[2] for number, track in tracks.items()}
    begins: dict[int, int] = {}
    if defaults:
        for box in mp4_boxes(view):
            if box.name == b"moof" and box.end <= view.size:
                for number, base, ticks in _fragment(View(view.at(box.start, box.end - box.start)), defaults):
                    if number in media:
                        media[number] += ticks
                        begins.setdefault(number, base)
    found_tracks = []
    for number, (kind, scale, samples, edits) in tracks.items():
        seconds = media[number] / scale
        played = None
        # an edit list of a fragmented file is written before anybody knows how long it gets
        if edits and movie_scale and not defaults and samples:
            played = sum(length for length, at in edits if at >= 0) / movie_scale
        found_tracks.append(Track(kind, seconds, played or None, begins.get(number, 0) / scale))
    return found_tracks


def _track(view: View, trak: Box) -> tuple[int, str, int, int, list[tuple[int, int]] | None] | None:
    """Number, format, ticks a second, ticks of its samples and edits (length, begin); None where it is no audio."""
    number = scale = ticks = 0
    kind, sound, edits = "", False, None
    for path, box in _within(view, trak, (b"mdia", b"minf", b"stbl", b"edts")):
        data = view.at(box.start, box.end - box.start)
        wide = data[:1] == b"\1"
        if box.name == b"tkhd":
            number = _number(data[20:24] if wide else data[12:16], ">")
        elif box.name == b"mdhd":
            scale = _number(data[20:24] if wide else data[12:16], ">")
        elif box.name == b"hdlr" and path[-1:] == (b"mdia",):
            sound = data[8:12] == b"soun"
        elif box.name == b"stsd":
            kind = data[12:16].decode("latin-1")
        elif box.name == b"stts":
            runs = min(_number(data[4:8], ">"), (len(data) - 8) // 8)
            ticks = sum(count * delta for count, delta in struct.iter_unpack(">II", data[8 : 8 + runs * 8]))
        elif box.name == b"elst":
            shape, size = (">Qq4x", 20) if wide else (">Ii4x", 12)
            rows = min(_number(data[4:8], ">"), (len(data) - 8) // size)
            edits = list(struct.iter_unpack(shape, data[8 : 8 + rows * size]))
    return (number, kind, scale, ticks, edits) if sound and scale else None


def _within(view: View, box: Box, into: tuple[bytes, ...], path: tuple[bytes, ...] = ()) -> Iterator[
    tuple[tuple[bytes, ...], Box]
]:  # fmt: skip
    for inner in mp4_boxes(view, box.start, box.end):
        if inner.name in into and len(path) < len(into):
            yield from _within(view, inner, into, (*path, inner.name))
        else:
            yield path, inner


def _fragment(moof: View, defaults: dict[int, int]) -> Iterator[tuple[int, int, int]]:
    """Track, decode time of the first sample and ticks of all samples, for each track of a fragment."""
    for traf in mp4_boxes(moof):
        if traf.name != b"traf":
            continue
        number = base = ticks = default = 0
        for box in mp4_boxes(moof, traf.start, traf.end):
            data = moof.at(box.start, box.end - box.start)
            flags = int.from_bytes(data[1:4], "big")
            if box.name == b"tfhd":
                number = _number(data[4:8], ">")
                at = 8 + (8 if flags & 1 else 0) + (4 if flags & 2 else 0)
                default = _number(data[at : at + 4], ">") if flags & 8 else defaults.get(number, 0)
            elif box.name == b"tfdt":
                base = _number(data[4:12] if data[:1] == b"\1" else data[4:8], ">")
            elif box.name == b"trun":
                at = 8 + (4 if flags & 1 else 0) + (4 if flags & 4 else 0)
                size = 4 * sum(bool(flags & bit) for bit in (0x100, 0x200, 0x400, 0x800))
                count = _number(data[4:8], ">")
                if flags & 0x100:
                    rows = min(count, (len(data) - at) // size)
                    ticks += sum(_number(data[at + row * size : at + row * size + 4], ">") for row in range(rows))
                else:
                    ticks += count * default
        yield number, base, ticks


# transport streams


def transport_packet(view: View) -> tuple[int, int] | None:
    """Size of the packets and where in them the stream's own begin; None where it is no transport stream."""
    for size, at in ((188, 0), (192, 4)):
        if all(view.at(at + size * packet, 1) == b"\x47" for packet in range(3)):
            return size, at
    return None


def transport_tracks(view: View, size: int, at: int) -> Iterator[tuple[int, int, frozenset[tuple[int, int]]]]:
    """Each time that a program's tracks are other ones: where (at the table of programs before), which program, and the
    tracks as (packet id, kind)."""
    import numpy as np

    tables: set[int] = set()
    seen: dict[int, bytes] = {}
    programs = 0
    step = _BLOCK // size * size
    for offset in range(0, view.size - size + 1, step):
        block = view.at(offset, step)
        count = len(block) // size
        packets = np.frombuffer(block, np.uint8, count * size).reshape(count, size)[:, at : at + 188]
        ids = (packets[:, 1].astype(np.int32) & 31) << 8 | packets[:, 2]
        begins = (packets[:, 0] == 0x47) & (packets[:, 1] & 0x40 != 0)
        for row in np.flatnonzero(begins & (ids == 0)).tolist():
            section = _section(packets[row].tobytes())
            # of a table of programs: pairs of program and the packet id of its table
            tables |= {_number(section[i + 2 : i + 4], ">") & 0x1FFF for i in range(8, len(section) - 7, 4)}
        for row in np.flatnonzero(begins & ((ids == 0) | np.isin(ids, list(tables)))).tolist():
            number = int(ids[row])
            if number == 0:
                programs = offset + row * size
                continue
            section = _section(packets[row].tobytes())
            if section[:1] == b"\2" and seen.get(number) != section:
                seen[number] = section
                yield programs, _number(section[3:5], ">"), _tracks(section)


def _section(packet: bytes) -> bytes:
    """The section of tables that begins in a packet, as far as it lies in it."""
    start = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
    if start >= len(packet) or not packet[3] & 0x10:
        return b""
    start += 1 + packet[start]
    length = _number(packet[start + 1 : start + 3], ">") & 0xFFF
    return packet[start : start + 3 + length]


def _tracks(section: bytes) -> frozenset[tuple[int, int]]:
    found = set()
    place = 12 + (_number(section[10:12], ">") & 0xFFF)
    while place + 5 <= len(section) - 4:
        found.add((_number(section[place + 1 : place + 3], ">") & 0x1FFF, section[place]))
        place += 5 + (_number(section[place + 3 : place + 5], ">") & 0xFFF)
    return frozenset(found)


# Matroska


def ebml_claim(view: View) -> int | None:
    """Where the first segment ends, as it states; None where it was written without knowing."""
    offset = 0
    for _ in range(8):
        name, after = ebml_number(view, offset, keep=True)
        length, start = ebml_number(view, after)
        if name is None or length is None:
            return None
        if name == 0x18538067:
            return start + length
        offset = start + length
    return None


def ebml_number(view: View, offset: int, *, keep: bool = False) -> tuple[int | None, int]:
    """A number of variable length and where it ends; None where it is none, or says `not known`."""
    head = view.at(offset, 8)
    if not head or not head[0]:
        return None, offset
    length = 9 - head[0].bit_length()
    if len(head) < length:
        return None, offset
    value = int.from_bytes(head[:length], "big")
    unknown = (1 << 7 * length) - 1
    if not keep:
        value &= unknown
        if value == unknown:
            return None, offset + length
    return value, offset + length


def _after_id3(view: View) -> int:
    head = view.at(0, 10)
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + sum((byte & 127) << 7 * (3 - place) for place, byte in enumerate(head[6:10]))


def _number(data: bytes, order: str) -> int:
    return int.from_bytes(data, "big" if order == ">" else "little")
