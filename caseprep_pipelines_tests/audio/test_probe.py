"""What a file is shows in its bytes; what cannot go on is named."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from caseprep_pipelines.audio.limits import Limits
from caseprep_pipelines.audio.probe import probe
from caseprep_pipelines.rejections import Reason, RejectedRecording
from caseprep_pipelines_tests.audio.media import Audio, beeps, mux, tone, wav


def reason(path: Path, limits: Limits | None = None) -> tuple[Reason, str]:
    with pytest.raises(RejectedRecording) as rejected:
        probe(path, limits or Limits())
    return rejected.value.reason, rejected.value.detail


def test_a_video_with_two_audio_tracks(tmp_path: Path) -> None:
    stereo = np.concatenate([beeps(48_000, 3), beeps(48_000, 3)])
    path = mux(
        tmp_path / "x.mp4",
        Audio(beeps(48_000, 3), 48_000, "aac"),
        Audio(stereo, 44_100, "aac", "stereo"),
        picture_seconds=3,
    )
    found = probe(path, Limits())
    assert found.has_video
    assert found.channels == 3
    assert [(s.codec, s.sample_rate, s.channels) for s in found.audio_streams] == [
        ("aac", 48_000, 1),
        ("aac", 44_100, 2),
    ]
    assert found.duration_seconds == pytest.approx(3.3, abs=0.1)
    assert "mp4" in found.container


def test_the_extension_plays_no_part(tmp_path: Path) -> None:
    path = wav(tmp_path / "x.wav", tone(500, -20, 1)).rename(tmp_path / "x.mp3")
    assert probe(path, Limits()).container == "wav"


@pytest.mark.parametrize(
    "name",
    [
        "with space.wav",
        "-rf.wav",
        "concat:x.wav",
        "http:x.wav",
        "%d.wav",
        'it\'s "quoted".wav',
        "двадцять\nрядків.wav",
        "é" * 125 + ".wav",
    ],
)
def test_any_name_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    wav(tmp_path / "plain.wav", tone(500, -20, 1)).rename(tmp_path / name)
    assert probe(Path(name), Limits()).duration_seconds == 1


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "x.wav").touch()
    assert reason(tmp_path / "x.wav")[0] == Reason.EMPTY


@pytest.mark.parametrize(
    "content",
    [
        b"Q. Did you see it?\nA. I did.\n" * 500,
        b"x",
        bytes(300_000),
        np.random.default_rng(7).bytes(500_000),
        b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1/x.ts\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile 'other.wav'\n",
        b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'></MPD>",
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=audio 5004 RTP/AVP 0\r\n",
        b"1\n00:00:01,000 --> 00:00:02,000\nHello\n",
        b"%PDF-1.7\n" + bytes(5000),
        b"PK\x03\x04" + bytes(5000),
    ],
    ids=["text", "one byte", "zeros", "noise", "hls", "concat", "dash", "sdp", "subtitles", "pdf", "zip"],
)
@pytest.mark.parametrize("extension", ["mp3", "own"])
def test_what_is_no_recording_is_not_media(tmp_path: Path, content: bytes, extension: str) -> None:
    path = tmp_path / f"x.{extension}"
    path.write_bytes(content)
    assert reason(path)[0] == Reason.NOT_MEDIA


def test_a_picture_is_not_media(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "x.jpg")
    assert reason(tmp_path / "x.jpg")[0] == Reason.NOT_MEDIA


def test_a_video_without_sound(tmp_path: Path) -> None:
    path = mux(tmp_path / "x.mp4", picture_seconds=2)
    assert reason(path)[0] == Reason.NO_AUDIO_STREAM


def test_a_codec_that_nothing_decodes(tmp_path: Path) -> None:
    path = wav(tmp_path / "x.wav", tone(500, -20, 1))
    data = bytearray(path.read_bytes())
    data[20:22] = (0x181C).to_bytes(2, "little")
    path.write_bytes(data)
    assert reason(path)[0] == Reason.UNSUPPORTED_CODEC


def test_an_mp4_cut_off_before_its_index(tmp_path: Path) -> None:
    path = mux(tmp_path / "x.mp4", Audio(beeps(48_000, 5), 48_000, "aac"))
    os.truncate(path, path.stat().st_size // 2)
    assert reason(path) == (Reason.TRUNCATED, "MP4 without its index (moov), without which nothing in it can be read")


def test_a_flac_header_that_promises_days_is_truncated_and_not_too_long(tmp_path: Path) -> None:
    path = mux(tmp_path / "x.flac", Audio(beeps(48_000, 5), 48_000, "flac"))
    data = bytearray(path.read_bytes())
    stream_info = int.from_bytes(data[18:26], "big")
    data[18:26] = (stream_info >> 36 << 36 | 48_000 * 3600 * 50).to_bytes(8, "big")
    path.write_bytes(data)
    assert reason(path)[0] == Reason.TRUNCATED


@pytest.mark.parametrize("size", [0, 0xFFFF_FFFF, 0x7FFF_FFFF])
def test_a_recorder_that_could_not_finish_its_wav_header_is_forgiven(tmp_path: Path, size: int) -> None:
    path = wav(tmp_path / "x.wav", tone(500, -20, 5))
    data = bytearray(path.read_bytes())
    data[40:44] = size.to_bytes(4, "little")
    path.write_bytes(data)
    assert probe(path, Limits()).duration_seconds == pytest.approx(5, abs=0.01)


def test_a_recording_longer_than_allowed(tmp_path: Path) -> None:
    path = wav(tmp_path / "x.wav", tone(500, -20, 5))
    assert reason(path, Limits(max_recording_hours=0.001))[0] == Reason.TOO_LONG


def test_details_name_no_file(tmp_path: Path) -> None:
    path = tmp_path / "Client Name v State.mp4"
    path.write_bytes(b"\x00\x00\x00\x20ftypisom" + bytes(100))
    assert "Client" not in reason(path)[1]


def test_sound_that_sets_in_late_in_a_transport_stream_is_found(tmp_path: Path) -> None:
    late = Audio(beeps(48_000, 3), 48_000, "mp2", shifts={0.0: 20.0})
    assert probe(mux(tmp_path / "x.ts", late, picture_seconds=25), Limits()).channels == 1
