"""Recordings in which a channel is a speaker: how they are told from others, and who spoke when in them.

Every microphone of a courtroom hears everybody a little. What a channel only carries because somebody is loud on
another is bleed: no turn of that channel's speaker, but kept in the product. Levels and speech maps in, turns out; no
model, and no audio beyond the power of its frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from caseprep_pipelines.speech.documents import Span, Turn
from caseprep_pipelines.speech.voice_activity import FRAME_SECONDS, Frames, mask, span_frames, to_spans

BLEED_DB = 6.0
"""A channel with speech carries bleed while another with speech is louder by so much."""
LEVEL_SECONDS = 0.5
"""Levels are compared over so long: words have gaps, and rooms answer late."""
MIN_BLEED_SECONDS = 0.3
"""Shorter changes between speech and bleed are not followed."""
MAX_CONTESTED_RATIO = 0.25
"""Where on more of the speech two channels are equally loud, they hear one room."""
MIN_OWN_SECONDS, MIN_OWN_RATIO = 1.0, 0.02
"""How much speech a channel must carry loudest to have a speaker of its own: the longer of the two."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class ChannelSpeech:
    """One channel as this module sees it."""

    index: int
    speech: tuple[Span, ...]
    powers: Frames
    """Mean square of each frame, shape `(frames,)`."""


def channels_are_speakers(channels: Sequence[ChannelSpeech]) -> bool:
    """Whether each channel is a speaker.

    So it is where at least two channels carry speech that is loudest there (`MIN_OWN_SECONDS` and `MIN_OWN_RATIO` of
    all speech), and on at most `MAX_CONTESTED_RATIO` of all speech two channels carry it less than `BLEED_DB` apart.
    One room on two microphones fails the second; one speaker bleeding into an empty chair's microphone, the first.
    Levels are taken as they are: a microphone that is far more sensitive than the others makes this answer no.
    """
    if len(channels) < 2:
        return False
    speech, levels = _stacked(channels)
    loudness = np.where(speech, levels, -np.inf)
    anybody = speech.any(axis=0)
    total = int(anybody.sum())
    if not total:
        return False
    ordered = np.sort(loudness, axis=0)
    # -inf where at most one channel speaks
    second = np.where(np.isfinite(ordered[-2]), ordered[-2], -1e9)
    contested = anybody & (ordered[-1] - second < BLEED_DB)
    loudest = np.argmax(loudness, axis=0)
    enough = max(MIN_OWN_SECONDS / FRAME_SECONDS, MIN_OWN_RATIO * total)
    owners = [at for at in range(len(channels)) if ((loudest == at) & anybody).sum() >= enough]
    return len(owners) > 1 and bool(contested.sum() <= MAX_CONTESTED_RATIO * total)


def channel_turns(channels: Sequence[ChannelSpeech], seconds: float) -> tuple[tuple[Turn, ...], tuple[Turn, ...]]:
    """`(turns, bleed)` of a recording whose channels are speakers, in order of time.

    The two together are the channels' speech maps. Labels go to the channels with turns, in order of channels; a
    channel with nothing but bleed has no speaker, and its bleed is labelled for the loudest channel at the time.
    """
    speech, levels = _stacked(channels)
    loudness = np.where(speech, levels, -np.inf)
    loudest = np.argmax(loudness, axis=0)
    own: list[list[tuple[int, int]]] = []
    bleeding: list[list[tuple[int, int]]] = []
    for at, channel in enumerate(channels):
        bled = speech[at] & (loudness.max(axis=0) - levels[at] >= BLEED_DB)
        stretches = [part for stretch in span_frames(channel.speech) for part in _parts(stretch, bled)]
        own.append([stretch for stretch, bleeds in stretches if not bleeds])
        bleeding.append([stretch for stretch, bleeds in stretches if bleeds])
    speakers = {at: f"SPEAKER_{number:02d}" for number, at in enumerate(at for at, parts in enumerate(own) if parts)}

    def turns(at: int, stretches: Sequence[tuple[int, int]], labels: Sequence[str]) -> list[Turn]:
        return [
            Turn(speaker=label, channel=channels[at].index, start=span.start, end=span.end)
            for span, label in zip(to_spans(stretches, seconds), labels, strict=True)
        ]

    spoken = [turn for at, parts in enumerate(own) for turn in turns(at, parts, [speakers.get(at, "")] * len(parts))]
    bled_turns = [
        turn
        for at, parts in enumerate(bleeding)
        for turn in turns(at, parts, [speakers.get(_most(loudest[a:b]), "SPEAKER_00") for a, b in parts])
    ]
    return _in_order(spoken), _in_order(bled_turns)


def _stacked(channels: Sequence[ChannelSpeech]) -> tuple[Mask, NDArray[np.float64]]:
    """Speech and smoothed level in dB, both of shape `(channels, frames)`."""
    frames = max(len(channel.powers) for channel in channels)
    speech = np.stack([mask(span_frames(channel.speech), frames) for channel in channels])
    width = round(LEVEL_SECONDS / FRAME_SECONDS) | 1
    smooth = np.ones(width) / width
    levels = np.stack(
        [
            np.convolve(np.pad(channel.powers, (0, frames - len(channel.powers))), smooth, mode="same")[:frames]
            for channel in channels
        ]
    )
    return speech, 10 * np.log10(np.maximum(levels, 1e-12))


def _parts(stretch: tuple[int, int], bled: Mask) -> list[tuple[tuple[int, int], bool]]:
    """A stretch of speech cut where it turns into bleed or back; short parts go to the longer part beside them."""
    start, end = stretch
    edges = [start, *(start + 1 + np.flatnonzero(np.diff(bled[start:end]))).tolist(), end]
    parts = [((a, b), bool(bled[a])) for a, b in pairwise(edges)]
    least = MIN_BLEED_SECONDS / FRAME_SECONDS
    while len(parts) > 1:
        shortest = min(range(len(parts)), key=lambda at: parts[at][0][1] - parts[at][0][0])
        (a, b), bleeds = parts[shortest]
        if b - a >= least:
            break
        parts[shortest] = ((a, b), not bleeds)
        parts = _fused(parts)
    return parts


def _fused(parts: Sequence[tuple[tuple[int, int], bool]]) -> list[tuple[tuple[int, int], bool]]:
    fused: list[tuple[tuple[int, int], bool]] = []
    for (a, b), bleeds in parts:
        if fused and fused[-1][1] == bleeds:
            fused[-1] = ((fused[-1][0][0], b), bleeds)
        else:
            fused.append(((a, b), bleeds))
    return fused


def _most(values: NDArray[np.intp]) -> int:
    return int(np.argmax(np.bincount(values)))


def _in_order(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    return tuple(sorted(turns, key=lambda turn: (turn.start, turn.end, turn.channel)))
