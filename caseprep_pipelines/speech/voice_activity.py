"""Where somebody speaks on a channel, how far the speech stands over the noise, and the clips that are recognised.

The detector is the Silero model that faster-whisper ships. What is made of its probabilities is decided here and not
by faster-whisper: its own segmentation truncates speech beyond a clip's length, or splices what does not belong
together. What the recogniser makes of a clip belongs in `whisper`, what is suspicious about it in `flags`.

Everything counts in frames of 32 ms, the detector's own. A channel is read once, in blocks; the detector's state is
carried from block to block, so the edges of the blocks leave no trace and memory does not grow with the recording,
but for eight bytes for each frame.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caseprep_pipelines.audio.reading import SAMPLE_RATE, Samples, blocks
from caseprep_pipelines.speech.documents import Span
from caseprep_pipelines.speech.engines import keep_private

FRAME_SAMPLES = 512
FRAME_SECONDS = FRAME_SAMPLES / SAMPLE_RATE

SPEECH_THRESHOLD = 0.35
"""Probability from which a frame is speech. Below Silero's usual 0.5: a clip too many costs a flag, one too few costs
testimony."""
SILENCE_THRESHOLD = 0.2
"""Probability below which speech ends; between the two, what was goes on."""
FAINT_THRESHOLD, FAINT_SILENCE_THRESHOLD = 0.15, 0.1
"""The same for what is only listened to: people far from the microphone hardly reach more. Clips hold it, for a word
there is testimony; but where no words come back, nobody is told, for noise reaches it too."""
FAINT_SECONDS = 0.25
"""What is faint throughout is listened to from here."""
MIN_SILENCE_SECONDS = 0.16
"""Shorter silences do not part two stretches of speech."""
SPEECH_PAD_SECONDS = 0.4
"""What a clip keeps on either side of its speech: the detector is late at soft openings."""
MAX_PAUSE_SHARE = 1 / 3
"""A silence longer than this share of what a clip may hold is never inside one: recognisers invent words where there is
little speech. A much smaller share would cost more clips, and each costs the encoder as much as a full one. What is in
a clip is the recording as it is: clips are never put together from stretches that lie apart."""

SHORT_SECONDS, SHORT_PAUSE_SECONDS = 1.5, 0.3
"""Stretches are put together where one is shorter and the pause between them too: of a second of speech nobody can
tell the language."""

_BLOCK_FRAMES = 10_000
"""320 s: as many frames as faster-whisper gives the detector at once, hence the same sums."""
_CONTEXT_SAMPLES = 64

Frames = NDArray[np.float32]


@dataclass(frozen=True)
class VoiceActivity:
    """What the detector heard on one channel, frame by frame."""

    seconds: float
    probabilities: Frames
    """Shape `(frames,)`: probability of speech."""
    powers: Frames
    """Shape `(frames,)`: mean square of the samples, full scale being 1."""
    witnessed: tuple[Span, ...] = ()
    """Where a second detector heard speech and this one did not."""

    @property
    def speech(self) -> tuple[Span, ...]:
        """The speech map, of both detectors: in order, apart from each other, without padding."""
        return to_spans(self._speech_frames, self.seconds)

    @property
    def detected(self) -> tuple[Span, ...]:
        """What of the speech map this detector heard by itself."""
        return to_spans(speech_frames(self.probabilities), self.seconds)

    @property
    def unheard(self) -> tuple[Span, ...]:
        """Where this detector heard nothing: everything else, in order."""
        edges = [0.0, *(at for span in self.speech for at in (span.start, span.end)), self.seconds]
        return tuple(Span(start=a, end=b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b > a)

    @cached_property
    def _speech_frames(self) -> list[tuple[int, int]]:
        return joined([*speech_frames(self.probabilities), *span_frames(self.witnessed)])

    @cached_property
    def _listened(self) -> list[tuple[int, int]]:
        """All that clips hold: the speech map, and what is faint."""
        faint = speech_frames(self.probabilities, FAINT_THRESHOLD, FAINT_SILENCE_THRESHOLD)
        heard = self._speech_frames
        least = _frames(FAINT_SECONDS)
        known = mask(heard, len(self.probabilities))
        return joined([*heard, *(s for s in faint if s[1] - s[0] >= least or known[s[0] : s[1]].any())])

    @property
    def speech_ratio(self) -> float:
        """Share of the recording that is speech, 0 to 1."""
        total = sum(span.end - span.start for span in self.speech)
        return round(min(1.0, total / self.seconds), 6) if self.seconds else 0.0

    @property
    def snr_db(self) -> float | None:
        """Power of the speech alone over the power where nobody speaks, in dB.

        Frames closer to speech than its padding count as neither. None where there is no speech, no silence, or
        digital silence. Speech no louder than the noise is -30 dB.
        """
        frames = self._speech_frames
        speech = mask(frames, len(self.powers))
        pad = _frames(SPEECH_PAD_SECONDS)
        near = mask([(start - pad, end + pad) for start, end in frames], len(self.powers))
        if not speech.any() or near.all():
            return None
        noise = float(self.powers[~near].mean(dtype=np.float64))
        if noise <= 0.0:
            return None
        voice = float(self.powers[speech].mean(dtype=np.float64)) - noise
        return round(float(10 * np.log10(max(voice, noise * 1e-3) / noise)), 2)

    def clips(self, clip_seconds: float, bleed: Sequence[Span] = (), edges: Sequence[float] = ()) -> tuple[Span, ...]:
        """What is handed to the recogniser: see `clip_frames`. No clip reaches into `bleed`, parts of the speech map
        that are another channel's, or over one of the `edges`, where a language ends."""
        frames = len(self.probabilities)
        barriers = [
            (0, 0),
            *sorted([*span_frames(bleed), *((_frames(edge), _frames(edge)) for edge in edges)]),
            (frames, frames),
        ]
        found = self._between(barriers, clip_seconds)
        if bleed:
            # what is faint right beside another channel's speech is where that begins or ends, and comes out as "you"
            own = mask(self._speech_frames, frames) & ~mask(span_frames(bleed), frames)
            at = {frame for edges in span_frames(bleed) for frame in edges}
            found = [(a, b) for a, b in found if own[a:b].any() or not at & {a, b}]
        return to_spans(found, self.seconds)

    def parts(self, span: Span, clip_seconds: float) -> tuple[Span, ...]:
        """The same for a stretch alone."""
        ((first, last),) = span_frames([span])
        frames = len(self.probabilities)
        found = self._between([(0, first), (last, frames)], clip_seconds)
        return tuple(part for part in to_spans(found, self.seconds) if part.end > part.start)

    def _between(self, barriers: Sequence[tuple[int, int]], clip_seconds: float) -> list[tuple[int, int]]:
        limit = int(clip_seconds * SAMPLE_RATE) // FRAME_SAMPLES
        speech = self._listened
        clips: list[tuple[int, int]] = []
        for (_, first), (last, _) in pairwise(barriers):
            between = [(max(start, first), min(end, last)) for start, end in speech if start < last and end > first]
            found = clip_frames(between, self.probabilities, limit)
            clips.extend((max(start, first), min(end, last)) for start, end in found)
        return clips

    def stretches(self, longest_seconds: float) -> tuple[Span, ...]:
        """The speech between pauses, no stretch longer than given and few shorter than `SHORT_SECONDS`."""
        limit = int(longest_seconds * SAMPLE_RATE) // FRAME_SAMPLES
        speech = self._listened
        pieces = [
            part
            for piece in _padded(speech, len(self.probabilities))
            for part in _cut(piece, self.probabilities, limit)
        ]
        found: list[tuple[int, int]] = []
        pause = _frames(MIN_SILENCE_SECONDS)
        for piece in pieces:
            if (
                found
                and piece.end - found[-1][0] <= limit
                and pause < _frames(SHORT_PAUSE_SECONDS)
                and min(found[-1][1] - found[-1][0], piece.end - piece.start) < _frames(SHORT_SECONDS)
            ):
                found[-1] = (found[-1][0], piece.end)
            else:
                found.append((piece.start, piece.end))
            pause = piece.silence_after
        return to_spans(found, self.seconds)

    def power(self, span: Span) -> float:
        """Mean square of the speech in it."""
        ((first, last),) = span_frames([span])
        return float(self.powers[first:last].mean(dtype=np.float64)) if last > first else 0.0


def detect(path: Path) -> VoiceActivity:
    """Reads one 16 kHz channel once and says frame by frame how likely it is speech. About 1,000 times real time on
    one core."""
    probabilities: list[Frames] = []
    powers: list[Frames] = []
    samples = 0

    def read() -> Iterator[Samples]:
        nonlocal samples
        for block in blocks(path, _BLOCK_FRAMES * FRAME_SECONDS):
            samples += len(block)
            powers.append(frame_powers(block))
            yield block

    for part in speech_probabilities(read()):
        probabilities.append(part)
    return VoiceActivity(samples / SAMPLE_RATE, _joined(probabilities), _joined(powers))


def speech_probabilities(pieces: Iterable[Samples]) -> Iterator[Frames]:
    """The detector's probabilities for consecutive pieces of one channel, each but the last a number of whole frames.

    Bit for bit what `faster_whisper.vad.get_vad_model()` returns for the whole channel, which has no way to be called
    piece by piece: so the network behind it is run here, with its state and the 64 samples before each frame carried
    over.
    """
    keep_private()
    from faster_whisper.vad import get_vad_model

    network: Any = get_vad_model().session
    h = c = np.zeros((1, 1, 128), dtype=np.float32)
    before = np.zeros((1, _CONTEXT_SAMPLES), dtype=np.float32)
    for piece in pieces:
        if not len(piece):
            continue
        frames = _framed(piece)
        tails = frames[:, -_CONTEXT_SAMPLES:]
        heard = np.concatenate([np.concatenate([before, tails[:-1]]), frames], axis=1)
        before = tails[-1:]
        output, h, c = network.run(None, {"input": heard, "h": h, "c": c})
        yield output.reshape(-1)


def frame_powers(samples: Samples) -> Frames:
    """Mean square of each frame, shape `(frames,)`; the last frame is filled up with silence."""
    powers: Frames = np.square(_framed(samples)).mean(axis=1, dtype=np.float32)
    return powers


def speech_frames(
    probabilities: Frames, speech: float = SPEECH_THRESHOLD, silence: float = SILENCE_THRESHOLD
) -> list[tuple[int, int]]:
    """The stretches of speech as `(first frame, frame after the last)`, by Silero's own rule.

    Speech begins at the threshold of speech, goes on above that of silence, and ends where nothing reaches the former
    again within `MIN_SILENCE_SECONDS`. No stretch is too short to count.
    """
    decided = (probabilities >= speech) | (probabilities < silence)
    latest = np.maximum.accumulate(np.where(decided, np.arange(len(probabilities)), -1))
    speaking = (latest >= 0) & (probabilities[np.maximum(latest, 0)] >= speech)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], speaking, [False]]).astype(np.int8)))
    stretches: list[tuple[int, int]] = []
    for start, end in edges.reshape(-1, 2).tolist():
        if stretches and start - stretches[-1][1] < _frames(MIN_SILENCE_SECONDS):
            stretches[-1] = (stretches[-1][0], end)
        else:
            stretches.append((start, end))
    return stretches


@dataclass(frozen=True)
class _Piece:
    """A stretch of speech with its padding, or a part of one that was too long."""

    start: int
    end: int
    silence_after: int
    """Frames without speech between this piece and the next."""


def clip_frames(speech: Sequence[tuple[int, int]], probabilities: Frames, limit: int) -> list[tuple[int, int]]:
    """Clips of at most `limit` frames that hold all speech, in order and apart from each other.

    Every stretch of speech is padded on both sides, up to the middle of the silence between two. A stretch that is
    longer than a clip is cut where speech is least likely in the second half of what a clip can hold. Neighbours
    share a clip while they fit and no pause is longer than `MAX_PAUSE_SHARE` of it. Where a clip is full, it ends in
    its last third at a silence after which the rest needs the fewest clips, for Whisper takes as long for a short one
    as for a full one; at the longest of those.
    """
    pieces = [part for piece in _padded(speech, len(probabilities)) for part in _cut(piece, probabilities, limit)]
    clips: list[tuple[int, int]] = []
    fewest = _fewest_clips(pieces, limit)
    first = 0
    while first < len(pieces):
        last = _last_in_clip(pieces, first, limit, fewest)
        clips.append((pieces[first].start, pieces[last].end))
        first = last + 1
    return clips


def to_spans(frames: Iterable[tuple[int, int]], seconds: float) -> tuple[Span, ...]:
    """Frames as seconds, to the millisecond (a frame is 32 of them); the last frame ends with the recording."""
    return tuple(
        Span(start=round(start * FRAME_SECONDS, 3), end=min(round(end * FRAME_SECONDS, 3), seconds))
        for start, end in frames
    )


def joined(stretches: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same frames in order, what touches or is parted by less than `MIN_SILENCE_SECONDS` as one stretch."""
    together: list[tuple[int, int]] = []
    for start, end in sorted(stretches):
        if together and start - together[-1][1] < _frames(MIN_SILENCE_SECONDS):
            together[-1] = (together[-1][0], max(end, together[-1][1]))
        else:
            together.append((start, end))
    return together


def mask(stretches: Iterable[tuple[int, int]], frames: int) -> NDArray[np.bool_]:
    """Shape `(frames,)`: whether any of the stretches holds the frame."""
    held = np.zeros(frames, dtype=np.bool_)
    for start, end in stretches:
        held[max(0, start) : max(0, end)] = True
    return held


def span_frames(spans: Iterable[Span]) -> list[tuple[int, int]]:
    """The frames of spans that `to_spans` made."""
    return [(round(span.start / FRAME_SECONDS), int(np.ceil(round(span.end / FRAME_SECONDS, 6)))) for span in spans]


def _padded(speech: Sequence[tuple[int, int]], frames: int) -> list[_Piece]:
    if not speech:
        return []
    pad = _frames(SPEECH_PAD_SECONDS)
    middles = [(before[1] + after[0]) // 2 for before, after in pairwise(speech)]
    floors, ceilings = [0, *middles], [*middles, frames]
    silences = [after[0] - before[1] for before, after in pairwise(speech)]
    return [
        _Piece(max(start - pad, floor), min(end + pad, ceiling), silence)
        for (start, end), floor, ceiling, silence in zip(speech, floors, ceilings, [*silences, 0], strict=True)
    ]


def _cut(piece: _Piece, probabilities: Frames, limit: int) -> Iterator[_Piece]:
    while piece.end - piece.start > limit:
        first, last = piece.start + limit // 2, piece.start + limit
        # the mean over three frames, so that one odd frame in a vowel is no silence; of equals the latest
        around = np.convolve(probabilities[first - 1 : last + 1], np.ones(3), mode="valid")
        at = last - 1 - int(np.argmin(around[::-1]))
        at = max(at, piece.start + 1)
        yield _Piece(piece.start, at, 0)
        piece = _Piece(at, piece.end, piece.silence_after)
    yield piece


def _fewest_clips(pieces: Sequence[_Piece], limit: int) -> list[int]:
    """How many clips the pieces from each place on need at least."""
    fewest = [0] * (len(pieces) + 1)
    for first in reversed(range(len(pieces))):
        fewest[first] = 1 + fewest[_furthest(pieces, first, limit) + 1]
    return fewest


def _furthest(pieces: Sequence[_Piece], first: int, limit: int) -> int:
    """The last piece that can share a clip with the first."""
    last = first
    while (
        last + 1 < len(pieces)
        and pieces[last + 1].end - pieces[first].start <= limit
        and not _parts(pieces[last], limit)
    ):
        last += 1
    return last


def _parts(piece: _Piece, limit: int) -> bool:
    return piece.silence_after > limit * MAX_PAUSE_SHARE


def _last_in_clip(pieces: Sequence[_Piece], first: int, limit: int, fewest: Sequence[int]) -> int:
    furthest = _furthest(pieces, first, limit)
    if furthest + 1 == len(pieces) or _parts(pieces[furthest], limit):
        return furthest
    start = pieces[first].start
    late = [at for at in range(first, furthest + 1) if 3 * (pieces[at].end - start) >= 2 * limit] or [furthest]
    # where a long stretch had to be cut there is no silence: only where there is none else
    return max(late, key=lambda at: (pieces[at].silence_after > 0, -fewest[at + 1], pieces[at].silence_after, at))


def _framed(samples: Samples) -> Samples:
    missing = -len(samples) % FRAME_SAMPLES
    return np.pad(samples, (0, missing)).reshape(-1, FRAME_SAMPLES)


def _joined(parts: list[Frames]) -> Frames:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)


def _frames(seconds: float) -> int:
    return round(seconds / FRAME_SECONDS)
