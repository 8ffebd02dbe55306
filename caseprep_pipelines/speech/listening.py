"""How one channel is listened to: what the recognizer is asked, round by round, until nothing that was said is lost.

1. Every clip is decoded in the language that it seems to be in.
2. Where that left the language open, stretches are asked for their language, and what was taken for another is cut at
   the changes and decoded again (`languages`).
3. A clip on which the decoder ran out of tokens is decoded in halves.
4. A suspicious clip gets a second decoding; the better one stays, and both agreeing or not is marked (`flags`).
5. Speech that no word covers is decoded as a clip of its own, and what is won is marked; what stays empty is marked.

Nothing here decodes and nothing knows of other recordings: `listen` is a generator that says what it wants to have
recognized and is sent the answers. What it asks depends on nothing but earlier answers, so that the result is the same
however the work was batched, interrupted or resumed. For that reason no decoding is drawn at random (temperature):
CTranslate2's draws depend on the thread.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from caseprep_pipelines.speech import coverage
from caseprep_pipelines.speech.documents import (
    ChannelTranscript,
    DecodeSettings,
    FlaggedSpan,
    Segment,
    Span,
    Suspicion,
    Word,
)
from caseprep_pipelines.speech.flags import bare, doubts, flag_segment, same_words
from caseprep_pipelines.speech.languages import (
    LANGUAGE_SECONDS,
    Stretch,
    admitted,
    likeliest,
    mixed,
    runner_up,
    scores,
    sequence,
)
from caseprep_pipelines.speech.transcriber import Heard
from caseprep_pipelines.speech.voice_activity import VoiceActivity

GAP_EDGE_SECONDS = 0.3
"""A gap is decoded with so much around it: words are timed shorter than they are."""
SHORT_CUT_SECONDS = 8.0
"""What stays of a gap is cut into parts of at most so much: Whisper passes over the same seventeen seconds of fast
speech again that it passed over in a clip, and not over each half of them."""
SECOND_LOOK_SECONDS = 3.0
"""What of the recording is added on either side of a gap that gave no words by itself."""
NEAR_SECONDS = 2.0
"""A word that a second decoding repeats is no farther from the gap."""
LOUDNESS_RANGE_DB = 20.0
"""So far below the recording's usual speech a stretch counts nearly nothing for its language."""
LEAST_LOUDNESS = 0.1


@dataclass(frozen=True)
class Question:
    """One thing to be recognized on a channel. Equal questions have equal answers."""

    span: Span
    languages: tuple[str, ...]
    """As `Clip` has them."""
    words: bool = True
    again: bool = False


Answers = Mapping[Question, Heard]
Asking = Generator[Sequence[Question], Answers, "list[_Clip]"]


@dataclass(frozen=True)
class _Clip:
    """A clip with what stays of what was made of it."""

    span: Span
    language: str
    segment: Segment | None
    flags: tuple[Suspicion, ...] = ()

    @property
    def words(self) -> tuple[Word, ...]:
        return self.segment.words if self.segment is not None else ()


def listen(
    channel: int, activity: VoiceActivity, bleed: Sequence[Span], own_speech: Sequence[Span], settings: DecodeSettings
) -> Generator[Sequence[Question], Answers, ChannelTranscript]:
    """Yields what is to be recognized, is sent a `Heard` for each question, and returns the channel's transcript.

    `bleed` are the parts of its speech map that are another channel's, `own_speech` the rest of it.
    """
    spans = activity.clips(settings.clip_seconds, bleed)
    answers = yield [Question(span, settings.languages) for span in spans]
    likely = [answers[Question(span, settings.languages)].languages for span in spans]
    clips = [
        _Clip(span, _language(heard, settings), answers[Question(span, settings.languages)].segment)
        for span, heard in zip(spans, likely, strict=True)
    ]
    if len(settings.languages) != 1 and any(mixed(heard, settings.languages) for heard in likely):
        clips = yield from _in_their_languages(clips, likely, activity, bleed, settings)
    clips = yield from _in_halves(clips, activity)
    clips = yield from _surely(clips, activity.detected)
    clips = yield from _wholly(clips, activity, own_speech, settings)
    return _transcript(channel, activity, bleed, own_speech, clips, likely, settings)


def _language(likely: Mapping[str, float], settings: DecodeSettings) -> str:
    if len(settings.languages) == 1:
        return settings.languages[0]
    return likeliest(likely, settings.languages, settings.preferred_languages)


def _in_their_languages(
    clips: Sequence[_Clip],
    likely: Sequence[Mapping[str, float]],
    activity: VoiceActivity,
    bleed: Sequence[Span],
    settings: DecodeSettings,
) -> Asking:
    """Step 2. Stretches of the clips that may be mixed are asked first, and the rest only where there is a second
    language: a clip of the main one may hold a short answer in the other."""
    allowed, preferred = settings.languages, settings.preferred_languages
    stretches = activity.stretches(LANGUAGE_SECONDS)
    unclear = [clip.span for clip, heard in zip(clips, likely, strict=True) if mixed(heard, allowed)]
    asked = [stretch for stretch in stretches if any(_overlap(stretch, span) > 0 for span in unclear)]
    known: dict[Span, Mapping[str, float]] = {}

    def ask(spans: Sequence[Span]) -> Generator[Sequence[Question], Answers, None]:
        questions = [Question(span, allowed, words=False) for span in spans]
        answers = yield questions
        known.update({question.span: answers[question].languages for question in questions})

    yield from ask(asked)
    usual = float(np.median([activity.power(span) for span in stretches])) if stretches else 0.0
    clear = [(clip.span, heard) for clip, heard in zip(clips, likely, strict=True) if not mixed(heard, allowed)]

    def all_known() -> tuple[list[Span], list[Stretch]]:
        spans = sorted([*known.items(), *(c for c in clear if c[0] not in known)], key=lambda one: one[0].start)
        return [span for span, _ in spans], [
            Stretch(span.end - span.start, _loudness(activity.power(span), usual), heard) for span, heard in spans
        ]

    spans, heard = all_known()
    if len(admitted(heard, allowed, preferred)) > 1:
        yield from ask([stretch for stretch in stretches if stretch not in known])
        clear = []
        spans, heard = all_known()
    languages = admitted(heard, allowed, preferred)
    scored = scores(heard, languages)
    path = sequence(scored, languages)
    edges = [
        (before.end + after.start) / 2
        for (before, said), (after, says) in pairwise(zip(spans, path, strict=True))
        if said != says
    ]
    cut = activity.clips(settings.clip_seconds, bleed, edges) if edges else tuple(clip.span for clip in clips)
    had = {(clip.span, clip.language): clip.segment for clip in clips}
    wanted: list[tuple[Span, tuple[str, ...]]] = []
    for span in cut:
        inside = [at for at, stretch in enumerate(spans) if _overlap(stretch, span) > 0]
        language = max(
            languages,
            key=lambda name: sum(_overlap(spans[at], span) for at in inside if path[at] == name),
        )
        other = runner_up([scored[at] for at in inside], language, languages)
        wanted.append((span, (language,) if other is None else (language, other)))
    questions = [
        Question(span, (language,)) for span, names in wanted for language in names if (span, language) not in had
    ]
    answers = yield questions
    for question in questions:
        had[question.span, question.languages[0]] = answers[question].segment
    decided = []
    for span, names in wanted:
        best = max(names, key=lambda name: (_certainty(had[span, name]), -names.index(name)))
        flags = (Suspicion.LANGUAGE_IN_DOUBT,) if len(names) > 1 else ()
        decided.append(_Clip(span, best, had[span, best], flags))
    return decided


def _in_halves(clips: Sequence[_Clip], activity: VoiceActivity) -> Asking:
    """Step 3."""
    done = list(clips)
    while True:
        full = {
            clip: parts
            for clip in done
            if clip.segment is not None and Suspicion.TOKEN_LIMIT in clip.segment.flags
            for parts in [activity.parts(clip.span, 0.6 * (clip.span.end - clip.span.start))]
            if len(parts) > 1 and clip.span.end - clip.span.start > 4.0
        }
        if not full:
            return done
        questions = {clip: [Question(part, (clip.language,)) for part in parts] for clip, parts in full.items()}
        answers = yield [question for asked in questions.values() for question in asked]
        done = [
            part
            for clip in done
            for part in (
                [_Clip(q.span, clip.language, answers[q].segment, clip.flags) for q in questions[clip]]
                if clip in questions
                else [clip]
            )
        ]


def _surely(clips: Sequence[_Clip], speech: Sequence[Span]) -> Asking:
    """Step 4."""
    asked = {clip: Question(clip.span, (clip.language,), again=True) for clip in clips if doubts(clip.segment, speech)}
    answers = (yield list(asked.values())) if asked else {}
    done = []
    for clip in clips:
        if clip not in asked:
            done.append(clip)
            continue
        second = answers[asked[clip]].segment
        best = clip.segment if _better(clip.segment, second, speech) else second
        alike = same_words(clip.segment, second)
        flag = Suspicion.DECODINGS_AGREE if alike else Suspicion.DECODINGS_DIFFER
        done.append(replace(clip, segment=best, flags=(*clip.flags, flag)))
    return done


def _wholly(
    clips: Sequence[_Clip], activity: VoiceActivity, speech: Sequence[Span], settings: DecodeSettings
) -> Asking:
    """Step 5: the gaps by themselves, what stays of them in shorter parts, then with what is around them."""
    done = list(clips)
    spoken = tuple(dict.fromkeys(clip.language for clip in clips))
    looks = (
        (GAP_EDGE_SECONDS, settings.clip_seconds, False),
        (GAP_EDGE_SECONDS, min(SHORT_CUT_SECONDS, settings.clip_seconds), False),
        (SECOND_LOOK_SECONDS, settings.clip_seconds, True),
    )
    for beside, longest, again in looks:
        asked: dict[tuple[Span, Span], list[Question]] = {}
        for gap in _gaps(done, speech):
            language = _language_at(done, gap)
            for span in _around(gap, beside, activity, longest):
                # what stays empty may be in another language of the recording
                asked[gap, span] = [
                    Question(span, (name,), again=again)
                    for name in (
                        (language, *(other for other in spoken if other != language)) if again else (language,)
                    )
                ]
        if not asked:
            return done
        answers = yield list(dict.fromkeys(question for questions in asked.values() for question in questions))
        for (gap, _), questions in asked.items():
            near = _words_near(done, gap)
            found = [(question, _won(answers[question].segment, gap, near)) for question in questions]
            question, won = max(found, key=lambda one: _certainty(one[1]))
            if won is not None:
                done.append(_Clip(question.span, question.languages[0], won, (Suspicion.RECOVERED,)))
    return done


def _gaps(clips: Sequence[_Clip], speech: Sequence[Span]) -> tuple[Span, ...]:
    return coverage.gaps(speech, [span for clip in clips for span in coverage.covered(clip.words)])


def _around(gap: Span, beside: float, activity: VoiceActivity, longest: float) -> Iterator[Span]:
    whole = Span(start=round(max(0.0, gap.start - beside), 3), end=round(min(activity.seconds, gap.end + beside), 3))
    if whole.end - whole.start <= longest:
        yield whole
    else:
        yield from activity.parts(whole, longest)


def _words_near(clips: Sequence[_Clip], gap: Span) -> list[Word]:
    """The words in the two seconds on either side of a gap, and in it; only the clips around it are looked through, for
    ten hours have a hundred thousand words."""
    start, end = gap.start - NEAR_SECONDS, gap.end + NEAR_SECONDS
    return [
        word
        for clip in clips
        if start < clip.span.end and clip.span.start < end
        for word in _timed(clip)
        if start < word.end and word.start < end
    ]


def _won(segment: Segment | None, gap: Span, near: Sequence[Word]) -> Segment | None:
    """What of a second decoding is in the gap and does not repeat a word that is there already."""
    if segment is None:
        return None
    inside = [
        word
        for word in segment.words
        if gap.start - GAP_EDGE_SECONDS <= (word.start + word.end) / 2 <= gap.end + GAP_EDGE_SECONDS
    ]
    while inside and any(bare(inside[0]) == bare(word) and word.end <= gap.start + 0.5 for word in near):
        inside = inside[1:]
    while inside and any(bare(inside[-1]) == bare(word) and word.start >= gap.end - 0.5 for word in near):
        inside = inside[:-1]
    if not any(bare(word) for word in inside):
        return None
    return segment.model_copy(
        update={"words": tuple(inside), "start": inside[0].start, "end": max(word.end for word in inside)}
    )


def _timed(clip: _Clip) -> tuple[Word, ...]:
    """The clip's words, none longer than a word can be."""
    return tuple(
        word.model_copy(update={"start": round(start, 3), "end": round(end, 3)})
        for word, (start, end) in zip(clip.words, coverage.covered(clip.words), strict=True)
    )


def _better(first: Segment | None, second: Segment | None, speech: Sequence[Span]) -> bool:
    """Whether the first of two decodings is to stay."""
    ranks = [(-len(doubts(segment, speech)), _certainty(segment)) for segment in (first, second)]
    return ranks[0] >= ranks[1]


def _certainty(segment: Segment | None) -> float:
    return segment.average_log_probability if segment is not None else -100.0


def _language_at(clips: Sequence[_Clip], span: Span) -> str:
    nearest = min(
        clips, key=lambda clip: (max(clip.span.start - span.end, span.start - clip.span.end, 0.0), clip.span.start)
    )
    return nearest.language


def _overlap(one: Span, other: Span) -> float:
    return min(one.end, other.end) - max(one.start, other.start)


def _loudness(power: float, usual: float) -> float:
    if power <= 0.0 or usual <= 0.0:
        return LEAST_LOUDNESS
    below = 10 * np.log10(usual / power)
    return float(min(1.0, max(LEAST_LOUDNESS, 1.0 - below / LOUDNESS_RANGE_DB)))


def _transcript(
    channel: int,
    activity: VoiceActivity,
    bleed: Sequence[Span],
    own_speech: Sequence[Span],
    clips: Sequence[_Clip],
    likely: Sequence[Mapping[str, float]],
    settings: DecodeSettings,
) -> ChannelTranscript:
    ordered = sorted(clips, key=lambda clip: (clip.span.start, clip.span.end))
    segments = []
    for number, clip in enumerate(ordered):
        if clip.segment is None:
            continue
        words = _timed(clip)
        timed = clip.segment.model_copy(
            update={
                "clip": number,
                "words": words,
                "start": words[0].start,
                "end": max(word.end for word in words),
                "flags": (*clip.segment.flags, *clip.flags),
            }
        )
        segments.append(flag_segment(timed, activity.detected))
    seconds: dict[str, float] = {}
    for clip in clips:
        seconds[clip.language] = seconds.get(clip.language, 0.0) + clip.span.end - clip.span.start
    main = max(sorted(seconds), key=lambda name: seconds[name]) if seconds else None
    if main is None and len(settings.languages) == 1:
        main = settings.languages[0]
    known = [heard.get(main, 0.0) for heard in likely if heard] if main else []
    return ChannelTranscript(
        channel=channel,
        language=main,
        language_probability=round(sum(known) / len(known), 4) if known else None,
        speech=activity.speech,
        bleed=tuple(bleed),
        clips=tuple(clip.span for clip in ordered),
        speech_ratio=activity.speech_ratio,
        snr_db=activity.snr_db,
        segments=tuple(sorted(segments, key=lambda segment: (segment.start, segment.end))),
        flagged=tuple(
            FlaggedSpan(start=gap.start, end=gap.end, flag=Suspicion.SPEECH_WITHOUT_WORDS)
            for gap in _gaps(ordered, own_speech)
        ),
    )
