"""Samples and pictures into the media files of the demo, through PyAV's own FFmpeg: the same bytes at every run.

Knows containers and codecs; what is said in the recordings is `recordings`' business.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from numpy.typing import NDArray

#: Without this, containers carry random identifiers and the version of the encoder.
_SAME_BYTES = {"fflags": "+bitexact"}


def write_audio(
    path: Path,
    samples: NDArray[np.float32],
    rate: int,
    codec: str,
    bit_rate: int = 0,
    options: dict[str, str] | None = None,
) -> None:
    """(channels, samples) at `rate` Hz into the container that the file name's ending says."""
    with av.open(path, "w", options=_SAME_BYTES) as container:
        stream = _audio_stream(container, samples, rate, codec, bit_rate, options or {})
        _encode(container, stream, samples, rate)


def write_video(path: Path, samples: NDArray[np.float32] | None, seconds: float, rate: int = 16_000) -> None:
    """A tiny H.264 picture, a bar that moves once a second, with AAC sound, or with no sound track at all."""
    pictures_a_second, width, height = 5, 160, 120
    with av.open(path, "w", options=_SAME_BYTES) as container:
        steady = {"preset": "veryslow", "crf": "35", "threads": "1", "x264-params": "lookahead-threads=1"}
        picture = container.add_stream("libx264", rate=pictures_a_second, options=steady)
        picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
        picture.codec_context.flags |= av.codec.context.Flags.bitexact
        sound = None if samples is None else _audio_stream(container, samples, rate, "aac", 40_000, {})
        for index in range(round(seconds * pictures_a_second)):
            image = np.full(
                (height * 3 // 2, width), 128, dtype=np.uint8
            )  # grey: brightness, then two planes of colour
            left = (index // pictures_a_second * 8) % (width - 16)
            image[:height] = 50
            image[48:72, left : left + 16] = 200
            frame = av.VideoFrame.from_ndarray(image, format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, pictures_a_second)
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        if sound is not None and samples is not None:
            _encode(container, sound, samples, rate)


def _audio_stream(
    container: OutputContainer,
    samples: NDArray[np.float32],
    rate: int,
    codec: str,
    bit_rate: int,
    options: dict[str, str],
) -> AudioStream:
    layout = {1: "mono", 2: "stereo", 4: "quad"}[len(samples)]
    stream = container.add_stream(codec, rate=rate, layout=layout, options=options)
    assert isinstance(stream, AudioStream)
    if bit_rate:
        stream.bit_rate = bit_rate
    stream.codec_context.flags |= av.codec.context.Flags.bitexact
    return stream


def _encode(container: OutputContainer, stream: AudioStream, samples: NDArray[np.float32], rate: int) -> None:
    wanted = stream.codec_context.format.name
    whole = np.round(np.clip(samples, -1, 1) * 32_767).astype(np.int16)
    resampler = av.AudioResampler(format=wanted, layout=stream.codec_context.layout, rate=rate)
    fifo = av.AudioFifo()
    block = stream.codec_context.frame_size or 1_024
    for first in range(0, whole.shape[1], 4_096):
        part = np.ascontiguousarray(whole[:, first : first + 4_096].T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(part, format="s16", layout=stream.codec_context.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
        for ready in resampler.resample(frame):
            fifo.write(ready)
        for full in fifo.read_many(block):
            container.mux(stream.encode(full))
    rest = fifo.read(0, partial=True)
    if rest is not None:
        container.mux(stream.encode(rest))
    container.mux(stream.encode(None))
