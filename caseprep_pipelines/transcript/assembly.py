"""The stage `transcript`: words, turns and suspicions become the canonical document. No model, no file, no format."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from caseprep_pipelines.audio.documents import NormalizedAudio, SourceRecording
from caseprep_pipelines.speech.coverage import gaps, merged
from caseprep_pipelines.speech.documents import (
    ChannelTranscript,
    RawTranscript,
    Span,
    SpeakerTurns,
    Suspicion,
    Turn,
)
from caseprep_pipelines.speech.flags import LOW_WORD_PROBABILITY, bare
from caseprep_pipelines.transcript.assignment import AssignedWord, TurnIndex, assign, assign_to_channel
from caseprep_pipelines.transcript.document import (
    DEMO_NOTICE,
    MACHINE_DRAFT_NOTICE,
    Sources,
    Speaker,
    Transcript,
    TranscriptWord,
    Unspoken,
    Utterance,
    WordFlag,
)

UTTERANCE_PAUSE_SECONDS = 2.0
"""A longer pause begins a new utterance of the same speaker."""
TURN_GAP_SECONDS = 0.7
"""So much of a speaker's turn without words of theirs is a gap: a second of it, with what a word covers beside it. In a
real call this marks the one sentence that another voice drowned, and nothing in six other recordings."""
SAME_TIME_SECONDS = 0.3
"""Words of two channels are heard at the same time when they are no farther apart than this."""


@dataclass(frozen=True)
class _Placed:
    assigned: AssignedWord
    channel: int
    language: str | None
    suspicions: tuple[Suspicion, ...]


def assemble(source: SourceRecording, audio: NormalizedAudio, raw: RawTranscript, turns: SpeakerTurns) -> Transcript:
    """The transcript of one recording.

    Every word of `raw` stands once in it, in an utterance or in `other_hearings`. Utterances come in order of time,
    channels mixed; each is consecutive words of one speaker in one language on one channel without a pause of more
    than `UTTERANCE_PAUSE_SECONDS`.
    """
    words = [placed for channel in raw.channels for placed in _assigned(channel, turns)]
    text, elsewhere = _apart(words, raw, turns)
    utterances = _utterances(text)
    demo = raw.model.demo or bool(turns.model and turns.model.demo)
    return Transcript(
        partition=raw.partition,
        matter=source.matter,
        duration_seconds=audio.duration_seconds,
        languages=raw.languages,
        notices=(
            MACHINE_DRAFT_NOTICE,
            *([DEMO_NOTICE] if demo else []),
            *(finding.sentence for finding in audio.findings if finding.missing),
        ),
        transcription_model=raw.model,
        diarization_model=turns.model,
        sources=Sources(
            original_sha256=source.sha256,
            raw_transcript_sha256=raw.digest(),
            speaker_turns_sha256=turns.digest(),
        ),
        speakers=_speakers(turns, utterances),
        utterances=utterances,
        other_hearings=_utterances(elsewhere),
        unspoken=_unspoken(raw, turns, words),
    )


def _assigned(channel: ChannelTranscript, turns: SpeakerTurns) -> list[_Placed]:
    # what a second decoding found stands in segments of its own, between the words of others
    said = sorted(
        ((word, segment) for segment in channel.segments for word in segment.words), key=lambda pair: pair[0].start
    )
    words = [word for word, _ in said]
    if turns.settings.method == "channel":
        assigned = assign_to_channel(words, channel.channel, turns.turns, turns.bleed)
    else:
        assigned = assign(words, turns.turns, turns.exclusive_turns)
    return [
        _Placed(word, channel.channel, segment.language or channel.language, segment.flags)
        for word, (_, segment) in zip(assigned, said, strict=True)
    ]


def _apart(words: Sequence[_Placed], raw: RawTranscript, turns: SpeakerTurns) -> tuple[list[_Placed], list[_Placed]]:
    """The words of the text, and other channels' hearings of them.

    Where channels are speakers, another hearing is a word in bleed that a channel without bleed has at the same time.
    Where they are microphones in one room, the channel whose words are surest altogether gives the text, and every
    word of the others that it has words for at the time is another hearing.
    """
    if len(raw.channels) < 2:
        return list(words), []
    if turns.settings.method == "channel":
        sure = [placed for placed in words if WordFlag.POSSIBLE_BLEED not in placed.assigned.flags]
        doubtful = [placed for placed in words if WordFlag.POSSIBLE_BLEED in placed.assigned.flags]
        same_words = True
    else:
        main = max(raw.channels, key=_certainty).channel
        sure = [placed for placed in words if placed.channel == main]
        doubtful = [placed for placed in words if placed.channel != main]
        same_words = False
    index = TurnIndex([_as_turn(placed) for placed in sure])
    repeated = [_heard_again(placed, index, same_words=same_words) for placed in doubtful]
    text = [*sure, *(placed for placed, again in zip(doubtful, repeated, strict=True) if not again)]
    return text, [placed for placed, again in zip(doubtful, repeated, strict=True) if again]


def _certainty(channel: ChannelTranscript) -> tuple[float, int]:
    return sum(word.probability for segment in channel.segments for word in segment.words), -channel.channel


def _as_turn(placed: _Placed) -> Turn:
    """A word in the shape that `TurnIndex` searches: what was said stands for who."""
    word = placed.assigned.word
    return Turn(speaker=bare(word), channel=placed.channel, start=word.start, end=max(word.end, word.start + 0.001))


def _heard_again(placed: _Placed, index: TurnIndex, *, same_words: bool) -> bool:
    word = placed.assigned.word
    near = index.between(word.start - SAME_TIME_SECONDS, word.end + SAME_TIME_SECONDS)
    return any(other.channel != placed.channel and (not same_words or other.speaker == bare(word)) for other in near)


def _utterances(words: Iterable[_Placed]) -> tuple[Utterance, ...]:
    channels: dict[int, list[_Placed]] = {}
    for placed in words:
        channels.setdefault(placed.channel, []).append(placed)
    groups: list[list[_Placed]] = []
    for channel in sorted(channels):
        current: list[_Placed] = []
        for placed in sorted(channels[channel], key=lambda placed: placed.assigned.word.start):
            if current and _begins(current[-1], placed):
                groups.append(current)
                current = []
            current.append(placed)
        groups.append(current)
    groups.sort(key=lambda group: (group[0].assigned.word.start, group[0].channel))
    return tuple(_utterance(index, group) for index, group in enumerate(groups))


def _begins(before: _Placed, placed: _Placed) -> bool:
    pause = placed.assigned.word.start - before.assigned.word.end
    other = (placed.assigned.speaker, placed.language) != (before.assigned.speaker, before.language)
    return other or pause > UTTERANCE_PAUSE_SECONDS


def _utterance(index: int, group: Sequence[_Placed]) -> Utterance:
    suspicions = {flag for placed in group for flag in placed.suspicions}
    return Utterance(
        index=index,
        speaker=group[0].assigned.speaker,
        channel=group[0].channel,
        language=group[0].language,
        start=group[0].assigned.word.start,
        end=max(placed.assigned.word.end for placed in group),
        words=tuple(_word(placed.assigned) for placed in group),
        flags=tuple(flag for flag in Suspicion if flag in suspicions),
    )


def _word(assigned: AssignedWord) -> TranscriptWord:
    word = assigned.word
    flags = assigned.flags | ({WordFlag.LOW_PROBABILITY} if word.probability < LOW_WORD_PROBABILITY else frozenset())
    return TranscriptWord(
        text=word.text,
        start=word.start,
        end=word.end,
        probability=word.probability,
        speaker_confidence=assigned.confidence,
        flags=tuple(flag for flag in WordFlag if flag in flags),
    )


def _speakers(turns: SpeakerTurns, utterances: Sequence[Utterance]) -> tuple[Speaker, ...]:
    words: dict[str | None, int] = {}
    for utterance in utterances:
        words[utterance.speaker] = words.get(utterance.speaker, 0) + len(utterance.words)
    by_channel = turns.settings.method == "channel"
    return tuple(
        Speaker(
            label=label,
            channel=next(turn.channel for turn in turns.turns if turn.speaker == label) if by_channel else None,
            speech_seconds=round(sum(turn.end - turn.start for turn in turns.turns if turn.speaker == label), 3),
            words=words.get(label, 0),
        )
        for label in turns.speakers
    )


def _unspoken(raw: RawTranscript, turns: SpeakerTurns, words: Sequence[_Placed]) -> tuple[Unspoken, ...]:
    """Stretches without words that a listener should check, in order, those of a channel apart from each other; not
    where a channel only carries another's speech."""
    bleed = {
        channel.channel: TurnIndex([turn for turn in turns.bleed if turn.channel == channel.channel])
        for channel in raw.channels
    }
    found = [
        (channel.channel, span.start, span.end)
        for channel in raw.channels
        for span in channel.flagged
        if sum(
            min(turn.end, span.end) - max(turn.start, span.start)
            for turn in bleed[channel.channel].between(span.start, span.end)
        )
        < 0.5 * (span.end - span.start)
    ]
    if turns.settings.method != "channel":
        found += _turns_without_words(turns.turns, words)
    apart = [
        (start, channel, end)
        for channel in {channel for channel, _, _ in found}
        for start, end in merged((start, end) for at, start, end in found if at == channel)
    ]
    return tuple(
        Unspoken(channel=channel, start=start, end=end, flag=Suspicion.SPEECH_WITHOUT_WORDS)
        for start, channel, end in sorted(apart)
    )


def _turns_without_words(turns: Sequence[Turn], words: Sequence[_Placed]) -> list[tuple[int, float, float]]:
    """Where the model that tells speakers apart heard one who has no words there, be it that nobody has or that only
    another has who talks at the same time."""
    found = []
    for speaker in {turn.speaker for turn in turns}:
        own = [turn for turn in turns if turn.speaker == speaker]
        # words of nobody may be anybody's
        said = sorted(
            (placed.assigned.word.start, placed.assigned.word.end)
            for placed in words
            if placed.assigned.speaker in (speaker, None)
        )
        for channel in {turn.channel for turn in own}:
            heard = merged((turn.start, turn.end) for turn in own if turn.channel == channel)
            found += [
                (channel, gap.start, gap.end)
                for gap in gaps([Span(start=a, end=b) for a, b in heard], said, TURN_GAP_SECONDS)
            ]
    return found
