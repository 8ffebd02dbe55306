"""Recordings made for the tests: tones at known times in the containers and codecs that people send."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

Samples = NDArray[np.float32]


def beeps(rate: int, seconds: float, channels: int = 1) -> Samples:
    """50 ms of 800 Hz at every full second but the first; shape (channels, samples), the same in every channel."""
    time = np.arange(round(rate * seconds)) / rate
    since = time % 1.0
    tone = np.where((time >= 1) & (since < 0.05), 0.5 * np.sin(2 * np.pi * 800 * since), 0)
    return np.tile(tone, (channels, 1)).astype(np.float32)


def tone(hertz: float, dbfs: float, seconds: float, rate: int = 16_000) -> Samples:
    time = np.arange(round(rate * seconds)) / rate
    return (10 ** (dbfs / 20) * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def noise(dbfs: float, seconds: float, seed: int = 0, rate: int = 16_000) -> Samples:
    generator = np.random.default_rng(seed)
    return (10 ** (dbfs / 20) * generator.standard_normal(round(rate * seconds))).astype(np.float32)


def wav(path: Path, *channels: Samples, rate: int = 16_000, subtype: str = "PCM_16") -> Path:
    soundfile.write(path, np.stack(channels, axis=1), rate, subtype=subtype)
    return path


@dataclass
class Audio:
    """One audio stream to mux. `shifts`: from this second of the samples on, timestamps are so many seconds later."""

    samples: Samples
    rate: int
    codec: str = "pcm_s16le"
    layout: str = "mono"
    shifts: Mapping[float, float] = field(default_factory=dict)
    lost: tuple[float, float] | None = None
    """Packets that start in this stretch are left out."""


def mux(
    path: Path, *streams: Audio, container: str | None = None, picture_seconds: float = 0.0, **options: str
) -> Path:
    """Encodes and interleaves the streams, with a small video stream of `picture_seconds` where that is not 0."""
    packets = []
    with av.open(str(path), "w", format=container, options=options) as file:
        video = None
        if picture_seconds:
            video = file.add_stream("mpeg4", rate=10)
            video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        tracks = [file.add_stream(audio.codec, rate=audio.rate, layout=audio.layout) for audio in streams]
        for audio, track in zip(streams, tracks, strict=True):
            packets += _encode(audio, track)
        if video is not None:
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            for number in range(round(picture_seconds * 10)):
                frame.pts = number
                packets += video.encode(frame)
            packets += video.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            file.mux(packet)
    return path


def _encode(audio: Audio, track: av.AudioStream) -> Sequence[av.Packet]:
    context = track.codec_context
    resampler = av.AudioResampler(format=context.format.name, layout=audio.layout, rate=audio.rate)
    packets = []
    step = audio.rate // 10
    for first in range(0, audio.samples.shape[1], step):
        part = np.ascontiguousarray(audio.samples[:, first : first + step].T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(part, format="flt", layout=audio.layout)
        frame.sample_rate = audio.rate
        frame.pts, frame.time_base = first, Fraction(1, audio.rate)
        for converted in resampler.resample(frame):
            packets += track.encode(converted)
    packets += track.encode(None)
    kept = []
    for packet in packets:
        second = float(packet.pts * packet.time_base)
        if audio.lost and audio.lost[0] <= second < audio.lost[1]:
            continue
        late = sum(later for start, later in audio.shifts.items() if second >= start - 1e-9)
        ticks = round(late / packet.time_base)
        packet.pts += ticks
        packet.dts += ticks
        kept.append(packet)
    return kept


def ogg_page(granule: int, serial: int, body: bytes, flags: int = 0) -> bytes:
    """A page with one packet; `flags` 2 begins a stream. Its checksum is 0."""
    table = bytes([255] * (len(body) // 255) + [len(body) % 255])
    return b"OggS\0" + struct.pack("<BqIIIB", flags, granule, serial, 0, 0, len(table)) + table + body


def onsets(samples: Samples, rate: int = 16_000) -> list[float]:
    """The seconds at which beeps begin."""
    loud = np.abs(samples) > 0.1
    positions = np.flatnonzero(loud)
    if not len(positions):
        return []
    starts = positions[np.concatenate([[True], np.diff(positions) > rate // 5])]
    return [float(position) / rate for position in starts]
