"""No recording ends with sound missing and nothing said: every length that a file states is held against what came."""

from pathlib import Path

import numpy as np
import psutil
import pytest

from caseprep_pipelines.assets.normalized_audio import sound_complete
from caseprep_pipelines.audio.documents import NormalizedAudio
from caseprep_pipelines.audio.limits import Limits
from caseprep_pipelines.audio.normalize import normalize
from caseprep_pipelines.rejections import Reason, RejectedRecording
from caseprep_pipelines_tests.audio.conftest import Normalize, registered
from caseprep_pipelines_tests.audio.media import Audio, beeps, mux, ogg_page, onsets, tone, wav

SECONDS = 5


def kinds(product: NormalizedAudio) -> list[str]:
    return [finding.kind for finding in product.findings]


def joined(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def made(folder: Path, name: str, codec: str, rate: int = 48_000, channels: int = 1, **options: str) -> Path:
    layout = {1: "mono", 2: "stereo"}[channels]
    audio = Audio(beeps(rate, SECONDS, channels), rate, codec, layout)
    return mux(folder / f"{rate}-{channels}-{name}", audio, **options)  # type: ignore[arg-type]


def rejection(path: Path, folder: Path, limits: Limits | None = None) -> RejectedRecording:
    with pytest.raises(RejectedRecording) as rejected:
        normalize(path, registered(path, limits), folder, limits or Limits())
    return rejected.value


# several files in one


@pytest.mark.parametrize(
    ("name", "codec", "first", "second"),
    [
        ("x.flac", "flac", (44_100, 1), (22_050, 1)),
        ("x.flac", "flac", (22_050, 1), (44_100, 2)),
        ("x.ogg", "libopus", (48_000, 1), (48_000, 2)),
        ("x.ogg", "libopus", (48_000, 2), (48_000, 1)),
        ("x.ogg", "flac", (44_100, 1), (22_050, 1)),
        ("x.aac", "aac", (44_100, 1), (22_050, 1)),
        ("x.aac", "aac", (22_050, 2), (44_100, 1)),
        ("x.mp3", "libmp3lame", (44_100, 1), (22_050, 1)),
        ("x.wav", "pcm_s16le", (16_000, 1), (8_000, 2)),
        ("x.aiff", "pcm_s16be", (16_000, 1), (8_000, 1)),
        ("x.au", "pcm_s16be", (16_000, 1), (8_000, 1)),
        ("x.caf", "pcm_s16be", (16_000, 1), (8_000, 2)),
        ("x.w64", "pcm_s16le", (16_000, 1), (8_000, 2)),
        ("x.mp4", "aac", (48_000, 1), (44_100, 2)),
        ("x.mkv", "aac", (48_000, 1), (44_100, 1)),
        ("x.flv", "aac", (44_100, 1), (22_050, 1)),
        ("x.tta", "tta", (44_100, 1), (22_050, 1)),
        ("x.wv", "wavpack", (44_100, 1), (22_050, 1)),
        ("x.nut", "aac", (48_000, 1), (44_100, 1)),
        ("x.avi", "libmp3lame", (44_100, 1), (22_050, 1)),
    ],
)
def test_of_joined_files_everything_is_heard_at_its_second(
    tmp_path: Path, normalized: Normalize, name: str, codec: str, first: tuple[int, int], second: tuple[int, int]
) -> None:
    parts = [made(tmp_path, f"{number}-{name}", codec, *of) for number, of in enumerate((first, second))]
    product, samples = normalized(joined(tmp_path / name, *parts))
    assert product.duration_seconds == pytest.approx(2 * SECONDS, abs=0.15)
    heard = onsets(samples[0])
    assert heard[:4] == pytest.approx([1, 2, 3, 4], abs=0.05)
    assert heard[4:] == pytest.approx([6, 7, 8, 9], abs=0.15)
    # raw AAC and MP3 are frames after frames, of which joined ones are nothing special
    assert kinds(product) == ([] if name in ("x.aac", "x.mp3") else ["joined"])


def test_a_chain_of_ogg_with_links_of_other_codecs(tmp_path: Path, normalized: Normalize) -> None:
    links = [made(tmp_path, "1.ogg", "libopus"), made(tmp_path, "2.ogg", "flac"), made(tmp_path, "3.ogg", "libopus")]
    product, samples = normalized(joined(tmp_path / "x.ogg", *links))
    assert onsets(samples[0]) == pytest.approx([s + 5 * n for n in range(3) for s in (1, 2, 3, 4)], abs=0.05)
    (finding,) = product.findings
    assert (finding.kind, finding.count) == ("joined", 3)
    assert not sound_complete(product).passed


def test_tags_before_joined_files_are_no_files(tmp_path: Path, normalized: Normalize) -> None:
    tag = b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128)
    one = tag + made(tmp_path, "1.flac", "flac", 44_100).read_bytes()
    (tmp_path / "one.flac").write_bytes(one)
    assert normalized(tmp_path / "one.flac")[0].findings == ()
    (tmp_path / "x.flac").write_bytes(one + tag + made(tmp_path, "2.flac", "flac", 22_050).read_bytes())
    product, (samples,) = normalized(tmp_path / "x.flac")
    assert onsets(samples) == pytest.approx([1, 2, 3, 4, 6, 7, 8, 9], abs=0.05)
    assert kinds(product) == ["joined"]


def test_what_follows_and_cannot_be_read_is_told_and_stops_nothing(tmp_path: Path, normalized: Normalize) -> None:
    first = made(tmp_path, "1.ogg", "libopus").read_bytes()
    unknown = ogg_page(0, 9, b"NewCodec" + bytes(40), flags=2) + ogg_page(48_000, 9, bytes(200)) * 9
    (tmp_path / "x.ogg").write_bytes(first + unknown)
    product, _ = normalized(tmp_path / "x.ogg")
    assert product.duration_seconds == pytest.approx(SECONDS, abs=0.1)
    assert kinds(product) == ["unread-part"]


# WAV


def chunks(path: Path) -> tuple[bytearray, int]:
    """A WAV of six seconds at 16 kHz, and the bytes of its samples."""
    wav(path, beeps(16_000, 6)[0])
    data = bytearray(path.read_bytes())
    return data, len(data) - 44


@pytest.mark.parametrize("rate", [0, 1, 8_000, 320_000, 0xFFFF_FFFF])
def test_bytes_a_second_in_a_wav_header_mean_nothing(tmp_path: Path, normalized: Normalize, rate: int) -> None:
    data, _ = chunks(tmp_path / "x.wav")
    data[28:32] = rate.to_bytes(4, "little")
    (tmp_path / "x.wav").write_bytes(data)
    product, (samples,) = normalized(tmp_path / "x.wav")
    assert onsets(samples) == pytest.approx([1, 2, 3, 4, 5], abs=0.01)
    assert product.findings == ()


@pytest.mark.parametrize("riff_too", [True, False])
def test_a_wav_that_holds_more_than_its_header_says_is_used_to_the_end(
    tmp_path: Path, normalized: Normalize, riff_too: bool
) -> None:
    data, length = chunks(tmp_path / "x.wav")
    data[40:44] = (length // 3).to_bytes(4, "little")
    if riff_too:
        data[4:8] = (length // 3 + 36).to_bytes(4, "little")
    (tmp_path / "x.wav").write_bytes(data)
    product, (samples,) = normalized(tmp_path / "x.wav")
    assert onsets(samples) == pytest.approx([1, 2, 3, 4, 5], abs=0.01)
    (finding,) = product.findings
    assert finding.sentence == "The file holds 6.0 s though its data chunk states 2.0 s; all of it was used."
    assert not sound_complete(product).passed


def test_a_second_data_chunk_is_used(tmp_path: Path, normalized: Normalize) -> None:
    data, length = chunks(tmp_path / "x.wav")
    more = b"LIST\x04\x00\x00\x00INFO" + b"data" + length.to_bytes(4, "little") + data[44:]
    (tmp_path / "x.wav").write_bytes(data + more)
    product, (samples,) = normalized(tmp_path / "x.wav")
    assert onsets(samples) == pytest.approx([1, 2, 3, 4, 5, 7, 8, 9, 10, 11], abs=0.01)
    assert kinds(product) == ["joined"]


@pytest.mark.parametrize(
    "tail", [b"LIST\x1a\x00\x00\x00INFOISFT\x0e\x00\x00\x00Lavf58.29.100\x00", b"TAG" + bytes(125), b"", b"\x00"]
)
def test_what_ordinarily_follows_samples_is_no_sound(tmp_path: Path, normalized: Normalize, tail: bytes) -> None:
    data, _ = chunks(tmp_path / "x.wav")
    (tmp_path / "x.wav").write_bytes(data + tail)
    product, _ = normalized(tmp_path / "x.wav")
    assert product.duration_seconds == 6
    assert product.findings == ()


def test_a_wav_that_promises_more_is_truncated_or_used_as_far_as_it_goes(tmp_path: Path) -> None:
    data, length = chunks(tmp_path / "x.wav")
    path = tmp_path / "half.wav"
    path.write_bytes(data[: 44 + length // 2])
    found = rejection(path, tmp_path)
    assert (found.reason, found.detail) == (Reason.TRUNCATED, "states 6.0 s and holds 3.0 s")
    accepting = Limits(accept_truncated=True)
    product = normalize(path, registered(path, accepting), tmp_path, accepting)
    assert product.duration_seconds == pytest.approx(3)
    assert [finding.sentence for finding in product.findings] == [
        "The original is truncated: its data chunk states 6.0 s and it holds 3.0 s."
    ]


def test_a_wav_header_that_promises_hours_over_seconds(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    data, _ = chunks(path)
    data[40:44] = (5 * 3600 * 32_000).to_bytes(4, "little")
    path.write_bytes(data)
    found = rejection(path, tmp_path)
    assert (found.reason, found.detail) == (Reason.TRUNCATED, "states 18000.0 s and holds 6.0 s")


# other headers


def test_half_an_mp3_with_an_info_header_is_no_whole_one(tmp_path: Path) -> None:
    whole = made(tmp_path, "x.mp3", "libmp3lame", 44_100)
    path = tmp_path / "half.mp3"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert rejection(path, tmp_path).reason == Reason.TRUNCATED


def test_a_little_less_than_stated_is_told(tmp_path: Path, normalized: Normalize) -> None:
    whole = mux(tmp_path / "x.mp4", Audio(beeps(48_000, 20), 48_000, "aac"), movflags="faststart")
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.95)])
    product, _ = normalized(path)
    assert kinds(product) == ["shorter-than-stated"]
    assert product.findings[0].sentence.startswith("Sound is missing: its header states 0:20 and 0:18")


FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "1000000"}


def boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        found.append((data[at + 4 : at + 8], data[at : at + length]))
        at += length
    return found


def test_fragments_that_begin_late_are_a_whole_recording(tmp_path: Path, normalized: Normalize) -> None:
    whole = mux(tmp_path / "x.mp4", Audio(beeps(48_000, 20), 48_000, "aac"), **FRAGMENTS)  # type: ignore[arg-type]
    kept = [box for box in boxes(whole.read_bytes()) if box[0] != b"mfra"]
    late = tmp_path / "late.mp4"
    late.write_bytes(b"".join(box for _, box in kept[:2] + kept[26:]))
    product, (samples,) = normalized(late)
    assert product.duration_seconds == pytest.approx(8, abs=0.1)
    assert len(onsets(samples)) == 8
    assert kinds(product) == ["begins-late"]
    assert sound_complete(product).passed


def test_fragments_of_a_recorder_that_died_are_used(tmp_path: Path, normalized: Normalize) -> None:
    whole = mux(tmp_path / "x.mp4", Audio(beeps(48_000, 20), 48_000, "aac"), **FRAGMENTS)  # type: ignore[arg-type]
    found = boxes(whole.read_bytes())
    path = tmp_path / "cut.mp4"
    path.write_bytes(b"".join(box for _, box in found[:22]) + found[22][1][:100])
    product, (samples,) = normalized(path)
    assert len(onsets(samples)) >= 8
    assert kinds(product) == ["ends-inside-its-data"]


def test_sound_that_an_edit_list_hides_is_told(tmp_path: Path, normalized: Normalize) -> None:
    path = mux(tmp_path / "x.mp4", Audio(beeps(48_000, 20), 48_000, "aac"))
    data = bytearray(path.read_bytes())
    at = data.index(b"elst")
    # one edit, in the movie's thousandths
    data[at + 12 : at + 16] = (8_000).to_bytes(4, "big")
    path.write_bytes(data)
    product, _ = normalized(path)
    assert "hidden-by-edit-list" in kinds(product)
    assert product.duration_seconds == pytest.approx(8, abs=0.2)


def test_sound_that_ends_before_its_picture_is_told(tmp_path: Path, normalized: Normalize) -> None:
    product, _ = normalized(mux(tmp_path / "x.mkv", Audio(beeps(48_000, 4), 48_000, "aac"), picture_seconds=20))
    assert kinds(product) == ["picture-goes-on"]
    assert product.findings[0].sentence == "The sound ends at 4.0 s, the picture at 0:20."


def test_damage_is_told(tmp_path: Path, normalized: Normalize) -> None:
    path = mux(tmp_path / "x.mp4", Audio(beeps(48_000, 20), 48_000, "aac"))
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    middle = start + (data.index(b"moov") - start) // 2
    data[middle : middle + 3_000] = b"\xff" * 3_000
    path.write_bytes(data)
    product, _ = normalized(path)
    assert kinds(product) == ["damaged"]


def test_sound_that_its_timestamps_hide_is_told(tmp_path: Path, normalized: Normalize) -> None:
    shifts = {float(second): -0.3 for second in (5, 10, 15)}
    product, _ = normalized(mux(tmp_path / "x.mkv", Audio(beeps(48_000, 20), 48_000, shifts=shifts)))
    assert kinds(product) == ["overlapping"]


# timestamps that leap


@pytest.mark.parametrize(("name", "codec"), [("x.ts", "mp2"), ("x.ts", "aac"), ("x.mkv", "pcm_s16le")])
def test_a_break_of_hours_is_silence_in_little_memory(tmp_path: Path, name: str, codec: str) -> None:
    path = mux(tmp_path / name, Audio(beeps(48_000, 6), 48_000, codec, shifts={3.5: 4 * 3600.0}))
    folder = tmp_path / "out"
    folder.mkdir()
    peak = 0

    def watch(_done: float) -> None:
        nonlocal peak
        for child in psutil.Process().children():
            peak = max([peak, *(part.memory_info().rss for part in [child, *child.children()])])

    product = normalize(path, registered(path), folder, Limits(), watch)
    assert product.duration_seconds == pytest.approx(4 * 3600 + 6, abs=0.1)
    assert [gap.end - gap.start for gap in product.gaps] == pytest.approx([4 * 3600], abs=0.1)
    assert kinds(product) == ["long-break"]
    assert sound_complete(product).passed
    assert 0 < peak < 250 * 10**6


@pytest.mark.parametrize("leap", [3600.0, 50.0, 0.4])
@pytest.mark.parametrize(("name", "codec"), [("x.ts", "mp2"), ("x.ts", "aac"), ("x.mkv", "aac")])
def test_one_wild_timestamp_is_no_break(
    tmp_path: Path, normalized: Normalize, name: str, codec: str, leap: float
) -> None:
    wild = Audio(beeps(48_000, 8), 48_000, codec, shifts={3.5: leap, 3.52: -leap})
    path = mux(tmp_path / name, wild)
    product, (samples,) = normalized(path)
    if leap > 1:
        assert product.duration_seconds == pytest.approx(8, abs=0.1)
        # muxed by its stamp, the frame stands at the file's end and is missing where it was
        assert onsets(samples) == pytest.approx([1, 2, 3, 4, 5, 6, 7], abs=0.05)
    assert not [finding for finding in product.findings if finding.missing]


def test_an_ordinary_recording_has_no_findings(tmp_path: Path, normalized: Normalize) -> None:
    stereo = np.stack([tone(500, -20, 8, 44_100), tone(700, -20, 8, 44_100)])
    for name, codec in (("x.m4a", "aac"), ("x.mp3", "libmp3lame"), ("x.flac", "flac"), ("x.ogg", "flac")):
        product, _ = normalized(mux(tmp_path / name, Audio(stereo, 44_100, codec, "stereo")))
        assert product.findings == ()
        assert sound_complete(product).passed


def test_a_camera_whose_sound_is_switched_on_later(tmp_path: Path, normalized: Normalize) -> None:
    parts = [
        mux(tmp_path / "1.ts", picture_seconds=60, mpegts_start_pid="0x100", muxrate="2000000"),
        mux(tmp_path / "2.ts", Audio(beeps(48_000, SECONDS), 48_000, "mp2"), picture_seconds=SECONDS),
    ]
    product, (samples,) = normalized(joined(tmp_path / "x.ts", *parts))
    assert onsets(samples) == pytest.approx([61, 62, 63, 64], abs=0.2)
    assert not [finding for finding in product.findings if finding.missing]


@pytest.mark.parametrize("second", ["aac", "mp2"])
def test_tracks_that_begin_late_in_a_transport_stream_are_heard(
    tmp_path: Path, normalized: Normalize, second: str
) -> None:
    # longer than FFmpeg looks for tracks
    first = Audio(beeps(48_000, 40, 2), 48_000, "mp2", "stereo")
    parts = [
        mux(tmp_path / "1.ts", first, picture_seconds=40, mpegts_start_pid="0x100", muxrate="2000000"),
        mux(tmp_path / "2.ts", Audio(beeps(48_000, SECONDS), 48_000, second), mpegts_start_pid="0x200"),
    ]
    product, samples = normalized(joined(tmp_path / "x.ts", *parts))
    assert product.duration_seconds == pytest.approx(45, abs=0.2)
    assert onsets(samples[0])[-4:] == pytest.approx([41, 42, 43, 44], abs=0.2)
    assert "joined" in kinds(product)


# the other kinds of one chunk


def uncompressed(folder: Path, kind: str, seconds: float = 6) -> tuple[bytearray, int, int, str]:
    """A file of this kind, the place of its length, its bytes and how it is written."""
    codec = "pcm_s16le" if kind == "w64" else "pcm_s16be"
    path = mux(folder / f"made.{kind}", Audio(beeps(16_000, seconds), 16_000, codec))
    data = bytearray(path.read_bytes())
    at, size, order = {
        "aiff": (data.find(b"SSND") + 4, 4, "big"),
        "au": (8, 4, "big"),
        "caf": (data.find(b"data") + 4, 8, "big"),
        "w64": (data.find(b"data\xf3") + 16, 8, "little"),
    }[kind]
    return data, at, size, order


KINDS = ["aiff", "au", "caf", "w64"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("counted", [0, 64_000])
def test_whatever_a_header_counts_all_sound_is_used(
    tmp_path: Path, normalized: Normalize, kind: str, counted: int
) -> None:
    data, at, size, order = uncompressed(tmp_path, kind)
    data[at : at + size] = counted.to_bytes(size, order)  # type: ignore[arg-type]
    path = tmp_path / f"x.{kind}"
    path.write_bytes(data)
    product, (samples,) = normalized(path)
    assert onsets(samples) == pytest.approx([1, 2, 3, 4, 5], abs=0.01)
    assert kinds(product) == (["longer-than-stated"] if counted else [])


@pytest.mark.parametrize("kind", KINDS)
def test_a_header_that_counts_what_is_not_there_is_found_out(tmp_path: Path, kind: str) -> None:
    data, *_ = uncompressed(tmp_path, kind, 20)
    path = tmp_path / f"half.{kind}"
    path.write_bytes(data[: len(data) // 2])
    assert rejection(path, tmp_path).reason == Reason.TRUNCATED
    accepting = Limits(accept_truncated=True)
    product = normalize(path, registered(path, accepting), tmp_path, accepting)
    assert product.duration_seconds == pytest.approx(10, abs=0.1)
    assert kinds(product) == ["truncated"]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("x.mkv", "aac"), ("x.webm", "libopus"), ("x.flv", "aac"), ("x.avi", "libmp3lame"), ("x.flac", "flac"),
     ("x.tta", "tta"), ("x.wv", "wavpack"), ("x.mka", "flac")],
)  # fmt: skip
def test_half_a_file_of_any_kind_is_never_done_without_a_word(tmp_path: Path, name: str, codec: str) -> None:
    rate = 48_000 if codec == "libopus" else 44_100
    whole = mux(tmp_path / name, Audio(beeps(rate, 20), rate, codec))
    path = tmp_path / f"half-{name}"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert rejection(path, tmp_path).reason == Reason.TRUNCATED


def test_half_an_ogg_says_that_it_ends_early(tmp_path: Path, normalized: Normalize) -> None:
    whole = mux(tmp_path / "x.ogg", Audio(beeps(48_000, 20), 48_000, "libopus"))
    path = tmp_path / "half.ogg"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert kinds(normalized(path)[0]) == ["ends-inside-its-data"]
