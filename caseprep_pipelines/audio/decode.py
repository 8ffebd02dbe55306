"""From an opened container to one FLAC for each channel, in one streamed pass. Runs in the child process only.

Each audio stream is decoded by itself, put where its timestamps say (`timeline`), resampled to 16 kHz without mixing
channels, measured (`levels`) and written. Nothing here decides what later stages do with the channels.
"""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from caseprep_pipelines.audio.levels import SAMPLE_RATE, Levels, duplicates
from caseprep_pipelines.audio.media import UnfitError, is_truncated, states_length, usable_streams
from caseprep_pipelines.audio.timeline import Timeline

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet as AnyPacket
    from av.stream import Stream

    Packet = AnyPacket[Stream]
    from caseprep_pipelines.audio.reading import Samples

#: Samples handed to measuring and encoding at once: four seconds.
BLOCK = 64_000

#: Shorter recordings hold no audio: 10 ms is one frame of every later stage, and nobody hears less.
MIN_SAMPLES = 160

#: Errors of the demuxer in a row, after which the rest of the file counts as unreadable.
_MAX_READ_ERRORS = 100

#: Planes of an FFmpeg frame for which it has room of its own.
_MOST_PLANES = 8

#: Largest magnitude of codecs that cannot express full scale; all others clip at 16-bit full scale.
_FULL_SCALE = {"pcm_mulaw": 32124, "pcm_alaw": 32256}


def decode(
    container: "InputContainer", folder: Path, max_seconds: float, report: Callable[[float], None]
) -> dict[str, Any]:
    """Writes `channel-NN.flac` files into `folder`; returns the fields of `NormalizedAudio` that are known here.

    `report` is given the seconds done. Raises `UnfitError`: too-long, truncated, corrupt, no-audio.
    """
    declared = container.duration / 1_000_000 if container.duration and container.duration > 0 else None
    stated = declared if states_length(container) else None
    # a timestamp may lie a little behind the stated end, never hours
    horizon = min(max_seconds, stated + 60.0) if stated else max_seconds
    streams = usable_streams(container)
    start = (container.start_time or 0) / 1_000_000
    decoders = {stream.index: _StreamDecoder(stream, start, horizon, folder) for stream in streams}
    ticks = {stream.index: float(stream.time_base or 0) for stream in container.streams.video}
    packets = accepted = 0
    reached = 0.0
    for packet in _packets(container):
        decoder = decoders.get(packet.stream_index)
        if decoder is not None:
            packets += packet.size > 0
            accepted += decoder.decode(packet)
            reached = max(reached, decoder.timeline.position)
        elif packet.pts is not None:
            reached = max(reached, min(packet.pts * ticks[packet.stream_index] - start, horizon))
        if reached > max_seconds:
            raise UnfitError("too-long", f"more than {max_seconds / 3600:.1f} h")
        report(reached)
    for decoder in decoders.values():
        decoder.finish()

    if packets and accepted < packets / 2:
        raise UnfitError("corrupt", f"{packets - accepted} of {packets} packets cannot be decoded")
    if stated and is_truncated(stated, reached):
        raise UnfitError("truncated", f"states {stated:.1f} s and holds {reached:.1f} s")
    samples = max(decoder.written for decoder in decoders.values())
    if samples < MIN_SAMPLES:
        raise UnfitError("no-audio", f"{samples} samples at {SAMPLE_RATE} Hz")
    return _product(container, decoders, folder, samples, declared)


def _product(
    container: "InputContainer",
    decoders: dict[int, "_StreamDecoder"],
    folder: Path,
    samples: int,
    declared: float | None,
) -> dict[str, Any]:
    channels: list[dict[str, Any]] = []
    for decoder in decoders.values():
        for number, channel in enumerate(decoder.channels):
            channel.close(samples)
            path = channel.path.rename(folder / f"channel-{len(channels):02d}.flac")
            channels.append(
                {
                    "index": len(channels),
                    "file": path.name,
                    "stream": decoder.stream.index,
                    "channel_in_stream": number,
                    "samples": samples,
                    "clipped_ratio": round(channel.clipped / max(1, channel.decoded), 9),
                    **channel.levels.result(),
                }
            )
    repeats = duplicates([folder / channel["file"] for channel in channels])
    for copy, first in repeats.items():
        channels[copy]["duplicate_of"] = first
    usable = set(decoders)
    return {
        "duration_seconds": samples / SAMPLE_RATE,
        "container_duration_seconds": declared,
        "channels": channels,
        "gaps": sorted({gap for decoder in decoders.values() for gap in decoder.timeline.merged_gaps()}),
        "dual_mono": len(channels) > 1 and len(repeats) == len(channels) - 1,
        "damaged_packets": sum(decoder.damaged for decoder in decoders.values()),
        "trimmed_seconds": round(sum(decoder.timeline.trimmed for decoder in decoders.values()), 6),
        "clock_resets": sum(decoder.timeline.clock_resets for decoder in decoders.values()),
        "undecoded_streams": [stream.index for stream in container.streams.audio if stream.index not in usable],
    }


class _Channel:
    """One channel on its way to disk: cut into blocks, measured, written."""

    def __init__(self, path: Path) -> None:
        import soundfile

        self.path = path
        self.levels = Levels()
        self.clipped = 0
        self.decoded = 0
        self._waiting: list[Samples] = []
        self._held = 0
        self._written = 0
        self._file = soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16", format="FLAC")

    @property
    def samples(self) -> int:
        return self._written + self._held

    def push(self, samples: "Samples") -> None:
        self._waiting.append(samples)
        self._held += len(samples)
        if self._held >= BLOCK:
            together = np.concatenate(self._waiting)
            whole = len(together) // BLOCK * BLOCK
            for first in range(0, whole, BLOCK):
                self._write(together[first : first + BLOCK])
            self._waiting, self._held = [together[whole:]], len(together) - whole

    def close(self, samples: int) -> None:
        """Fills up with silence to `samples` and makes sure that all of it is on the disk."""
        for silence in _zeros(samples - self.samples):
            self.push(silence)
        if self._held:
            self._write(np.concatenate(self._waiting))
        self._file.close()
        _verify(self.path, samples)

    def _write(self, block: "Samples") -> None:
        self.levels.add(block)
        # libsndfile's own conversion wraps or dithers by build; this one is the same everywhere
        self._file.write(np.clip(np.rint(block * 32768), -32768, 32767).astype(np.int16))
        self._written += len(block)
        self._held = 0


class _StreamDecoder:
    """One audio stream: decoded, placed in time, resampled and handed to its channels."""

    def __init__(self, stream: "AudioStream", start: float, horizon: float, folder: Path) -> None:
        self.stream = stream
        self.timeline = Timeline(horizon)
        self.damaged = 0
        self.channels: list[_Channel] = []
        self.written = 0
        self._folder = folder
        self._start = start
        self._run: _Run | None = None
        self._seconds_per_tick = float(stream.time_base or 0)
        # AVI carries no timestamps: FFmpeg counts packets, wrongly where packets hold several blocks (as FTR writes)
        self._stamped = stream.container.format.name != "avi"
        stream.codec_context.thread_count = 1

    def decode(self, packet: "Packet") -> bool:
        """Takes one packet; False where the decoder refused it."""
        import av

        try:
            for frame in packet.decode():
                self._take(cast("AudioFrame", frame))
        except MemoryError:
            raise
        except av.error.EOFError:
            return False
        except av.error.FFmpegError:
            if packet.size == 0:
                return False
            self.damaged += 1
            self._lose(packet)
            return False
        return packet.size > 0

    def finish(self) -> None:
        self._end_run()

    def _take(self, frame: "AudioFrame") -> None:
        run = self._run
        if run is None or not run.accepts(frame):
            self._end_run()
            run = self._run = _Run(frame, self.timeline.position)
            self._start_channels(run.channels)
        time = frame.time
        if time is None and frame.dts is not None:
            time = frame.dts * self._seconds_per_tick
        if not self._stamped and self.timeline.position > 0:
            time = None
        before = self.timeline.position
        placement = self.timeline.place(None if time is None else time - self._start, frame.samples / run.rate)
        run.fill(before + placement.silence)
        run.push(frame, round(placement.trim * run.rate))
        self._consume(run)

    def _lose(self, packet: "Packet") -> None:
        self.timeline.lose((packet.duration or 0) * self._seconds_per_tick)
        if self._run is None:
            self._start_channels(self.stream.codec_context.channels)
            self._fill_up()
        else:
            self._run.fill(self.timeline.position)
            self._consume(self._run)

    def _consume(self, run: "_Run") -> None:
        for frame in run.seconds():
            self._count_clipping(frame)
            for planes in run.resample(frame):
                self._write(planes)

    def _end_run(self) -> None:
        """Brings what was written to the sample where the timeline stands."""
        if self._run is not None:
            for frame in self._run.seconds(rest=True):
                self._count_clipping(frame)
                for planes in self._run.resample(frame):
                    self._write(planes)
            for planes in self._run.resample(None):
                self._write(planes[:, : max(0, self._due())])
            self._run = None
        self._fill_up()

    def _due(self) -> int:
        return round(self.timeline.position * SAMPLE_RATE) - self.written

    def _fill_up(self) -> None:
        for silence in _zeros(self._due()):
            self._write(np.broadcast_to(silence, (len(self.channels), len(silence))))

    def _write(self, planes: NDArray[np.float32]) -> None:
        for channel, plane in zip(self.channels, planes, strict=False):
            channel.push(plane)
        for channel in self.channels[len(planes) :]:
            channel.push(np.zeros(planes.shape[1], np.float32))
        self.written += planes.shape[1]

    def _start_channels(self, count: int) -> None:
        """More channels than before start as late as they appear, with silence in front."""
        while len(self.channels) < count:
            channel = _Channel(self._folder / f"stream-{self.stream.index:02d}-{len(self.channels):02d}.flac")
            for silence in _zeros(self.written):
                channel.push(silence)
            self.channels.append(channel)

    def _count_clipping(self, frame: "AudioFrame") -> None:
        samples = frame.to_ndarray()
        if not frame.format.is_planar:
            samples = samples.reshape(frame.samples, -1).T
        low, high = _clipping_bounds(samples.dtype, self.stream.codec_context.name)
        for channel, plane in zip(self.channels, samples, strict=False):
            channel.decoded += len(plane)
            if plane.max() >= high or plane.min() <= low:
                channel.clipped += int(np.count_nonzero((plane >= high) | (plane <= low)))


class _Run:
    """Decoded frames of one rate, format and layout, gathered to whole seconds and resampled.

    `start`: seconds of the timeline at which it begins. Planar frames of eight channels or more are interleaved first:
    PyAV looks for the end of the planes behind the eight that a frame has room for, and crashes.
    """

    def __init__(self, first: "AudioFrame", start: float) -> None:
        from av.audio.fifo import AudioFifo
        from av.audio.resampler import AudioResampler

        self.rate = first.sample_rate
        self.channels = first.layout.nb_channels
        self._given = first.format.name
        self._layout = first.layout.name
        self._packer = None
        if self.channels >= _MOST_PLANES and first.format.is_planar:
            self._packer = AudioResampler(format=first.format.packed, layout=self._layout, rate=self.rate)
        self._format = first.format.packed.name if self._packer else self._given
        self._start = start
        self._samples = 0
        self._fifo = AudioFifo()
        self._resampler = AudioResampler(format="flt", layout=self._layout, rate=SAMPLE_RATE)

    def accepts(self, frame: "AudioFrame") -> bool:
        return frame.sample_rate == self.rate and frame.layout.name == self._layout and frame.format.name == self._given

    def fill(self, until: float) -> None:
        """Adds silence up to `until` seconds of the timeline."""
        missing = round((until - self._start) * self.rate) - self._samples
        # a sample more or less is rounding, not silence
        while missing > 1:
            length = min(missing, self.rate)
            self._add(self._silence(length))
            missing -= length

    def push(self, frame: "AudioFrame", skip: int) -> None:
        """Adds the frame without its first `skip` samples."""
        from av.audio.fifo import AudioFifo

        frame.pts = None
        if skip:
            fifo = AudioFifo()
            fifo.write(frame)
            fifo.read(skip, partial=True)
            rest = fifo.read()
            if rest is None:
                return
            frame = rest
        for packed in self._packer.resample(frame) if self._packer else [frame]:
            self._add(packed)

    def seconds(self, rest: bool = False) -> Iterator["AudioFrame"]:
        """What has gathered, in pieces of one second; with `rest` also the last, shorter one."""
        while frame := self._fifo.read(self.rate, partial=rest):
            yield frame

    def resample(self, frame: "AudioFrame | None") -> Iterator[NDArray[np.float32]]:
        """At 16 kHz, shape `(channels, samples)`; None ends it."""
        if frame is not None:
            frame.pts = None
        for resampled in self._resampler.resample(frame):
            yield cast("NDArray[np.float32]", resampled.to_ndarray()).reshape(-1, self.channels).T

    def _add(self, frame: "AudioFrame") -> None:
        frame.pts = None
        self._samples += frame.samples
        self._fifo.write(frame)

    def _silence(self, samples: int) -> "AudioFrame":
        import av

        frame = av.AudioFrame(format=self._format, layout=self._layout, samples=samples)
        frame.sample_rate = self.rate
        level = b"\x80" if self._format.startswith("u8") else b"\x00"
        for plane in frame.planes:
            plane.update(level * plane.buffer_size)
        return frame


def _packets(container: "InputContainer") -> Iterator["Packet"]:
    """All packets of audio and video; damage in the file is stepped over where the demuxer finds its way."""
    import av
    from av.stream import Discard

    wanted = [*usable_streams(container), *container.streams.video]
    if container.format.name.startswith("mov"):
        # MP4 states each track's own length and can skip what is not read; elsewhere pictures tell how far a file goes
        for stream in container.streams.video:
            stream.discard = Discard.all
        wanted = list(usable_streams(container))
    errors = 0
    while errors < _MAX_READ_ERRORS:
        try:
            for packet in container.demux(wanted):
                errors = 0
                yield packet
            return
        except MemoryError:
            raise
        except (av.error.FFmpegError, OSError):
            errors += 1


def _clipping_bounds(kind: np.dtype[Any], codec: str) -> tuple[float, float]:
    if kind == np.uint8:
        return 1, 255
    if kind.kind == "f":
        return -32767 / 32768, 32767 / 32768
    high = _FULL_SCALE.get(codec, 32767) << (8 * kind.itemsize - 16)
    return -high, high


def _zeros(samples: int) -> Iterator["Samples"]:
    while samples > 0:
        length = min(samples, BLOCK)
        yield np.zeros(length, np.float32)
        samples -= length


def _verify(path: Path, samples: int) -> None:
    """libsndfile does not report a full disk on close, so the last samples are read back."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            file.seek(max(0, samples - BLOCK))
            complete = file.frames == samples and len(file.read(dtype="int16")) == min(samples, BLOCK)
    except soundfile.LibsndfileError:
        complete = False
    if not complete:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
