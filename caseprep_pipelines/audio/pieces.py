"""The files that one file is made of: recordings joined end to end, links of an Ogg chain, second data chunks.

Demuxers read the first and stop, or go on with its rate and channels. Each piece is opened by itself, so that
nothing that follows is lost. Pure functions over bytes; a file that is one recording is one piece, itself.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise

from caseprep_pipelines.audio.stated_lengths import (
    NO_LENGTH,
    Stated,
    ebml_claim,
    mp4_boxes,
    ogg_pages,
    sound_chunk,
    transport_packet,
    transport_tracks,
    wav,
    wav_claim,
    wav_header,
)
from caseprep_pipelines.audio.views import View

#: More pieces than this are taken as one last piece: nobody joins so many by hand.
MOST_PIECES = 10_000

_RIFF = (b"RIFF", b"RIFX", b"RF64", b"BW64")

#: How a file of each kind begins, long enough that sound does not hold it by chance. By the first bytes of the kind.
_BEGINNINGS = {
    # one pattern for each: a search for several beginnings at once is seven times slower
    **{name: re.compile(name + rb"....(?:WAVE|AVI LIST)", re.DOTALL) for name in _RIFF},
    b"fLaC": re.compile(rb"fLaC[\x00\x80]\x00\x00\x22"),
    b"FORM": re.compile(rb"FORM....AIF[FC]", re.DOTALL),
    b"caff": re.compile(rb"caff\x00\x01\x00\x00desc\x00{7}\x20"),
    b".snd": re.compile(
        rb"\.snd\x00\x00.{6}\x00\x00\x00[\x01-\x1b]\x00[\x00-\x0b]..\x00\x00\x00[\x01-\x10]", re.DOTALL
    ),
    b"riff": re.compile(rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"),
    b"#!AM": re.compile(rb"#!AMR(?:-WB)?\n"),
    b"FLV\x01": re.compile(rb"FLV\x01[\x00-\x07]\x00\x00\x00\x09\x00\x00\x00\x00"),
    b"\x1a\x45\xdf\xa3": re.compile(rb"\x1a\x45\xdf\xa3.{1,64}?\x42\x82[\x84\x88](?:webm|matroska)", re.DOTALL),
    b"\x30\x26\xb2\x75": re.compile(rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"),
    b"TTA1": re.compile(rb"TTA1[\x01\x02]\x00[\x01-\x10]\x00[\x08\x10\x18\x20]\x00"),
    b"nut/": re.compile(rb"nut/multimedia container\x00"),
    b"Crea": re.compile(rb"Creative Voice File\x1a\x1a\x00"),
    # a block of WavPack that begins at sample 0 and is the first of its kind
    b"wvpk": re.compile(rb"wvpk....[\x02-\x10]\x04.{6}\x00{4}.{4}.[\x08-\x0f\x18-\x1f]", re.DOTALL),
}


@dataclass(frozen=True)
class Piece:
    view: View
    stated: tuple[Stated, ...] = ()
    """What is known of its length before it is opened."""
    joined: bool = False
    """Whether another recording comes before it in the file."""
    cut: bool = False
    """Whether the file ends inside a structure that states more bytes."""
    leftover: int = 0
    """Bytes at its end that belong to nothing."""


def pieces(view: View) -> list[Piece]:
    """In order, at least one; together all sound of the file."""
    head = view.at(0, 12)
    if head[:4] == b"OggS":
        return _ogg(view)
    if head[4:8] == b"ftyp":
        return _mp4(view)
    packet = transport_packet(view)
    if packet is not None:
        return _transport(view, *packet)
    found: list[Piece] = []
    for start, end in pairwise([*_beginnings(view, head), view.size]):
        part = view if end - start == view.size else view.cut(start, end)
        if part.at(0, 4) in _RIFF and part.at(8, 4) == b"WAVE":
            found += _wav(part)
        else:
            found.append(_plain(part))
    return [Piece(p.view, p.stated, n > 0, p.cut, p.leftover) for n, p in enumerate(found)]


def _transport(view: View, size: int, at: int) -> list[Piece]:
    """Where a program's tracks become others: FFmpeg says nothing of tracks that come later than it looked."""
    starts = [0]
    tracks: dict[int, frozenset[tuple[int, int]]] = {}
    for offset, program, now in transport_tracks(view, size, at):
        if program in tracks and not now <= tracks[program] and len(starts) < MOST_PIECES:
            starts.append(offset)
        tracks[program] = now
    bounds = [*starts, view.size]
    return [
        Piece(view if len(starts) == 1 else view.cut(first, last), joined=first > 0)
        for first, last in pairwise(bounds)
        if last > first
    ]


def _beginnings(view: View, head: bytes) -> list[int]:
    pattern, starts, offset = _BEGINNINGS.get(head[:4]), [0], 1
    if head[:3] == b"ID3":
        # the tag of an MP3, whose frames go on by themselves, or of a FLAC, which begins behind it
        pattern = _BEGINNINGS[b"fLaC"]
        offset = next(view.find_all(pattern), view.size) + 1
    while pattern is not None and len(starts) < MOST_PIECES:
        # what lies inside a structure that ends where it says belongs to it
        hit = next(view.find_all(pattern, max(offset, _claim(view, starts[-1]) or 0)), None)
        if hit is None:
            break
        starts.append(hit)
        offset = hit + 1
    return starts


def _claim(view: View, start: int) -> int | None:
    """Where the file that begins at `start` ends by its own header, if that is inside `view`."""
    part = view.cut(start, view.size)
    magic = part.at(0, 4)
    end: int | None = None
    if magic in _RIFF:
        end = wav_claim(part)
    elif magic == b"FORM":
        end = 8 + int.from_bytes(part.at(4, 4), "big")
    elif magic == b"riff":
        end = int.from_bytes(part.at(16, 8), "little")
    elif magic == b"\x1a\x45\xdf\xa3":
        end = ebml_claim(part)
    return start + end if end is not None and 0 < end <= part.size + 1 else None


def _plain(view: View) -> Piece:
    chunk = sound_chunk(view)
    if chunk is None:
        return Piece(view, cut=_cut(view))
    held = chunk.end - chunk.start
    stated = () if chunk.stated is None else (Stated("header", of_bytes=(chunk.stated, held)),)
    return Piece(view if chunk.mended is None else view.joined(chunk.mended, chunk.start, chunk.end), stated)


def _cut(view: View) -> bool:
    if view.at(0, 4) == b"\x1a\x45\xdf\xa3":
        end = ebml_claim(view)
        return end is not None and end > view.size
    return False


def _wav(view: View) -> Iterator[Piece]:
    found = wav(view)
    if found is None:
        yield Piece(view)
        return
    plain = len(found.data) == 1 and not found.beyond
    for number, (start, end, stated) in enumerate(found.data):
        held = end - start
        lengths = () if stated is None else (Stated("data chunk", of_bytes=(stated, held)),)
        last = number == len(found.data) - 1
        leftover = found.leftover if last else 0
        if plain and (stated is None or stated < NO_LENGTH or view.at(0, 4) != b"RIFF"):
            yield Piece(view, lengths, leftover=leftover)
        else:
            yield Piece(view.joined(wav_header(found, held), start, end), lengths, leftover=leftover)


def _ogg(view: View) -> list[Piece]:
    starts, sound, end = [0], False, 0
    for page in ogg_pages(view):
        if page.begins and sound and len(starts) < MOST_PIECES:
            starts.append(page.offset)
            sound = False
        sound = sound or not page.begins
        end = page.offset + page.length
    bounds = [*starts, view.size]
    cut = view.at(end, 4) == b"OggS"
    return [
        Piece(view if len(starts) == 1 else view.cut(first, last), joined=first > 0, cut=cut and last == view.size)
        for first, last in pairwise(bounds)
    ]


def _mp4(view: View) -> list[Piece]:
    """A second `ftyp` begins another file; a fragment's index that is cut off is left out, or nothing would open."""
    starts, content, end, cut_box = [0], False, 0, b""
    for box in islice(mp4_boxes(view), 10_000_000):
        if box.name == b"ftyp" and content and len(starts) < MOST_PIECES:
            starts.append(box.offset)
            content = False
        content = content or box.name in (b"moov", b"mdat", b"moof")
        if box.end > view.size:
            cut_box = box.name
            break
        end = box.end
    last_end = end if cut_box in (b"moof", b"sidx", b"mfra", b"styp", b"emsg") else view.size
    bounds = [*starts, last_end]
    whole = len(starts) == 1 and last_end == view.size
    leftover = 0 if cut_box or end >= view.size else view.size - end
    return [
        Piece(
            view if whole else view.cut(first, last),
            joined=first > 0,
            cut=bool(cut_box) and last == last_end,
            leftover=leftover if last == last_end else 0,
        )
        for first, last in pairwise(bounds)
    ]
