"""What people send becomes 16 kHz FLAC, a file for each channel, with second t where the player has it."""

import hashlib
import os
import resource
import shutil
import struct
from collections import namedtuple
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

from caseprep_pipelines.audio import sandbox
from caseprep_pipelines.audio.limits import Limits
from caseprep_pipelines.audio.normalize import normalize
from caseprep_pipelines.audio.reading import read_flac
from caseprep_pipelines.errors import Fault
from caseprep_pipelines.rejections import Reason, RejectedRecording
from caseprep_pipelines_tests.audio.conftest import Normalize, registered
from caseprep_pipelines_tests.audio.media import Audio, beeps, mux, noise, onsets, tone, wav

SECONDS = 4
EXPECTED = [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("8-bit.wav", "pcm_u8", 8_000),
        ("mu-law.wav", "pcm_mulaw", 8_000),
        ("a-law.wav", "pcm_alaw", 8_000),
        ("16-bit.wav", "pcm_s16le", 11_025),
        ("24-bit.wav", "pcm_s24le", 44_100),
        ("float.wav", "pcm_f32le", 48_000),
        ("double.wav", "pcm_f64le", 96_000),
        ("384-khz.wav", "pcm_s32le", 384_000),
        ("telephone.wav", "g726", 8_000),
        ("x.aiff", "pcm_s16be", 32_000),
        ("x.flac", "flac", 44_100),
        ("telephone.mp3", "libmp3lame", 8_000),
        ("x.mp3", "libmp3lame", 44_100),
        ("x.m4a", "aac", 44_100),
        ("x.mkv", "aac", 48_000),
        ("x.ogg", "libopus", 48_000),
        ("x.webm", "libopus", 48_000),
        ("x.mov", "pcm_s16be", 48_000),
    ],
)
def test_a_beep_is_heard_at_the_same_second(
    tmp_path: Path, normalized: Normalize, name: str, codec: str, rate: int
) -> None:
    path = mux(tmp_path / name, Audio(beeps(rate, SECONDS), rate, codec))
    product, (samples,) = normalized(path)
    assert onsets(samples) == pytest.approx(EXPECTED, abs=0.012)
    assert product.duration_seconds == pytest.approx(SECONDS, abs=0.07)
    assert product.gaps == ()
    assert product.damaged_packets == 0
    assert product.channels[0].peak_dbfs == pytest.approx(-6, abs=1)


@pytest.mark.parametrize(
    ("name", "codec", "rate"), [("x.ts", "aac", 48_000), ("x.avi", "libmp3lame", 44_100), ("x.mpg", "mp2", 44_100)]
)
def test_where_the_container_hides_the_encoders_delay_it_is_right_to_a_frame(
    tmp_path: Path, normalized: Normalize, name: str, codec: str, rate: int
) -> None:
    path = mux(tmp_path / name, Audio(beeps(rate, SECONDS), rate, codec), picture_seconds=SECONDS)
    _, (samples,) = normalized(path)
    assert onsets(samples) == pytest.approx(EXPECTED, abs=0.04)


def test_16_khz_16_bit_audio_goes_through_unchanged(tmp_path: Path, normalized: Normalize) -> None:
    samples = (np.random.default_rng(0).integers(-32768, 32768, 100_000)).astype(np.int16)
    soundfile.write(tmp_path / "x.wav", samples, 16_000)
    product, _ = normalized(tmp_path / "x.wav")
    (flac,) = tmp_path.glob("normalized-*/channel-00.flac")
    np.testing.assert_array_equal(soundfile.read(flac, dtype="int16")[0], samples)
    assert product.channels[0].samples == 100_000


def test_the_same_recording_gives_the_same_bytes(tmp_path: Path, normalized: Normalize) -> None:
    path = mux(tmp_path / "x.m4a", Audio(beeps(44_100, SECONDS), 44_100, "aac"))
    assert normalized(path)[0] == normalized(path)[0]


@pytest.mark.parametrize("channels", [2, 5, 8])
def test_every_channel_gets_its_own_file_and_nothing_is_mixed(
    tmp_path: Path, normalized: Normalize, channels: int
) -> None:
    path = wav(tmp_path / "x.wav", *(tone(300 * (n + 1), -12, 2, 48_000) for n in range(channels)), rate=48_000)
    product, samples = normalized(path)
    assert [channel.channel_in_stream for channel in product.channels] == list(range(channels))
    for number, channel in enumerate(samples):
        spectrum = np.abs(np.fft.rfft(channel * np.hanning(len(channel))))
        hertz = np.fft.rfftfreq(len(channel), 1 / 16_000)
        assert hertz[spectrum.argmax()] == pytest.approx(300 * (number + 1), abs=1)
        others = spectrum[np.abs(hertz - 300 * (number + 1)) > 50]
        assert others.max() < spectrum.max() / 1000
    assert not product.dual_mono


def test_eight_channels_of_a_codec_that_keeps_them_apart(tmp_path: Path, normalized: Normalize) -> None:
    surround = np.stack([tone(300 * (n + 1), -12, 2, 48_000) for n in range(8)])
    product, samples = normalized(mux(tmp_path / "x.mp4", Audio(surround, 48_000, "aac", "7.1")))
    assert len(product.channels) == 8
    loudest = [np.abs(np.fft.rfft(channel[:32_000])).argmax() / 2 for channel in samples]
    # the fourth is the low-frequency channel, which AAC cuts off above 120 Hz or so
    assert loudest[:3] + loudest[4:] == pytest.approx([300 * (n + 1) for n in range(8) if n != 3], abs=2)


def test_all_audio_tracks_of_a_video_are_kept(tmp_path: Path, normalized: Normalize) -> None:
    path = mux(
        tmp_path / "body-camera.mp4",
        Audio(beeps(48_000, SECONDS), 48_000, "aac"),
        Audio(np.stack([tone(500, -20, SECONDS, 48_000), tone(700, -20, SECONDS, 48_000)]), 48_000, "aac", "stereo"),
        picture_seconds=SECONDS,
    )
    product, samples = normalized(path)
    assert [(channel.stream, channel.channel_in_stream) for channel in product.channels] == [(1, 0), (2, 0), (2, 1)]
    assert len({len(channel) for channel in samples}) == 1
    assert onsets(samples[0]) == pytest.approx(EXPECTED, abs=0.012)


def test_sound_that_sets_in_after_the_picture_stays_that_late(tmp_path: Path, normalized: Normalize) -> None:
    late = Audio(beeps(48_000, SECONDS), 48_000, shifts={0.0: 2.5})
    product, (samples,) = normalized(mux(tmp_path / "x.mkv", late, picture_seconds=7))
    assert onsets(samples) == pytest.approx([3.5, 4.5, 5.5], abs=0.002)
    assert [(gap.start, gap.end) for gap in product.gaps] == [(0.0, 2.5)]


@pytest.mark.parametrize(("name", "codec"), [("x.mkv", "pcm_s16le"), ("x.mp4", "aac"), ("x.ts", "mp2")])
def test_time_that_the_recorder_skipped_is_filled_with_silence(
    tmp_path: Path, normalized: Normalize, name: str, codec: str
) -> None:
    paused = Audio(beeps(48_000, SECONDS), 48_000, codec, shifts={1.5: 3.0, 2.5: 0.25})
    product, (samples,) = normalized(mux(tmp_path / name, paused))
    assert onsets(samples) == pytest.approx([1.0, 5.0, 6.25], abs=0.012)
    assert [gap.end - gap.start for gap in product.gaps] == pytest.approx([3.0, 0.25], abs=0.03)
    assert product.duration_seconds == pytest.approx(SECONDS + 3.25, abs=0.03)
    # the encoder's last block before a pause may ring on for a few samples
    assert np.abs(samples[int(1.6 * 16_000) : int(4.9 * 16_000)]).max() < 0.001


def test_packets_that_never_arrived_are_silence_of_their_length(tmp_path: Path, normalized: Normalize) -> None:
    path = mux(tmp_path / "x.mkv", Audio(beeps(48_000, SECONDS), 48_000, "libopus", lost=(1.9, 2.4)))
    product, (samples,) = normalized(path)
    assert onsets(samples) == pytest.approx([1.0, 3.0], abs=0.012)
    assert sum(gap.end - gap.start for gap in product.gaps) == pytest.approx(0.5, abs=0.03)


def test_audio_whose_timestamps_overlap_is_not_heard_twice(tmp_path: Path, normalized: Normalize) -> None:
    path = mux(tmp_path / "x.mkv", Audio(beeps(48_000, SECONDS), 48_000, shifts={1.5: -0.3}))
    product, (samples,) = normalized(path)
    assert onsets(samples) == pytest.approx([1.0, 1.7, 2.7], abs=0.002)
    assert product.trimmed_seconds == pytest.approx(0.3, abs=0.001)
    assert product.gaps == ()


def test_damaged_packets_become_silence_and_the_rest_is_decoded(tmp_path: Path, normalized: Normalize) -> None:
    path = mux(tmp_path / "x.mp4", Audio(beeps(48_000, 20), 48_000, "aac"))
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    middle = start + (data.index(b"moov") - start) // 2
    data[middle : middle + 400] = b"\xff" * 400
    path.write_bytes(data)
    product, (samples,) = normalized(path)
    assert product.damaged_packets > 0
    assert product.gaps
    assert product.duration_seconds == pytest.approx(20, abs=0.05)
    heard = onsets(samples)
    assert heard[:8] == pytest.approx(range(1, 9), abs=0.012)
    assert heard[-8:] == pytest.approx(range(12, 20), abs=0.012)


def test_dual_mono_is_recognised_even_after_lossy_coding(tmp_path: Path, normalized: Normalize) -> None:
    speech = noise(-25, SECONDS, rate=44_100) * np.repeat(np.random.default_rng(1).random(SECONDS * 10), 4410)
    both = np.stack([speech, speech]).astype(np.float32)
    product, _ = normalized(mux(tmp_path / "x.mp3", Audio(both, 44_100, "libmp3lame", "stereo")))
    assert product.dual_mono
    assert [channel.duplicate_of for channel in product.channels] == [None, 0]
    assert [channel.index for channel in product.distinct_channels] == [0]


@pytest.mark.parametrize(("codec", "kind"), [("pcm_s16le", "16-bit"), ("pcm_mulaw", "mu-law"), ("pcm_u8", "8-bit")])
def test_clipping_is_counted_before_anything_is_converted(
    tmp_path: Path, normalized: Normalize, codec: str, kind: str
) -> None:
    overdriven = np.clip(2 * tone(100, 0, 2, 8_000), -1, 1)[None]
    product, _ = normalized(mux(tmp_path / f"{kind}.wav", Audio(overdriven, 8_000, codec)))
    # a sine of twice full scale is beyond it for two thirds of the time
    assert product.channels[0].clipped_ratio == pytest.approx(2 / 3, abs=0.05)
    clean, _ = normalized(mux(tmp_path / f"clean-{kind}.wav", Audio(tone(100, -6, 2, 8_000)[None], 8_000, codec)))
    assert clean.channels[0].clipped_ratio == 0


def test_a_silent_hour_is_a_recording_and_takes_little_memory(tmp_path: Path) -> None:
    path = wav(tmp_path / "x.wav", np.zeros(160, np.float32))
    data = bytearray(path.read_bytes())
    length = 3600 * 16_000 * 2
    data[4:8] = (length + 36).to_bytes(4, "little")
    data[40:44] = length.to_bytes(4, "little")
    path.write_bytes(data)
    os.truncate(path, 44 + length)
    peak = 0
    seconds: list[float] = []

    def watch(done: float) -> None:
        nonlocal peak
        seconds.append(done)
        for child in psutil.Process().children():
            peak = max(peak, child.memory_info().rss)

    folder = tmp_path / "out"
    folder.mkdir()
    product = normalize(path, registered(path), folder, Limits(), watch)
    assert product.duration_seconds == 3600
    assert [channel.loudness_lufs for channel in product.channels] == [None]
    assert [channel.silence_ratio for channel in product.channels] == [1.0]
    assert seconds == sorted(seconds)
    assert 0 < peak < 200 * 10**6


def test_less_than_ten_milliseconds_hold_no_audio(tmp_path: Path, normalized: Normalize) -> None:
    with pytest.raises(RejectedRecording) as rejected:
        normalized(wav(tmp_path / "x.wav", np.ones(1, np.float32)))
    assert rejected.value.reason == Reason.NO_AUDIO
    product, _ = normalized(wav(tmp_path / "y.wav", tone(1000, -6, 0.01)))
    assert product.channels[0].samples == 160


def test_a_file_cut_off_in_its_audio_is_truncated(tmp_path: Path, normalized: Normalize) -> None:
    whole = mux(tmp_path / "x.mp4", Audio(beeps(48_000, 20), 48_000, "aac"), movflags="faststart")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(RejectedRecording) as rejected:
        normalized(cut)
    assert rejected.value.reason == Reason.TRUNCATED


def test_a_header_that_promises_hours_over_seconds_is_truncated(tmp_path: Path, normalized: Normalize) -> None:
    whole = mux(tmp_path / "x.mkv", Audio(beeps(48_000, 20), 48_000, "aac"))
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 4])
    with pytest.raises(RejectedRecording) as rejected:
        normalized(cut)
    assert rejected.value.reason == Reason.TRUNCATED


def test_a_recording_whose_packets_all_fail_is_corrupt(tmp_path: Path, normalized: Normalize) -> None:
    path = mux(tmp_path / "x.mp4", Audio(noise(-20, 10, rate=48_000)[None], 48_000, "aac"))
    data = bytearray(path.read_bytes())
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[start:end] = b"\xff" * (end - start)
    path.write_bytes(data)
    with pytest.raises(RejectedRecording) as rejected:
        normalized(path)
    assert rejected.value.reason == Reason.CORRUPT


def test_sound_without_end_is_stopped_where_the_limit_says(tmp_path: Path) -> None:
    path = mux(tmp_path / "x.mkv", Audio(tone(500, -20, 10)[None], 16_000))
    source = registered(path)
    with pytest.raises(RejectedRecording) as rejected:
        normalize(path, source, tmp_path, Limits(max_recording_hours=5 / 3600))
    assert rejected.value.reason == Reason.TOO_LONG


def test_too_little_disk_space_is_known_before_work_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = wav(tmp_path / "x.wav", tone(500, -20, 2))
    source = registered(path)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 10**6))
    with pytest.raises(Fault, match="CASEPREP_WORK_DIRECTORY"):
        normalize(path, source, tmp_path, Limits())


@pytest.mark.parametrize("most_bytes", [1_000, 100_000])
def test_a_disk_that_fills_up_is_a_fault_and_leaves_nothing_behind(tmp_path: Path, most_bytes: int) -> None:
    path = wav(tmp_path / "x.wav", noise(-20, 20))
    source = registered(path)
    folder = tmp_path / "out"
    folder.mkdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # a limit on file size fails writes as a full disk does; the child inherits it from the server, which starts anew
    sandbox.close_idle()
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        with pytest.raises(Fault):
            normalize(path, source, folder, Limits())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        sandbox.close_idle()
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_a_fault(tmp_path: Path) -> None:
    path = wav(tmp_path / "x.wav", tone(500, -20, 2))
    with pytest.raises(Fault):
        normalize(path, registered(path), tmp_path / "missing", Limits())


def test_an_original_that_is_not_what_was_registered_is_not_decoded(tmp_path: Path) -> None:
    path = wav(tmp_path / "x.wav", tone(500, -20, 2))
    source = registered(path)
    wav(path, tone(600, -20, 2))
    with pytest.raises(Fault, match="caseprep verify"):
        normalize(path, source, tmp_path, Limits())


def test_an_original_that_vanished_is_a_fault(tmp_path: Path) -> None:
    path = wav(tmp_path / "x.wav", tone(500, -20, 2))
    source = registered(path)
    path.unlink()
    with pytest.raises(Fault, match="gone"):
        normalize(path, source, tmp_path, Limits())


def test_originals_are_left_as_they_were(tmp_path: Path, normalized: Normalize) -> None:
    path = wav(tmp_path / "x.wav", tone(500, -20, 2))
    before, stat = path.read_bytes(), path.stat()
    product, _ = normalized(path)
    assert path.read_bytes() == before
    assert path.stat().st_mtime_ns == stat.st_mtime_ns
    assert product.source_sha256 == registered(path).sha256


def test_the_digest_is_that_of_the_file(tmp_path: Path, normalized: Normalize) -> None:
    product, _ = normalized(wav(tmp_path / "x.wav", tone(500, -20, 2)))
    (flac,) = tmp_path.glob("normalized-*/channel-00.flac")
    assert product.channels[0].sha256 == hashlib.sha256(flac.read_bytes()).hexdigest()
    assert len(read_flac(flac)) == product.channels[0].samples == 32_000


def test_a_courtroom_recorders_trm_file_gives_its_four_channels(tmp_path: Path, normalized: Normalize) -> None:
    # For The Record: RIFF/AVI, audio tag 0x4180, each packet one mono ADTS AAC frame per channel, one after the other
    rate, channels = 16_000, 4
    frames = [
        _adts_frames(mux(tmp_path / f"{n}.aac", Audio(tone(400 * (n + 1), -12, 3, rate)[None], rate, "aac")))
        for n in range(channels)
    ]
    packets = [b"".join(together) for together in zip(*frames, strict=True)]
    (tmp_path / "x.trm").write_bytes(_avi(packets, 0x4180, channels, rate, samples_in_packet=1024))
    product, samples = normalized(tmp_path / "x.trm")
    assert len(product.channels) == channels
    assert product.gaps == ()
    for number, channel in enumerate(samples):
        spectrum = np.abs(np.fft.rfft(channel[16_000:32_000]))
        assert spectrum.argmax() == pytest.approx(400 * (number + 1), abs=2)


def _adts_frames(path: Path) -> list[bytes]:
    data, frames = path.read_bytes(), []
    while data:
        length = (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5
        frames.append(data[:length])
        data = data[length:]
    return frames


def _avi(packets: list[bytes], tag: int, channels: int, rate: int, samples_in_packet: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)

    def group(name: bytes, body: bytes) -> bytes:
        return chunk(b"LIST", name + body)

    largest = max(map(len, packets))
    main = struct.pack("<14I", 1_000_000 * samples_in_packet // rate, 0, 0, 0x10, len(packets), 0, 1, largest, *[0] * 6)
    stream = struct.pack("<4s4sIHHIIIIIIIIHHHH", b"auds", b"\0" * 4, 0, 0, 0, 0, samples_in_packet, rate, 0,
                         len(packets), largest, 0, 0, 0, 0, 0, 0)  # fmt: skip
    wave = struct.pack("<HHIIHHH", tag, channels, rate, 16_000, samples_in_packet, 16, 0)
    header = group(b"hdrl", chunk(b"avih", main) + group(b"strl", chunk(b"strh", stream) + chunk(b"strf", wave)))
    index, offset = b"", 4
    for packet in packets:
        index += struct.pack("<4sIII", b"00wb", 0x10, offset, len(packet))
        offset += 8 + len(packet) + len(packet) % 2
    movie = group(b"movi", b"".join(chunk(b"00wb", packet) for packet in packets))
    return chunk(b"RIFF", b"AVI " + header + movie + chunk(b"idx1", index))
