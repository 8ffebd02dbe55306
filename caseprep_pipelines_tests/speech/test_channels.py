import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caseprep_pipelines.speech.channels import ChannelSpeech, channel_turns, channels_are_speakers
from caseprep_pipelines.speech.documents import Span
from caseprep_pipelines.speech.voice_activity import FRAME_SECONDS, mask, span_frames

SECONDS = 60.0
FRAMES = round(SECONDS / FRAME_SECONDS)


def channel(index: int, *heard: tuple[float, float, float]) -> ChannelSpeech:
    """A channel on which speech of `(start, end, level in dB)` is heard, over a floor of -60 dB."""
    powers = np.full(FRAMES, 1e-6, dtype=np.float32)
    for start, end, level in heard:
        powers[round(start / FRAME_SECONDS) : round(end / FRAME_SECONDS)] = 10 ** (level / 10)
    return ChannelSpeech(index, tuple(Span(start=start, end=end) for start, end, _ in heard), powers)


CALL = [channel(0, (1.28, 9.6, -20), (24.0, 32.0, -20)), channel(1, (11.2, 22.4, -26), (32.0, 40.0, -26))]
COURT = [
    channel(0, (1.28, 9.6, -20), (11.2, 22.4, -40), (32.0, 40.0, -38)),
    channel(1, (1.28, 9.6, -38), (11.2, 22.4, -22)),
    channel(2, (32.0, 40.0, -25)),
]
ROOM = [channel(0, (1.28, 9.6, -20), (11.2, 22.4, -24)), channel(1, (1.28, 9.6, -22), (11.2, 22.4, -21))]
EMPTY_CHAIR = [channel(0, (1.28, 9.6, -20), (11.2, 22.4, -24)), channel(1, (1.28, 9.6, -40), (11.2, 22.4, -44))]


@pytest.mark.parametrize(
    ("channels", "speakers"),
    [(CALL, True), (COURT, True), (ROOM, False), (EMPTY_CHAIR, False), (CALL[:1], False)],
    ids=["call", "court with bleed", "two microphones in a room", "empty chair", "one channel"],
)
def test_channels_are_speakers_where_each_carries_somebody_of_its_own(
    channels: list[ChannelSpeech], speakers: bool
) -> None:
    assert channels_are_speakers(channels) is speakers


def test_nobody_speaks() -> None:
    assert not channels_are_speakers([channel(0), channel(1)])


def test_each_channel_of_a_call_is_a_speaker_and_all_its_speech_theirs() -> None:
    turns, bleed = channel_turns(CALL, SECONDS)
    assert [(turn.speaker, turn.channel, turn.start, turn.end) for turn in turns] == [
        ("SPEAKER_00", 0, 1.28, 9.6),
        ("SPEAKER_01", 1, 11.2, 22.4),
        ("SPEAKER_00", 0, 24.0, 32.0),
        ("SPEAKER_01", 1, 32.0, 40.0),
    ]
    assert bleed == ()


def test_bleed_is_nobodys_turn_but_is_kept() -> None:
    turns, bleed = channel_turns(COURT, SECONDS)
    assert [(turn.speaker, turn.start) for turn in turns] == [
        ("SPEAKER_00", 1.28),
        ("SPEAKER_01", 11.2),
        ("SPEAKER_02", 32.0),
    ]
    assert [(turn.channel, turn.speaker, turn.start, turn.end) for turn in bleed] == [
        (1, "SPEAKER_00", 1.28, 9.6),
        (0, "SPEAKER_01", 11.2, 22.4),
        (0, "SPEAKER_02", 32.0, 40.0),
    ]


def test_two_people_talking_at_once_both_have_turns() -> None:
    turns, bleed = channel_turns([channel(0, (1.6, 9.6, -20)), channel(1, (3.2, 8.0, -23))], SECONDS)
    assert [turn.speaker for turn in turns] == ["SPEAKER_00", "SPEAKER_01"]
    assert bleed == ()


@st.composite
def recordings(draw: st.DrawFn) -> list[ChannelSpeech]:
    channels = []
    for index in range(draw(st.integers(2, 4))):
        edges = sorted(draw(st.sets(st.integers(0, FRAMES), max_size=12)))
        heard = [
            (a * FRAME_SECONDS, b * FRAME_SECONDS, draw(st.integers(-50, -10)))
            for a, b in zip(edges[::2], edges[1::2], strict=False)
        ]
        made = channel(index, *heard)
        spans = tuple(Span(start=round(span.start, 3), end=round(span.end, 3)) for span in made.speech)
        channels.append(ChannelSpeech(index, spans, made.powers))
    return channels


@given(recordings())
def test_turns_and_bleed_together_are_all_speech_and_apart(channels: list[ChannelSpeech]) -> None:
    turns, bleed = channel_turns(channels, SECONDS)
    for one in channels:
        own, bled = (
            mask(span_frames(Span(start=t.start, end=t.end) for t in which if t.channel == one.index), FRAMES)
            for which in (turns, bleed)
        )
        assert not (own & bled).any()
        assert np.array_equal(own | bled, mask(span_frames(one.speech), FRAMES))
    assert len({(turn.channel, turn.speaker) for turn in turns}) == len({turn.channel for turn in turns})


@given(recordings())
def test_somebody_speaks_wherever_speech_is(channels: list[ChannelSpeech]) -> None:
    """The loudest channel is never bleed, but for stretches too short to follow."""
    turns, bleed = channel_turns(channels, SECONDS)
    if any(one.speech for one in channels):
        assert turns or sum(turn.end - turn.start for turn in bleed) < 1.0
