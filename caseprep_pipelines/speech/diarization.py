"""The stage `speaker_turns`: who spoke when in one recording. It picks the method; the methods stand elsewhere.

- Every channel is a speaker (`channels.channels_are_speakers`): turns follow from the speech maps; no model.
- One channel with speech: it is diarized.
- Several that are not speakers (two microphones in one room): their mix is diarized, so that nobody is lost whom only
  one of them heard.

A long recording is diarized window by window, cut at silences, and the windows' speakers are linked by their voices.
While a GPU hears a window, the voices of the one before are clustered beside it, be it another recording's.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from caseprep_pipelines.audio.documents import ChannelAudio, NormalizedAudio
from caseprep_pipelines.audio.reading import Samples, blocks, read_span
from caseprep_pipelines.speech.channels import ChannelSpeech, channel_turns, channels_are_speakers
from caseprep_pipelines.speech.diarizer import (
    DiarizeOptions,
    Diarizer,
    LoadDiarizer,
    Savings,
    WindowTurn,
    WindowTurns,
)
from caseprep_pipelines.speech.documents import DiarizationSettings, RawTranscript, Span, SpeakerTurns, Turn
from caseprep_pipelines.speech.engines import CPU, give_back_memory
from caseprep_pipelines.speech.linking import LINKING_THRESHOLD, link
from caseprep_pipelines.speech.transcriber import Progress, no_progress
from caseprep_pipelines.speech.voice_activity import FRAME_SECONDS, Frames, frame_powers
from caseprep_pipelines.speech.workers import Workers, at_once

T = TypeVar("T")

WINDOW_SLACK = 0.1
"""Share of a window in which its end may move to find a silence."""


@dataclass(frozen=True)
class Job:
    """A recording whose speakers are told apart. `folder` holds the FLAC files that `audio` names, `raw` the speech
    maps of their channels."""

    audio: NormalizedAudio
    folder: Path
    raw: RawTranscript
    load: LoadDiarizer
    """Called only where a model is needed."""
    options: DiarizeOptions = field(default_factory=DiarizeOptions)
    progress: Progress = no_progress
    """Gets seconds of the recording."""
    savings: Callable[[int], Savings] | None = None
    """Called with the number of a window."""


@dataclass(frozen=True)
class Outcome(Generic[T]):
    item: T
    result: SpeakerTurns | Exception
    """The turns, or the error that kept the item from them."""
    seconds: float
    """For which the item was worked on here, or waited for."""


def diarize(job: Job) -> SpeakerTurns:
    """Who spoke when in one recording. Raises `ConfigurationError` or `Fault`."""
    (outcome,) = diarize_many([job], lambda given: given)
    if isinstance(outcome.result, Exception):
        raise outcome.result
    return outcome.result


def diarize_many(items: Iterable[T], job: Callable[[T], Job | SpeakerTurns]) -> Iterator[Outcome[T]]:
    """Every item's outcome, in order. Beside a GPU the next item is begun before the last one is done; two at most are
    in memory. What `job` has turns of already is not worked on."""
    begun: deque[tuple[T, Callable[[], SpeakerTurns], float]] = deque()
    with Workers() as workers:

        def finished() -> Outcome[T]:
            item, finish, seconds = begun.popleft()
            started = time.monotonic()
            result: SpeakerTurns | Exception
            try:
                result = finish()
            except Exception as error:
                result = error
            return Outcome(item, result, seconds + time.monotonic() - started)

        for item in items:
            started = time.monotonic()
            try:
                finish, waits = _begin(job(item), workers)
            except Exception as error:
                while begun:
                    yield finished()
                yield Outcome(item, error, time.monotonic() - started)
                continue
            begun.append((item, finish, time.monotonic() - started))
            while len(begun) > waits:
                yield finished()
        while begun:
            yield finished()


def _begin(job: Job | SpeakerTurns, workers: Workers) -> tuple[Callable[[], SpeakerTurns], bool]:
    """Does what needs a device; returns what is left to do, and whether something else can be done meanwhile."""
    if isinstance(job, SpeakerTurns):
        known = job
        return lambda: known, False
    audio, folder, options, progress = job.audio, job.folder, job.options, job.progress
    files = {channel.index: channel for channel in audio.channels}
    speaking = [channel for channel in job.raw.channels if channel.speech]
    channels = [files[channel.channel] for channel in speaking]
    if len(speaking) > 1:
        heard = [
            ChannelSpeech(channel.channel, channel.speech, _powers(folder / files[channel.channel].file))
            for channel in speaking
        ]
        if channels_are_speakers(heard):
            turns, bleed = channel_turns(heard, audio.duration_seconds)
            progress(audio.duration_seconds)
            product = _product(
                audio,
                DiarizationSettings(
                    method="channel",
                    channels=tuple(channel.index for channel in channels),
                    min_speakers=options.min_speakers,
                    max_speakers=options.max_speakers,
                ),
                turns=turns,
                exclusive_turns=turns,
                bleed=bleed,
            )
            return lambda: product, False
    diarizer = job.load()
    # a CPU has nothing else to do meanwhile
    submit, waits = (at_once, False) if diarizer.device == CPU else (workers.submit, True)
    speech = tuple(sorted((span for channel in speaking for span in channel.speech), key=lambda span: span.start))
    spans = windows(speech, audio.duration_seconds, options.window_seconds) if speech else ()
    settings = DiarizationSettings(
        method="pyannote",
        channels=tuple(channel.index for channel in channels),
        min_speakers=options.min_speakers,
        max_speakers=options.max_speakers,
        window_seconds=options.window_seconds,
        linking_threshold=LINKING_THRESHOLD if len(spans) > 1 else None,
    )
    # not everybody need speak in every window, so the lower bound holds for the whole only
    within = options if len(spans) == 1 else DiarizeOptions(None, options.max_speakers, options.window_seconds)
    tellers: list[Callable[[], WindowTurns]] = []
    for number, span in enumerate(spans):
        tell = diarizer.hear(
            _mixed(folder, channels, span),
            within,
            lambda seconds, before=span.start: progress(before + seconds),  # type: ignore[misc]
            job.savings(number) if job.savings is not None else None,
        )
        tellers.append(submit(tell))
        if len(spans) > 1:
            give_back_memory()
    lowest = channels[0].index if channels else 0

    def finish() -> SpeakerTurns:
        said = [tell() for tell in tellers]
        labels = _people(said, options)
        turns, exclusive = (
            tuple(
                Turn(
                    speaker=labels[number][turn.speaker],
                    channel=lowest,
                    start=round(span.start + turn.start, 3),
                    end=min(round(span.start + turn.end, 3), audio.duration_seconds),
                    confidence=turn.confidence,
                )
                for number, (span, window) in enumerate(zip(spans, said, strict=True))
                for turn in chosen(window)
                if span.start + turn.start < audio.duration_seconds
            )
            for chosen in (_all, _exclusive)
        )
        return _product(audio, settings, turns=turns, exclusive_turns=exclusive, diarizer=diarizer)

    return finish, waits


def windows(speech: Sequence[Span], seconds: float, limit: float) -> tuple[Span, ...]:
    """The recording in windows of at most `limit` seconds, about equally long, cut in the middle of the longest
    silence near their ends (`WINDOW_SLACK`); together they are the whole recording."""
    cuts = [0.0]
    while seconds - cuts[-1] > limit:
        start = cuts[-1]
        ideal = (seconds - start) / np.ceil((seconds - start) / limit)
        first = start + ideal * (1 - WINDOW_SLACK)
        last = min(start + ideal * (1 + WINDOW_SLACK), start + limit)
        cuts.append(round(_longest_silence(speech, first, last), 3))
    return tuple(Span(start=a, end=b) for a, b in zip(cuts, [*cuts[1:], seconds], strict=True))


def _longest_silence(speech: Sequence[Span], first: float, last: float) -> float:
    """The middle of the longest silence between `first` and `last`; `last` where there is none."""
    best, middle, silent_from = 0.0, last, first
    for span in sorted(speech, key=lambda span: span.start):
        if span.end <= first:
            continue
        start = min(span.start, last)
        if start - silent_from > best:
            best, middle = start - silent_from, (start + silent_from) / 2
        silent_from = max(silent_from, span.end)
        if silent_from >= last:
            return middle
    return (last + silent_from) / 2 if last - silent_from > best else middle


def _mixed(folder: Path, channels: Sequence[ChannelAudio], span: Span) -> Samples:
    """The mean of the channels, one after the other so that two lie in memory at most."""
    mixed = read_span(folder / channels[0].file, span.start, span.end)
    for channel in channels[1:]:
        other = read_span(folder / channel.file, span.start, span.end)
        shared = min(len(mixed), len(other))
        mixed[:shared] += other[:shared]
    if len(channels) > 1:
        mixed /= np.float32(len(channels))
    return mixed


def _people(said: Sequence[WindowTurns], options: DiarizeOptions) -> list[list[str]]:
    """A label for every speaker of every window: `SPEAKER_00`, … in order of first appearance."""
    seconds = [[_spoken(window, row) for row in range(len(window.centroids))] for window in said]
    persons = link(
        [window.centroids for window in said],
        seconds,
        min_speakers=options.min_speakers,
        max_speakers=options.max_speakers,
    )
    heard = [persons[number][turn.speaker] for number, window in enumerate(said) for turn in window.turns]
    order = list(dict.fromkeys(heard))
    return [[f"SPEAKER_{order.index(person):02d}" if person in order else "" for person in row] for row in persons]


def _spoken(window: WindowTurns, speaker: int) -> float:
    return sum(turn.end - turn.start for turn in window.turns if turn.speaker == speaker)


def _product(
    audio: NormalizedAudio,
    settings: DiarizationSettings,
    *,
    turns: tuple[Turn, ...],
    exclusive_turns: tuple[Turn, ...],
    bleed: tuple[Turn, ...] = (),
    diarizer: Diarizer | None = None,
) -> SpeakerTurns:
    return SpeakerTurns(
        partition=audio.partition,
        audio_sha256=tuple(channel.sha256 for channel in audio.distinct_channels),
        duration_seconds=audio.duration_seconds,
        model=diarizer.identity if diarizer else None,
        settings=settings,
        libraries=diarizer.libraries() if diarizer else {},
        speakers=tuple(sorted({turn.speaker for turn in turns})),
        turns=turns,
        exclusive_turns=exclusive_turns,
        bleed=bleed,
    )


def _powers(path: Path) -> Frames:
    parts = [frame_powers(block) for block in blocks(path, 10_000 * FRAME_SECONDS)]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)


def _all(window: WindowTurns) -> tuple[WindowTurn, ...]:
    return window.turns


def _exclusive(window: WindowTurns) -> tuple[WindowTurn, ...]:
    return window.exclusive
