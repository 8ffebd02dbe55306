"""From the pieces of a file to one FLAC for each channel, in one streamed pass. Runs in the child process only.

Each audio stream is decoded by itself, put where its timestamps say (`timeline`), resampled to 16 kHz without mixing
channels, measured (`levels`) and written; a piece goes on where the one before it ended. What came of it is compared
with every length that the file states (`findings`). Nothing here decides what later stages do with the channels.
"""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from caseprep_pipelines.audio.findings import (
    LONG_BREAK_SECONDS,
    LONG_BREAK_SHARE,
    TOLERANCE,
    Heard,
    Kind,
    PieceHeard,
    cut_off,
    finding,
    of_lengths,
)
from caseprep_pipelines.audio.levels import SAMPLE_RATE, Levels, duplicates
from caseprep_pipelines.audio.media import UnfitError, declared_lengths, open_media, usable_streams
from caseprep_pipelines.audio.pieces import Piece
from caseprep_pipelines.audio.stated_lengths import mp4_tracks, stated_lengths
from caseprep_pipelines.audio.timeline import Patience, Timeline

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

#: Longer silence is written as it is; shorter one goes through the resampler with the sound around it.
_LONG_SILENCE = 1.0

#: Errors of the demuxer in a row, after which the rest of the file counts as unreadable.
_MAX_READ_ERRORS = 100

#: Planes of an FFmpeg frame for which it has room of its own.
_MOST_PLANES = 8

#: Bytes that belong to nothing are told from so many on: less is padding or a tag.
_MOST_LEFTOVER = 64_000

#: Containers without timestamps of their own: FFmpeg counts packets by the rate that it met first, so the samples are
#: the clock. (AVI's packets hold several blocks where FTR writes it.)
_UNSTAMPED = frozenset({"avi", "mp3", "aac", "ac3", "eac3", "dts", "amr", "amrnb", "amrwb", "gsm", "wav", "w64", "au"})

#: Largest magnitude of codecs that cannot express full scale; all others clip at 16-bit full scale.
_FULL_SCALE = {"pcm_mulaw": 32124, "pcm_alaw": 32256}


@dataclass
class _Total:
    """What the pieces come to."""

    packets: int = 0
    accepted: int = 0
    decoded: int = 0
    unread_bytes: int = 0
    cut: bool = False
    wild: int = 0


def decode(
    pieces: Sequence[Piece],
    folder: Path,
    max_seconds: float,
    report: Callable[[float], None],
    *,
    accept_truncated: bool = False,
) -> dict[str, Any]:
    """Writes `channel-NN.flac` files into `folder`; returns the fields of `NormalizedAudio` that are known here.

    `report` is given the seconds done. Raises `UnfitError`: too-long, truncated, corrupt, no-audio.
    """
    total = _Total()
    tracks: list[_Track] = []
    heard: list[PieceHeard] = []
    found: list[dict[str, Any]] = []
    decoders: list[_StreamDecoder] = []
    undecoded: set[int] = set()
    declared: list[float] = []
    refused: UnfitError | None = None
    elapsed = 0.0
    for piece in pieces:
        total.unread_bytes += piece.leftover if piece.leftover > _MOST_LEFTOVER else 0
        total.cut = total.cut or piece.cut
        try:
            container = open_media(piece.view)
            if not container.streams.audio and container.streams.video and container.duration:
                # pictures before the sound sets in: time passes
                elapsed += container.duration / 1_000_000
                container.close()
                continue
            if not usable_streams(container):
                raise UnfitError("no-audio", "no audio stream in it")
        except UnfitError as error:
            refused = refused or error
            total.unread_bytes += piece.view.size
            continue
        here, about = _decode_piece(container, piece, elapsed, tracks, folder, max_seconds, report, total)
        elapsed = max(elapsed, *(track.written / SAMPLE_RATE for track in tracks))
        decoders += here
        heard.append(about)
        found += of_lengths(about)
        found += _of_mp4(piece, container)
        usable = {stream.index for stream in usable_streams(container)}
        undecoded |= {stream.index for stream in container.streams.audio if stream.index not in usable}
        if container.duration and container.duration > 0:
            declared.append(container.duration / 1_000_000)
        total.decoded += 1
        container.close()
    if not heard:
        raise refused or UnfitError("corrupt", "no piece of it can be opened")
    if total.packets and total.accepted < total.packets / 2:
        raise UnfitError("corrupt", f"{total.packets - total.accepted} of {total.packets} packets cannot be decoded")
    cut = cut_off(heard)
    if cut is not None:
        by, stated, held = cut
        if not accept_truncated:
            raise UnfitError("truncated", f"states {stated:.1f} s and holds {held:.1f} s")
        found = [one for one in found if one["kind"] != Kind.SHORTER]
        found.insert(0, finding(Kind.TRUNCATED, by=by, stated=stated, held=held))
    samples = max((track.written for track in tracks), default=0)
    if samples < MIN_SAMPLES:
        raise UnfitError("no-audio", f"{samples} samples at {SAMPLE_RATE} Hz")
    told = any(one["kind"] in (Kind.TRUNCATED, Kind.SHORTER) for one in found)
    found += _of_decoding(decoders, total, len(undecoded), told=told)
    return _product(tracks, decoders, folder, samples, sum(declared) or None, sorted(undecoded), found)


def _decode_piece(
    container: "InputContainer",
    piece: Piece,
    base: float,
    tracks: "list[_Track]",
    folder: Path,
    max_seconds: float,
    report: Callable[[float], None],
    total: _Total,
) -> "tuple[list[_StreamDecoder], PieceHeard]":
    stated = [*piece.stated, *declared_lengths(container), *stated_lengths(piece.view, container.format.name)]
    promised = [length.seconds for length in stated if length.promised and length.seconds]
    # a timestamp may lie a little behind the stated end, never hours
    start = (container.start_time or 0) / 1_000_000
    horizon = min(max_seconds - base, max(promised) + 60.0) if promised else max_seconds - base
    decoders = {}
    for place, stream in enumerate(usable_streams(container)):
        if place == len(tracks):
            tracks.append(_Track(folder / f"track-{place:02d}"))
        decoders[stream.index] = _StreamDecoder(stream, tracks[place], base, start, horizon)
    pictures = {stream.index: _Picture(float(stream.time_base or 0), start) for stream in container.streams.video}
    reached = 0.0
    for packet in _packets(container):
        decoder = decoders.get(packet.stream_index)
        if decoder is not None:
            total.packets += packet.size > 0
            total.accepted += decoder.decode(packet)
            reached = max(reached, decoder.timeline.position)
        elif packet.pts is not None:
            reached = max(reached, min(pictures[packet.stream_index].shown(packet.pts), horizon))
        if base + reached > max_seconds:
            raise UnfitError("too-long", f"more than {max_seconds / 3600:.1f} h")
        report(base + reached)
    for decoder in decoders.values():
        decoder.finish()
        total.wild += decoder.patience.wild
    timelines = [decoder.timeline for decoder in decoders.values()]
    stamps = {
        stamp for d in decoders.values() if d.patience.wild or d.timeline.clock_resets for stamp in d.timeline.stamped
    }
    about = PieceHeard(
        streams=tuple(decoder.heard() for decoder in decoders.values()),
        start=max(0.0, start),
        picture=max((picture.end for picture in pictures.values()), default=0.0),
        stamps=tuple(sorted(stamps)),
        stated=tuple(stated),
    )
    if max((timeline.position for timeline in timelines), default=0.0) + base > max_seconds:
        raise UnfitError("too-long", f"more than {max_seconds / 3600:.1f} h")
    return list(decoders.values()), about


class _Picture:
    """How far the pictures go; a stamp that leaps is believed when a second one is near it."""

    def __init__(self, seconds_per_tick: float, start: float) -> None:
        self.end = 0.0
        self._tick = seconds_per_tick
        self._start = start
        self._leapt = 0.0

    def shown(self, pts: int) -> float:
        time = pts * self._tick - self._start
        if time <= self.end + _LONG_SILENCE * 10 or abs(time - self._leapt) <= _LONG_SILENCE * 10:
            self.end = max(self.end, time)
        self._leapt = time
        return self.end


def _of_mp4(piece: Piece, container: "InputContainer") -> list[dict[str, Any]]:
    """What an edit list leaves out, and fragments that begin later than the recorder did."""
    found: list[dict[str, Any]] = []
    if container.format.name.startswith("mov"):
        tracks = mp4_tracks(piece.view)
        hidden = max((t.media_seconds - t.played_seconds for t in tracks if t.played_seconds is not None), default=0.0)
        if hidden > TOLERANCE:
            found.append(finding(Kind.HIDDEN, seconds=hidden))
        late = min((track.begins for track in tracks), default=0.0)
        # clocks of live streams count from a day long ago
        if TOLERANCE < late < 86_400:
            found.append(finding(Kind.BEGINS_LATE, seconds=late))
    return found


def _of_decoding(
    decoders: "Sequence[_StreamDecoder]", total: _Total, undecoded: int, *, told: bool
) -> list[dict[str, Any]]:
    """What was lost on the way though the lengths are right; `told`: that they are not."""
    found: list[dict[str, Any]] = []
    if total.cut and not told:
        found.append(finding(Kind.CUT))
    if total.unread_bytes:
        found.append(finding(Kind.UNREAD_PART, count=total.unread_bytes))
    if undecoded:
        found.append(finding(Kind.UNDECODED_TRACK, count=undecoded))
    lost = max((decoder.lost + decoder.withheld() for decoder in decoders), default=0.0)
    if lost > TOLERANCE:
        found.append(finding(Kind.DAMAGED, seconds=lost))
    trimmed = max((decoder.timeline.trimmed for decoder in decoders), default=0.0)
    if trimmed > TOLERANCE:
        found.append(finding(Kind.OVERLAPPING, seconds=trimmed))
    if total.decoded > 1:
        found.append(finding(Kind.JOINED, count=total.decoded))
    paused = max((decoder.paused for decoder in decoders), default=0.0)
    length = max((decoder.timeline.position for decoder in decoders), default=0.0)
    if paused >= min(LONG_BREAK_SECONDS, LONG_BREAK_SHARE * length) and paused > 0:
        found.append(finding(Kind.LONG_BREAK, seconds=paused))
    resets = max((decoder.timeline.clock_resets for decoder in decoders), default=0)
    if resets:
        found.append(finding(Kind.NEW_CLOCK, count=resets))
    return found


def _product(
    tracks: "Sequence[_Track]",
    decoders: "Sequence[_StreamDecoder]",
    folder: Path,
    samples: int,
    declared: float | None,
    undecoded: list[int],
    found: list[dict[str, Any]],
) -> dict[str, Any]:
    channels: list[dict[str, Any]] = []
    for track in tracks:
        for number, channel in enumerate(track.channels):
            channel.close(samples)
            path = channel.path.rename(folder / f"channel-{len(channels):02d}.flac")
            channels.append(
                {
                    "index": len(channels),
                    "file": path.name,
                    "stream": track.stream,
                    "channel_in_stream": number,
                    "samples": samples,
                    "clipped_ratio": round(channel.clipped / max(1, channel.decoded), 9),
                    **channel.levels.result(),
                }
            )
    repeats = duplicates([folder / channel["file"] for channel in channels])
    for copy, first in repeats.items():
        channels[copy]["duplicate_of"] = first
    return {
        "duration_seconds": samples / SAMPLE_RATE,
        "container_duration_seconds": declared,
        "channels": channels,
        "gaps": sorted({gap for decoder in decoders for gap in decoder.gaps()}),
        "dual_mono": len(channels) > 1 and len(repeats) == len(channels) - 1,
        "damaged_packets": sum(decoder.damaged for decoder in decoders),
        "trimmed_seconds": round(sum(decoder.timeline.trimmed for decoder in decoders), 6),
        "clock_resets": sum(decoder.timeline.clock_resets for decoder in decoders),
        "undecoded_streams": undecoded,
        "findings": found,
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


class _Track:
    """What becomes of one audio stream, and of those of the same place in later pieces: its channels on the disk."""

    def __init__(self, path: Path) -> None:
        self.channels: list[_Channel] = []
        self.written = 0
        self.stream = 0
        """Index of the first piece's stream."""
        self._path = path

    def start(self, count: int) -> None:
        """More channels than before start as late as they appear, with silence in front."""
        while len(self.channels) < count:
            channel = _Channel(self._path.with_name(f"{self._path.name}-{len(self.channels):02d}.flac"))
            for silence in _zeros(self.written):
                channel.push(silence)
            self.channels.append(channel)

    def write(self, planes: NDArray[np.float32]) -> None:
        for channel, plane in zip(self.channels, planes, strict=False):
            channel.push(plane)
        for channel in self.channels[len(planes) :]:
            channel.push(np.zeros(planes.shape[1], np.float32))
        self.written += planes.shape[1]

    def fill(self, until: int) -> None:
        for silence in _zeros(until - self.written):
            self.write(np.broadcast_to(silence, (len(self.channels), len(silence))))


class _StreamDecoder:
    """One audio stream of one piece: decoded, placed in time, resampled and handed to its track.

    `base`: seconds of the recording at which the piece begins; `start`: the container's first timestamp.
    """

    def __init__(self, stream: "AudioStream", track: _Track, base: float, start: float, horizon: float) -> None:
        self.stream = stream
        self.timeline = Timeline(horizon)
        self.patience: Patience[AudioFrame | None] = Patience(self.timeline)
        self.damaged = 0
        self.lost = 0.0
        """Seconds of damaged packets."""
        self.paused = 0.0
        """Seconds of long breaks."""
        self._track = track
        self._base = base
        self._start = start
        self._run: _Run | None = None
        self._sound = self._packets = 0.0
        self._seconds_per_tick = float(stream.time_base or 0)
        self._stamped = stream.container.format.name not in _UNSTAMPED
        if not track.channels:
            track.stream = stream.index
        stream.codec_context.thread_count = 1

    def decode(self, packet: "Packet") -> bool:
        """Takes one packet; False where the decoder refused it."""
        import av

        self._packets += (packet.duration or 0) * self._seconds_per_tick
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
            self._decided(self.patience.take(None, None, (packet.duration or 0) * self._seconds_per_tick))
            return False
        return packet.size > 0

    def finish(self) -> None:
        self._decided(self.patience.end())
        self._end_run(self.timeline.position)

    def heard(self) -> Heard:
        return Heard(
            sound=self._sound + self.lost,
            span=self.timeline.position,
            trimmed=self.timeline.trimmed,
            lost=self.lost,
            packets=self._packets,
        )

    def withheld(self) -> float:
        """Seconds for which packets came and the decoder, without a word, gave nothing; 0 where it is not certain."""
        silent = self._packets - self._sound - self.lost - self.timeline.trimmed
        # raw AAC states half or twice its rate where it is of the efficient kind
        certain = self._stamped and self.stream.codec_context.name not in ("aac", "aac_latm")
        return silent if certain and silent > 0.1 * self._packets and silent > 2 else 0.0

    def gaps(self) -> list[tuple[float, float]]:
        return [(round(a + self._base, 6), round(b + self._base, 6)) for a, b in self.timeline.merged_gaps()]

    def _take(self, frame: "AudioFrame") -> None:
        time = frame.time
        if time is None and frame.dts is not None:
            time = frame.dts * self._seconds_per_tick
        if not self._stamped and self._sound > 0:
            time = None
        duration = frame.samples / frame.sample_rate if frame.sample_rate else 0.0
        self._sound += duration
        self._decided(self.patience.take(frame, None if time is None else time - self._start, duration))

    def _decided(self, frames: "Iterator[tuple[AudioFrame | None, float | None, float]]") -> None:
        for frame, time, duration in frames:
            if frame is None:
                self._lose(duration)
            else:
                self._put(frame, time, duration)

    def _put(self, frame: "AudioFrame", time: float | None, duration: float) -> None:
        before = self.timeline.position
        if self._run is not None and not self._run.accepts(frame):
            self._end_run(before)
        self._track.start(frame.layout.nb_channels)
        placement = self.timeline.place(time, duration)
        begins = before + placement.silence
        if placement.silence > _LONG_SILENCE:
            self._end_run(before)
            self._fill(begins)
            self.paused += placement.silence
        if self._run is None:
            # a stream that starts later than its piece, or a channel layout that is new, is brought up to its place
            self._fill(before)
            self._run = _Run(frame, begins if placement.silence > _LONG_SILENCE else before)
        run = self._run
        run.fill(begins)
        run.push(frame, round(placement.trim * run.rate))
        self._consume(run)

    def _lose(self, duration: float) -> None:
        before = self.timeline.position
        self.timeline.lose(duration)
        self.lost += duration
        if self._run is not None and duration <= _LONG_SILENCE:
            self._run.fill(self.timeline.position)
            self._consume(self._run)
            return
        if self._run is None:
            self._track.start(self.stream.codec_context.channels)
        self._end_run(before)
        self._fill(self.timeline.position)

    def _consume(self, run: "_Run") -> None:
        for frame in run.seconds():
            self._count_clipping(frame)
            for planes in run.resample(frame):
                self._track.write(planes)

    def _end_run(self, at: float) -> None:
        """Brings what was written to the sample where `at` seconds of the piece stand."""
        if self._run is not None:
            for frame in self._run.seconds(rest=True):
                self._count_clipping(frame)
                for planes in self._run.resample(frame):
                    self._track.write(planes)
            for planes in self._run.resample(None):
                self._track.write(planes[:, : max(0, self._due(at))])
            self._run = None
        self._fill(at)

    def _due(self, at: float) -> int:
        return round((self._base + at) * SAMPLE_RATE) - self._track.written

    def _fill(self, until: float) -> None:
        if self._track.channels:
            self._track.fill(round((self._base + until) * SAMPLE_RATE))

    def _count_clipping(self, frame: "AudioFrame") -> None:
        samples = frame.to_ndarray()
        if not frame.format.is_planar:
            samples = samples.reshape(frame.samples, -1).T
        low, high = _clipping_bounds(samples.dtype, self.stream.codec_context.name)
        for channel, plane in zip(self._track.channels, samples, strict=False):
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
