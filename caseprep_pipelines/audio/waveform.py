"""A picture of a recording: each channel's waveform with speech, speakers and flagged spans drawn in.

It may be shown where transcripts may not, so it carries no words and no names: speakers are numbered by first speaking.
Times are seconds. Pillow draws it in a few milliseconds, which matters where there are tens of thousands.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from caseprep_pipelines.audio.reading import blocks

Peaks = NDArray[np.float32]

#: Pixels: the plot's width, the margins around it, and the strips of one channel.
_WIDTH, _LEFT, _RIGHT, _TOP, _AXIS = 1200, 44, 16, 30, 24
_TURNS, _FLAGS, _BETWEEN = 8, 5, 8

_INK, _FAINT, _PAPER = "#333333", "#bbbbbb", "#ffffff"
_WAVE, _SPEECH, _FLAGGED = "#52606d", "#e3eefa", "#d62828"
#: Told apart by people with any colour vision (Okabe and Ito), then repeated.
_SPEAKERS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#8c5109", "#f0e442", "#5e3c99")

#: Seconds between the marks on the time axis.
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)


def peaks(flac: Path, columns: int = _WIDTH) -> Peaks:
    """The waveform for a picture: lowest and highest sample of each column, shape `(columns, 2)`; read in blocks."""
    import soundfile

    samples = soundfile.info(flac).frames
    edges = np.linspace(0, samples, columns + 1).astype(np.int64)
    found = np.zeros((columns, 2), np.float32)
    first = 0
    for block in blocks(flac, seconds=60.0):
        last = first + len(block)
        left = max(0, int(np.searchsorted(edges, first, side="right")) - 1)
        right = min(columns, int(np.searchsorted(edges, last, side="left")))
        for column in range(left, right):
            part = block[max(edges[column] - first, 0) : edges[column + 1] - first]
            if len(part):
                found[column, 0] = min(found[column, 0], part.min())
                found[column, 1] = max(found[column, 1], part.max())
        first = last
    return found


def draw(
    path_png: Path,
    channels: Sequence[Peaks],
    duration: float,
    *,
    speech: Sequence[tuple[int, float, float]] = (),
    turns: Sequence[tuple[int, str, float, float]] = (),
    flagged: Sequence[tuple[int, float, float]] = (),
) -> None:
    """Writes the picture as PNG, usually 10 to 40 kB, the same bytes for the same input.

    `channels` are what `peaks` gives, top to bottom; the spans name their channel by its place there:
    `speech` and `flagged` as (channel, start, end), `turns` as (channel, speaker, start, end).
    """
    from PIL import Image, ImageDraw, ImageFont

    height = max(24, min(96, 1600 // max(1, len(channels))))
    # dozens of channels are drawn in broader columns, or the file would grow with them
    coarseness = 1 + len(channels) // 24
    lane = _FLAGS + height + _TURNS + _BETWEEN
    size = (_LEFT + _WIDTH + _RIGHT, _TOP + lane * len(channels) + _AXIS)
    image = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(12)
    speakers = {name: number for number, name in enumerate(_by_first_turn(turns))}

    def box(channel: int, start: float, end: float, top: int, tall: int, color: str) -> None:
        if 0 <= channel < len(channels) and duration > 0:
            left, right = (_LEFT + round(_WIDTH * min(max(t, 0.0), duration) / duration) for t in (start, end))
            above = _TOP + channel * lane + top
            pen.rectangle((left, above, max(left, right - 1), above + tall - 1), fill=color)

    for channel, start, end in speech:
        box(channel, start, end, _FLAGS, height, _SPEECH)
    for channel, wave in enumerate(channels):
        middle = _TOP + channel * lane + _FLAGS + height // 2
        # each channel fills its lane, unless there is nothing but noise in it
        swing = np.abs(wave[:_WIDTH]).max(axis=1, initial=0.0)
        scale = (height / 2 - 1) / max(float(swing.max(initial=0.0)), 0.01)
        for column, reach in enumerate(np.rint(swing * scale).astype(int).tolist()):
            if column % coarseness == 0:
                left = _LEFT + column
                pen.rectangle((left, middle - reach, left + coarseness - 1, middle + reach), fill=_WAVE)
        pen.text((_LEFT - 8, middle), f"ch {channel}", fill=_INK, font=font, anchor="rm")
    for channel, speaker, start, end in turns:
        box(channel, start, end, _FLAGS + height, _TURNS, _SPEAKERS[speakers[speaker] % len(_SPEAKERS)])
    for channel, start, end in flagged:
        box(channel, start, end, 0, _FLAGS, _FLAGGED)

    bottom = _TOP + lane * len(channels)
    pen.line((_LEFT, bottom, _LEFT + _WIDTH, bottom), fill=_INK)
    step = next((step for step in _STEPS if duration / step <= 12), _STEPS[-1])
    for second in range(0, int(duration) + 1, step):
        x = _LEFT + round(_WIDTH * second / duration) if duration > 0 else _LEFT
        pen.line((x, bottom, x, bottom + 4), fill=_INK)
        pen.text((min(x, _LEFT + _WIDTH - 18), bottom + 6), clock(second), fill=_INK, font=font, anchor="ma")

    x = _LEFT
    legend = [("speech", _SPEECH), ("flagged", _FLAGGED)]
    legend += [(f"speaker {n + 1}", _SPEAKERS[n % len(_SPEAKERS)]) for n in range(min(len(speakers), len(_SPEAKERS)))]
    for label, color in legend:
        pen.rectangle((x, 10, x + 12, 20), fill=color, outline=_FAINT)
        pen.text((x + 18, 15), label, fill=_INK, font=font, anchor="lm")
        x += 18 + round(pen.textlength(label, font=font)) + 18
    image.quantize(32, dither=Image.Dither.NONE).save(path_png, "PNG")


def clock(seconds: float) -> str:
    """Whole seconds as h:mm:ss."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _by_first_turn(turns: Sequence[tuple[int, str, float, float]]) -> list[str]:
    return list(dict.fromkeys(speaker for _, speaker, _, _ in sorted(turns, key=lambda turn: (turn[2], turn[0]))))
