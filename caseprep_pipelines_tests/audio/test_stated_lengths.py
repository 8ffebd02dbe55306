"""What a container's own bytes say of its length, whatever bytes they are."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caseprep_pipelines.audio.encryption import encrypted, scrambled
from caseprep_pipelines.audio.pieces import pieces
from caseprep_pipelines.audio.stated_lengths import adts, flac, mp3, mp4_tracks, ogg, stated_lengths, wav
from caseprep_pipelines.audio.views import Span, View
from caseprep_pipelines_tests.audio.media import ogg_page

CONTAINERS = ("wav", "avi", "flac", "mp3", "aac", "amr", "ogg", "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
#: How files begin, so that arbitrary bytes reach the parsers behind.
BEGINNINGS = (
    b"",
    b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00",
    b"RF64\xff\xff\xff\xffWAVEds64",
    b"fLaC\x00\x00\x00\x22",
    b"OggS\x00\x02",
    b"\xff\xfb\x90\x00",
    b"\xff\xf1\x50\x80",
    b"#!AMR\n",
    b"#!AMR-WB\n",
    b"ID3\x04\x00\x00\x00\x00\x00\x0a",
    b"\x00\x00\x00\x10ftypisom\x00\x00\x00\x00\x00\x00\x01\x00moov",
    b"\x1a\x45\xdf\xa3\x01\x00\x00\x00\x00\x00\x00\x08",
    b"FORM\x00\x00\x00\x10AIFF",
    b"FORM\x00\x00\x00\x40AIFFCOMM\x00\x00\x00\x12\x00\x01\x00\x00\x00\x10\x00\x10" + bytes(10) + b"SSND",
    b".snd\x00\x00\x00\x18",
    b"caff\x00\x01\x00\x00desc\x00\x00\x00\x00\x00\x00\x00\x20" + bytes(16) + b"\x00\x00\x00\x02" + bytes(12) + b"data",
    b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
    + bytes(24)
    + b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0O\x8e\xdb\x8a",
    b"RIFF\x00\x10\x00\x00AVI LIST\x00\x08\x00\x00hdrlLIST\x00\x04\x00\x00strlstrh\x38\x00\x00\x00auds",
    b"ea3\x03\x00\x00\x00\x00\x00\x00EA3",
    b"0&\xb2u\x8ef\xcf\x11\xa6\xd9\x00\xaa\x00b\xcel",
    b"G" + bytes(187) + b"G" + bytes(187) + b"G",
    b"wvpk\x20\x00\x00\x00\x10\x04",
)


@given(st.sampled_from(BEGINNINGS), st.binary(max_size=3_000), st.sampled_from(CONTAINERS))
def test_no_bytes_upset_it(beginning: bytes, rest: bytes, container: str) -> None:
    data = beginning + rest
    view = View(data)
    found = pieces(view)
    assert found
    for piece in found:
        for length in stated_lengths(piece.view, container):
            assert length.seconds is None or length.seconds >= 0
    encrypted(view)
    scrambled(view)


@given(st.lists(st.integers(0, 4_000), max_size=6), st.integers(0, 4_000), st.integers(0, 4_000))
def test_a_view_reads_like_a_file(edges: list[int], start: int, length: int) -> None:
    data = bytes(byte % 251 for byte in range(4_000))
    spans = [Span(min(pair), max(pair)) for pair in zip(edges[::2], edges[1::2], strict=False)]
    view = View(data, (b"before", *spans))
    whole = b"before" + b"".join(data[span.start : span.end] for span in spans)
    assert view.size == len(whole)
    assert view.at(start, length) == whole[start : start + length]
    assert (
        view.cut(min(start, length), max(start, length)).at(0, 5_000) == whole[min(start, length) : max(start, length)]
    )
    view.seek(start)
    assert view.read(length) == whole[start : start + length]
    assert view.seek(0, 0x10000) == view.size


def mp3_frame(kind: int = 0xFB, rate: int = 0x90, content: bytes = b"") -> bytes:
    """Layer III; the usual one is 128 kbit/s at 44.1 kHz, 417 bytes."""
    length = {0x90: 417, 0x94: 384, 0x98: 576}[rate]
    return (bytes([0xFF, kind, rate, 0xC4]) + content).ljust(length, b"\0")


@given(st.lists(st.sampled_from([0x90, 0x94, 0x98]), min_size=3, max_size=60), st.binary(max_size=40))
def test_every_frame_counts_with_its_own_rate(rates: list[int], junk: bytes) -> None:
    hertz = {0x90: 44_100, 0x94: 48_000, 0x98: 32_000}
    data = junk.replace(b"\xff", b"\0") + b"".join(mp3_frame(rate=rate) for rate in rates)
    (found,) = mp3(View(data))
    assert found.seconds == pytest.approx(sum(1152 / hertz[rate] for rate in rates))
    assert not found.promised


@given(st.integers(1, 10**6), st.integers(3, 20))
def test_headers_of_joined_mp3_files_add_up(frames: int, there: int) -> None:
    info = mp3_frame(content=bytes(17) + b"Info" + (1).to_bytes(4, "big") + frames.to_bytes(4, "big"))
    one = info + mp3_frame() * there
    implied, counted = mp3(View(one + one))
    assert counted.seconds == pytest.approx(2 * frames * 1152 / 44_100)
    assert counted.promised
    assert implied.seconds == pytest.approx(2 * there * 1152 / 44_100)


def adts_frame(rate: int, length: int) -> bytes:
    head = bytes(
        [0xFF, 0xF1, 0x40 | rate << 2, 0x40 | length >> 11, length >> 3 & 0xFF, (length & 7) << 5 | 0x1F, 0xFC]
    )
    return head.ljust(length, b"\0")


@given(st.lists(st.tuples(st.sampled_from([3, 4, 7, 8]), st.integers(7, 900)), min_size=2, max_size=80))
def test_aac_frames_of_many_rates(frames: list[tuple[int, int]]) -> None:
    hertz = {3: 48_000, 4: 44_100, 7: 22_050, 8: 16_000}
    (found,) = adts(View(b"".join(adts_frame(*frame) for frame in frames)))
    assert found.seconds == pytest.approx(sum(1024 / hertz[rate] for rate, _ in frames))


@given(st.integers(1, 655_350), st.integers(0, 2**36 - 1))
def test_flac_counts_its_samples(rate: int, samples: int) -> None:
    info = bytes(10) + (rate << 44 | 15 << 36 | samples).to_bytes(8, "big") + bytes(16)
    found = flac(View(b"fLaC\0\0\0\x22" + info))
    assert [length.seconds for length in found] == ([pytest.approx(samples / rate)] if samples else [])


@given(st.integers(1, 10**9), st.binary(max_size=300), st.binary(max_size=200))
def test_granules_and_links(last: int, body: bytes, damage: bytes) -> None:
    head = b"OpusHead\x01\x01" + (312).to_bytes(2, "little") + bytes(7)
    link = (
        ogg_page(0, 7, head, flags=2)
        + ogg_page(960, 7, body)
        + damage.replace(b"O", b"")
        + ogg_page(last + 960, 7, body)
    )
    (found,) = ogg(View(link))
    assert found.seconds == pytest.approx(max(0, last + 960 - 312) / 48_000)
    assert [piece.joined for piece in pieces(View(link * 3))] == [False, True, True]


def chunk(name: bytes, content: bytes, stated: int | None = None) -> bytes:
    length = len(content) if stated is None else stated
    return name + length.to_bytes(4, "little") + content + bytes(len(content) % 2)


FORM = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 8_000, 16_000, 2, 16))


@given(st.lists(st.integers(1, 500), min_size=1, max_size=5), st.booleans())
def test_every_data_chunk_of_a_wav_is_found(lengths: list[int], others: bool) -> None:
    body = FORM + b"".join(
        chunk(b"data", bytes([number + 1]) * length) + (chunk(b"LIST", b"INFO") if others else b"")
        for number, length in enumerate(lengths)
    )
    found = wav(View(b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WAVE" + body))
    assert found is not None
    assert [(end - start, stated) for start, end, stated in found.data] == [(n, n) for n in lengths]
    assert found.beyond == found.leftover == 0


@given(st.integers(9, 2_000), st.integers(2, 8))
def test_samples_that_a_wav_header_does_not_count_are_found(more: int, counted: int) -> None:
    body = FORM + chunk(b"data", bytes([200]) * counted * 2, counted * 2) + bytes([200]) * more
    found = wav(View(b"RIFF" + bytes(4) + b"WAVE" + body))
    assert found is not None
    assert found.beyond == more
    assert found.data[-1][1] - found.data[-1][0] == counted * 2 + more


def test_boxes_that_claim_more_than_there_is_are_harmless() -> None:
    stts = b"\0\0\0\0" + (2**32 - 1).to_bytes(4, "big") + struct.pack(">II", 5, 100)
    inner = box(b"mdhd", bytes(12) + struct.pack(">II", 1000, 0)) + box(b"hdlr", bytes(8) + b"soun" + bytes(12))
    table = box(b"stbl", box(b"stsd", bytes(12) + b"mp4a") + box(b"stts", stts))
    trak = box(b"trak", box(b"tkhd", bytes(12) + b"\0\0\0\x01") + box(b"mdia", inner + box(b"minf", table)))
    (track,) = mp4_tracks(View(box(b"ftyp", b"isom") + box(b"moov", trak)))
    assert (track.format, track.media_seconds, track.played_seconds) == ("mp4a", 0.5, None)


def box(name: bytes, content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + name + content
