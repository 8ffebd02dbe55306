"""The stage `raw_transcript`: speech map, words and suspicions for every channel of many recordings, and their drafts.

Clips of whichever recordings are ready go to the recogniser together, so that a thousand short calls keep it as busy
as one long hearing; each recording's result is what it would be alone. No engine belongs here, and nothing that knows
where recordings come from or go.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Generic, Protocol, TypeVar

from caseprep_pipelines.audio.documents import ChannelAudio, NormalizedAudio
from caseprep_pipelines.speech.channels import ChannelSpeech, channel_turns, channels_are_speakers
from caseprep_pipelines.speech.documents import ChannelTranscript, DecodeSettings, RawTranscript, Segment, Span
from caseprep_pipelines.speech.engines import usable_cores
from caseprep_pipelines.speech.listening import Question, listen
from caseprep_pipelines.speech.transcriber import Clip, Heard, Progress, TranscribeOptions, Transcriber, no_progress
from caseprep_pipelines.speech.voice_activity import VoiceActivity, detect
from caseprep_pipelines.speech.witness import Witness
from caseprep_pipelines.transcript.joining import join

T = TypeVar("T")

SAVE_SECONDS = 30.0
"""How often what was recognised of an unfinished recording is put away."""

DETECTION_SECONDS = 5.0
"""What the detector heard on a channel is put away where that took it at least so long."""

Answers = Mapping[tuple[int, Question], Heard]
"""What was heard, by place of the channel and what was asked about it."""


class Savings(Protocol):
    """Where what is known already of one recording is kept until the product is there."""

    def load(self) -> Answers: ...

    def save(self, heard: Answers) -> None:
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
    witness: Witness | None = None
    """Asked about the stretches where the first detector heard nobody."""


def recognise_channel(
    transcriber: Transcriber, channel: Path, clips: Sequence[Span], options: TranscribeOptions
) -> tuple[Segment, ...]:
    """What was said in these clips of one file, in order, each decoded once and without judgement. Raises
    `ConfigurationError` or `Fault`."""
    heard: dict[int, Heard | Exception] = {}
    settings = transcriber.settings(options)
    asked = (
        Clip(
            channel,
            span,
            settings.languages,
            settings.preferred_languages,
            settings.hotwords,
            words=True,
            again=False,
            deliver=lambda said, _, at=number: heard.update({at: said}),  # type: ignore[misc]
        )
        for number, span in enumerate(clips)
    )
    for _ in transcriber.recognise(asked):
        pass
    segments = []
    for number, said in sorted(heard.items()):
        if isinstance(said, Exception):
            raise said
        if said.segment is not None:
            segments.append(said.segment.model_copy(update={"clip": number}))
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


def transcribe_many(items: Iterable[T], job: Callable[[T], Job | RawTranscript]) -> Iterator["Outcome[T]"]:
    """Every item's outcome, in the order in which they are done.

    `job` is called ahead, in other threads, for as many items as there are cores; what it has a transcript of already
    is not worked on. A channel that repeats another is not transcribed. What a recording's first answers lead to is
    asked before the next recording is begun. Where the caller stops early, or an interruption arrives, what is in the
    recogniser's hands is finished and put away with all that was not yet.
    """
    open_items: list[_Item[T]] = []
    done: deque[Outcome[T]] = deque()
    prepared = _ahead(items, lambda given: _prepared(given, job(given)))

    def settled() -> Iterator[Outcome[T]]:
        for item in [item for item in open_items if item.complete]:
            open_items.remove(item)
            done.append(Outcome(item.given, item.result(), item.seconds))
        while done:
            yield done.popleft()

    def clips(beginning: "_Item[T] | None") -> Iterator[Clip]:
        """All that can be asked now: of the items that are open, then of those that follow."""
        if beginning is not None:
            open_items.append(beginning)
        while True:
            for item in list(open_items):
                yield from item.clips()
            following = next(prepared, None)
            if following is None:
                return
            if isinstance(following, Outcome):
                done.append(following)
            else:
                open_items.append(following)

    try:
        while True:
            waiting = next((item for item in open_items if not item.complete), None)
            beginning: _Item[T] | None = None
            if waiting is None:
                following = next(prepared, None)
                if following is None:
                    break
                if isinstance(following, Outcome):
                    yield following
                    continue
                beginning = following
            transcriber = (waiting or beginning).job.transcriber  # type: ignore[union-attr]
            for _ in transcriber.recognise(clips(beginning)):
                for unfinished in open_items:
                    unfinished.report()
                yield from settled()
            yield from settled()
    finally:
        prepared.close()
        for item in open_items:
            item.save(at_once=True)


def _prepared(given: T, job: Job | RawTranscript) -> "_Item[T] | Outcome[T]":
    return Outcome(given, job) if isinstance(job, RawTranscript) else _Item(given, job)


def _ahead(
    items: Iterable[T], prepare: Callable[[T], "_Item[T] | Outcome[T]"]
) -> "Generator[_Item[T] | Outcome[T], None, None]":
    """The items prepared, in order, some before they are asked for."""
    pending = iter(items)
    ahead = usable_cores() + 1
    waiting: deque[tuple[T, Future[_Item[T] | Outcome[T]]]] = deque()
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
        bleed = _bleed(self.channels, self.activities, audio.duration_seconds)
        self.listening = [
            listen(
                channel.index,
                activity,
                bleed[channel.index],
                _without(activity.speech, bleed[channel.index]),
                self.settings,
            )
            for channel, activity in zip(self.channels, self.activities, strict=True)
        ]
        self.heard: dict[tuple[int, Question], Heard] = dict(self.savings.load()) if self.savings is not None else {}
        self.unsaved: dict[tuple[int, Question], Heard] = {}
        self.asked: list[tuple[Question, ...]] = [() for _ in self.channels]
        self.waiting: set[tuple[int, Question]] = set()
        self.unasked: deque[tuple[int, Question]] = deque()
        self.results: dict[int, ChannelTranscript] = {}
        self.error: Exception | None = None
        self.seconds = 0.0
        self.reported = 0.0
        self.saved_at = time.monotonic()
        self.lock = Lock()
        for at in range(len(self.channels)):
            self._go_on(at, None)

    def _detected(self, at: int, channel: Path) -> VoiceActivity:
        kept = self.savings.load_activity(at) if self.savings is not None else None
        if kept is not None:
            return kept
        started = time.monotonic()
        activity = detect(channel)
        if self.job.witness is not None:
            activity = replace(activity, witnessed=self.job.witness(channel, activity.unheard, activity.seconds))
        if self.savings is not None and time.monotonic() - started >= DETECTION_SECONDS:
            self.savings.save_activity(at, activity)
        return activity

    @property
    def complete(self) -> bool:
        """Whether there is nothing more to ask, or, after an error, nothing more to wait for."""
        with self.lock:
            return not self.waiting and (self.error is not None or len(self.results) == len(self.channels))

    def clips(self) -> Iterator[Clip]:
        """What is to be asked now."""
        while True:
            with self.lock:
                if self.error is not None:
                    self.waiting -= set(self.unasked)
                    self.unasked.clear()
                if not self.unasked:
                    return
                at, question = self.unasked.popleft()
            yield Clip(
                channel=self.job.folder / self.channels[at].file,
                span=question.span,
                languages=question.languages,
                preferred=self.settings.preferred_languages,
                hotwords=self.settings.hotwords,
                words=question.words,
                again=question.again,
                deliver=lambda said, seconds, place=(at, question): self.take(place, said, seconds),  # type: ignore[misc]
            )

    def take(self, place: tuple[int, Question], said: Heard | Exception, seconds: float) -> None:
        with self.lock:
            self.seconds += seconds
            self.waiting.discard(place)
            if isinstance(said, Exception):
                self.error = self.error or said
                return
            self.heard[place] = self.unsaved[place] = said
            at = place[0]
            if self.error is None and not any(other == at for other, _ in self.waiting):
                self._go_on(at, {question: self.heard[at, question] for question in self.asked[at]})

    def _go_on(self, at: int, answers: Mapping[Question, Heard] | None) -> None:
        """Hears what the channel wants to know next; what is known already is answered at once."""
        try:
            while True:
                asked = tuple(self.listening[at].send(answers))  # type: ignore[arg-type]
                missing = [question for question in asked if (at, question) not in self.heard]
                if missing:
                    break
                answers = {question: self.heard[at, question] for question in asked}
        except StopIteration as ended:
            self.results[at] = ended.value
            return
        self.asked[at] = asked
        places = [(at, question) for question in dict.fromkeys(missing)]
        self.waiting.update(places)
        self.unasked.extend(places)

    def report(self) -> None:
        with self.lock:
            left = sum(question.span.end - question.span.start for _, question in self.waiting)
            known = sum(question.span.end - question.span.start for _, question in self.heard)
        whole = self.job.audio.duration_seconds * len(self.channels)
        # what is found to be asked again may not take back what was reported
        self.reported = max(self.reported, whole * known / (known + left) if known + left else whole)
        self.job.progress(self.reported)
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
            channels=tuple(self.results[at] for at in range(len(self.channels))),
        )


def draft_text(raw: RawTranscript) -> str:
    """The words without speakers, a line for each segment with its start: readable before speakers are known."""
    several = len(raw.channels) > 1
    segments = sorted(
        (
            (
                segment.start,
                channel.channel,
                join((word.text for word in segment.words), segment.language or channel.language),
            )
            for channel in raw.channels
            for segment in channel.segments
        ),
        key=lambda placed: placed[:2],
    )
    return "".join(
        f"[{_clock(start)}]{f' channel {channel + 1}:' if several else ''} {text}\n"
        for start, channel, text in segments
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


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
