"""The stage `raw_transcript`: speech map, words and suspicions for every channel of many recordings, and their drafts.

Clips of whichever recordings are ready go to the recogniser together, so that a thousand short calls keep it as busy
as one long hearing; each recording's result is what it would be alone. No engine belongs here, and nothing that knows
where recordings come from or go.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Generic, Protocol, TypeVar

from caseprep_pipelines.audio.documents import ChannelAudio, NormalizedAudio
from caseprep_pipelines.speech.channels import ChannelSpeech, channel_turns, channels_are_speakers
from caseprep_pipelines.speech.documents import ChannelTranscript, DecodeSettings, RawTranscript, Segment, Span
from caseprep_pipelines.speech.engines import usable_cores
from caseprep_pipelines.speech.flags import flag_segment, speech_without_words
from caseprep_pipelines.speech.transcriber import Clip, Progress, TranscribeOptions, Transcriber, no_progress
from caseprep_pipelines.speech.voice_activity import VoiceActivity, detect

T = TypeVar("T")

SAVE_SECONDS = 30.0
"""How often what was recognised of an unfinished recording is put away."""

DETECTION_SECONDS = 5.0
"""What the detector heard on a channel is put away where that took it at least so long."""

Heard = Mapping[tuple[int, int], Segment | None]
"""What was said in clips, by place of the channel and number of the clip."""


class Savings(Protocol):
    """Where what is known already of one recording is kept until the product is there."""

    def load(self) -> Heard: ...

    def save(self, heard: Heard) -> None:
        """Adds to what is kept."""
        ...

    def load_activity(self, channel: int) -> VoiceActivity | None:
        """What the detector heard on the channel at that place."""
        ...

    def save_activity(self, channel: int, activity: VoiceActivity) -> None: ...


@dataclass(frozen=True)
class Job:
    """A recording to transcribe. `folder` holds the FLAC files that `audio` names."""

    audio: NormalizedAudio
    folder: Path
    transcriber: Transcriber
    options: TranscribeOptions = field(default_factory=TranscribeOptions)
    progress: Progress = no_progress
    """Gets seconds of audio, of all channels together."""
    savings: Callable[[DecodeSettings], Savings] | None = None
    """Given the settings, which are a part of what a saved clip depends on."""


def recognise_channel(
    transcriber: Transcriber, channel: Path, clips: Sequence[Span], options: TranscribeOptions
) -> tuple[Segment, ...]:
    """What was said in these clips of one file, in order, without judgement. Raises `ConfigurationError` or `Fault`."""
    heard: dict[int, Segment | Exception | None] = {}
    settings = transcriber.settings(options)
    language, _ = transcriber.language(channel, clips, options.language) if clips else ("", None)
    asked = (
        Clip(channel, number, span, language, settings.hotwords, lambda said, _, at=number: heard.update({at: said}))  # type: ignore[misc]
        for number, span in enumerate(clips)
    )
    for _ in transcriber.recognise(asked):
        pass
    segments = []
    for _, said in sorted(heard.items()):
        if isinstance(said, Exception):
            raise said
        if said is not None:
            segments.append(said)
    return tuple(segments)


@dataclass(frozen=True)
class Outcome(Generic[T]):
    item: T
    result: RawTranscript | Exception
    """The transcript, or the error that kept the item from one."""
    seconds: float = 0.0
    """The item's share of the time for which the recogniser was at work."""


def transcribe(job: Job) -> RawTranscript:
    """Every distinct channel of one recording as words. Raises `ConfigurationError` or `Fault`."""
    (outcome,) = transcribe_many([job], lambda given: given)
    if isinstance(outcome.result, Exception):
        raise outcome.result
    return outcome.result


def transcribe_many(items: Iterable[T], job: Callable[[T], Job]) -> Iterator["Outcome[T]"]:
    """Every item's outcome, in the order in which they are done.

    `job` is called ahead, in other threads, for as many items as there are cores. A channel that repeats another is
    not transcribed. Where the caller stops early, or an interruption arrives, what is in the recogniser's hands is
    finished and put away with all that was not yet.
    """
    open_items: list[_Item[T]] = []
    done: deque[Outcome[T]] = deque()

    def settled() -> Iterator[Outcome[T]]:
        for item in [item for item in open_items if item.complete]:
            open_items.remove(item)
            done.append(Outcome(item.given, item.result(), item.seconds))
        while done:
            yield done.popleft()

    def clips(first: "_Item[T]", rest: Iterator["_Item[T] | Outcome[T]"]) -> Iterator[Clip]:
        item: _Item[T] | Outcome[T] = first
        while True:
            if isinstance(item, Outcome):
                done.append(item)
            else:
                open_items.append(item)
                yield from item.clips()
            following = next(rest, None)
            if following is None:
                return
            item = following

    prepared = _ahead(items, lambda given: _Item(given, job(given)))
    try:
        for item in prepared:
            if isinstance(item, Outcome):
                yield item
                continue
            for _ in item.job.transcriber.recognise(clips(item, prepared)):
                for unfinished in open_items:
                    unfinished.report()
                yield from settled()
            yield from settled()
    finally:
        prepared.close()
        for item in open_items:
            item.save(at_once=True)


def _ahead(items: Iterable[T], prepare: Callable[[T], "_Item[T]"]) -> "Generator[_Item[T] | Outcome[T], None, None]":
    """The items prepared, in order, some before they are asked for."""
    pending = iter(items)
    ahead = usable_cores() + 1
    waiting: deque[tuple[T, Future[_Item[T]]]] = deque()
    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="prepare") as pool:
        try:
            while True:
                while len(waiting) < ahead:
                    try:
                        given = next(pending)
                    except StopIteration:
                        break
                    waiting.append((given, pool.submit(prepare, given)))
                if not waiting:
                    return
                given, future = waiting.popleft()
                try:
                    item: _Item[T] | Outcome[T] = future.result()
                except Exception as error:
                    item = Outcome(given, error)
                yield item
        finally:
            for _, future in waiting:
                future.cancel()


class _Item(Generic[T]):
    """One recording between preparation and result."""

    def __init__(self, given: T, job: Job) -> None:
        self.given, self.job = given, job
        audio, folder, transcriber = job.audio, job.folder, job.transcriber
        self.settings = transcriber.settings(job.options)
        self.channels = audio.distinct_channels
        self.savings = job.savings(self.settings) if job.savings is not None else None
        self.activities = [self._detected(at, folder / channel.file) for at, channel in enumerate(self.channels)]
        self.bleed = _bleed(self.channels, self.activities, audio.duration_seconds)
        self.spans = [
            activity.clips(transcriber.identity.clip_seconds, self.bleed[channel.index])
            for channel, activity in zip(self.channels, self.activities, strict=True)
        ]
        self.languages = [
            transcriber.language(folder / channel.file, spans, job.options.language)
            if spans
            else (job.options.language, None)
            for channel, spans in zip(self.channels, self.spans, strict=True)
        ]
        self.total = sum(span.end - span.start for spans in self.spans for span in spans)
        saved = self.savings.load() if self.savings is not None else {}
        places = {(at, number) for at, spans in enumerate(self.spans) for number in range(len(spans))}
        self.heard = {place: segment for place, segment in saved.items() if place in places}
        self.missing = places - self.heard.keys()
        self.unsaved: dict[tuple[int, int], Segment | None] = {}
        self.error: Exception | None = None
        self.seconds = 0.0
        self.saved_at = time.monotonic()
        self.lock = Lock()

    def _detected(self, at: int, channel: Path) -> VoiceActivity:
        kept = self.savings.load_activity(at) if self.savings is not None else None
        if kept is not None:
            return kept
        started = time.monotonic()
        activity = detect(channel)
        if self.savings is not None and time.monotonic() - started >= DETECTION_SECONDS:
            self.savings.save_activity(at, activity)
        return activity

    @property
    def complete(self) -> bool:
        with self.lock:
            return not self.missing

    def clips(self) -> Iterator[Clip]:
        for at, number in sorted(self.missing):
            language = self.languages[at][0]
            assert language is not None  # noqa: S101 - a channel with clips has one
            yield Clip(
                channel=self.job.folder / self.channels[at].file,
                number=number,
                span=self.spans[at][number],
                language=language,
                hotwords=self.settings.hotwords,
                deliver=lambda said, seconds, place=(at, number): self.take(place, said, seconds),  # type: ignore[misc]
            )

    def take(self, place: tuple[int, int], said: Segment | Exception | None, seconds: float) -> None:
        with self.lock:
            self.seconds += seconds
            self.missing.discard(place)
            if isinstance(said, Exception):
                self.error = self.error or said
            else:
                self.heard[place] = self.unsaved[place] = said

    def report(self) -> None:
        with self.lock:
            left = sum(self.spans[at][number].end - self.spans[at][number].start for at, number in self.missing)
        whole = self.job.audio.duration_seconds * len(self.channels)
        self.job.progress(whole * (1 - left / self.total) if self.total else whole)
        self.save()

    def save(self, at_once: bool = False) -> None:
        if self.savings is None or (not at_once and time.monotonic() - self.saved_at < SAVE_SECONDS):
            return
        with self.lock:
            unsaved, self.unsaved = self.unsaved, {}
        if unsaved:
            self.savings.save(unsaved)
        self.saved_at = time.monotonic()

    def result(self) -> RawTranscript | Exception:
        if self.error is not None:
            self.save(at_once=True)
            return self.error
        audio = self.job.audio
        self.job.progress(audio.duration_seconds * len(self.channels))
        return RawTranscript(
            partition=audio.partition,
            audio_sha256=tuple(channel.sha256 for channel in self.channels),
            duration_seconds=audio.duration_seconds,
            model=self.job.transcriber.identity,
            settings=self.settings,
            libraries=self.job.transcriber.libraries(),
            channels=tuple(self._channel(at) for at in range(len(self.channels))),
        )

    def _channel(self, at: int) -> ChannelTranscript:
        activity, bleed = self.activities[at], self.bleed[self.channels[at].index]
        speech = activity.speech
        said = (self.heard[at, number] for number in range(len(self.spans[at])))
        segments = tuple(flag_segment(segment, speech) for segment in said if segment is not None)
        language, probability = self.languages[at]
        return ChannelTranscript(
            channel=self.channels[at].index,
            language=language,
            language_probability=probability,
            speech=speech,
            bleed=bleed,
            clips=self.spans[at],
            speech_ratio=activity.speech_ratio,
            snr_db=activity.snr_db,
            segments=segments,
            flagged=speech_without_words(
                _without(speech, bleed), [word for segment in segments for word in segment.words]
            ),
        )


def draft_text(raw: RawTranscript) -> str:
    """The words without speakers, a line for each segment with its start: readable before speakers are known."""
    several = len(raw.channels) > 1
    segments = sorted(
        ((segment.start, channel.channel, segment) for channel in raw.channels for segment in channel.segments),
        key=lambda placed: placed[:2],
    )
    return "".join(
        f"[{_clock(start)}]{f' channel {channel + 1}:' if several else ''} {_text(segment)}\n"
        for start, channel, segment in segments
    )


def _bleed(
    channels: Sequence[ChannelAudio], activities: Sequence[VoiceActivity], seconds: float
) -> dict[int, tuple[Span, ...]]:
    """By channel, what it carries of speech that another channel carries louder; nothing where a channel is no speaker.

    It is transcribed there and not here: faint copies of one sentence on every microphone of a courtroom come out as
    other sentences, which nobody said.
    """
    heard = [
        ChannelSpeech(channel.index, activity.speech, activity.powers)
        for channel, activity in zip(channels, activities, strict=True)
    ]
    _, turns = channel_turns(heard, seconds) if channels_are_speakers(heard) else ((), ())
    return {
        channel.index: tuple(Span(start=t.start, end=t.end) for t in turns if t.channel == channel.index)
        for channel in channels
    }


def _without(speech: Sequence[Span], bleed: Sequence[Span]) -> list[Span]:
    """What of the speech map is the channel's own; every bleed span is a part of one of its stretches."""
    own = []
    for stretch in speech:
        edges = [stretch.start]
        for bled in bleed:
            if stretch.start <= bled.start and bled.end <= stretch.end:
                edges += [bled.start, bled.end]
        edges.append(stretch.end)
        own += [Span(start=a, end=b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b > a]
    return own


def _text(segment: Segment) -> str:
    return " ".join(word.text for word in segment.words)


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
