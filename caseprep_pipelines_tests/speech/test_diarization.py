import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caseprep_pipelines.audio.documents import NormalizedAudio
from caseprep_pipelines.errors import Fault
from caseprep_pipelines.models.identity import ModelIdentity
from caseprep_pipelines.speech.diarization import Job, diarize, diarize_many, windows
from caseprep_pipelines.speech.diarizer import DiarizeOptions, Diarizer, Savings, WindowTurn, WindowTurns
from caseprep_pipelines.speech.documents import ChannelTranscript, DecodeSettings, RawTranscript, Span, SpeakerTurns
from caseprep_pipelines.speech.transcriber import Progress, no_progress
from caseprep_pipelines_tests.speech.conftest import DemoRecording, normalized

IDENTITY = ModelIdentity(name="fake", digest="0" * 64)


@dataclass
class TwoPeople:
    """A diarizer for which Anna speaks while samples are positive and Ben while they are negative; whoever begins a
    window is its first speaker."""

    identity: ModelIdentity = IDENTITY
    device: str = "cpu"
    seen: list[tuple[int, DiarizeOptions]] = field(default_factory=list)

    def libraries(self) -> dict[str, str]:
        return {"fake": "1"}

    def hear(
        self,
        samples: np.ndarray,
        options: DiarizeOptions,
        progress: Progress = no_progress,
        savings: Savings | None = None,
    ) -> Callable[[], WindowTurns]:
        self.seen.append((len(samples), options))
        signs = np.sign(samples[::1600])
        voices = [sign for sign in dict.fromkeys(signs.tolist()) if sign]
        edges = [0, *(1 + np.flatnonzero(np.diff(signs))).tolist(), len(signs)]
        turns = tuple(WindowTurn(voices.index(signs[a]), a / 10, b / 10, 0.5) for a, b in pairwise(edges) if signs[a])
        progress(len(samples) / 16_000)
        centroids = np.array([[1.0, 0.0] if voice > 0 else [0.0, 1.0] for voice in voices]).reshape(-1, 2)
        return partial(WindowTurns, turns, turns, centroids)

    def speech(self, samples: np.ndarray) -> list[tuple[float, float]]:
        return [(0.0, len(samples) / 16_000)]


def unneeded() -> Diarizer:
    raise AssertionError("no model is needed")


def raw(audio: NormalizedAudio, *speech: tuple[tuple[float, float], ...]) -> RawTranscript:
    return RawTranscript(
        partition=audio.partition,
        audio_sha256=tuple(channel.sha256 for channel in audio.channels),
        duration_seconds=audio.duration_seconds,
        model=IDENTITY,
        settings=DecodeSettings(
            language=None,
            beam_size=1,
            temperature=0.0,
            hotwords=(),
            hotwords_left_out=(),
            word_timestamps=True,
            without_timestamps=True,
            max_new_tokens=220,
            compute_type="int8",
            clip_seconds=30.0,
            speech_threshold=0.35,
            silence_threshold=0.2,
            min_silence_seconds=0.16,
            speech_pad_seconds=0.32,
            max_pause_seconds=2.0,
        ),
        libraries={},
        channels=tuple(
            ChannelTranscript(
                channel=index,
                language="en",
                language_probability=None,
                speech=tuple(Span(start=start, end=end) for start, end in spans),
                clips=(),
                speech_ratio=0.5,
                snr_db=None,
                segments=(),
            )
            for index, spans in enumerate(speech)
        ),
    )


def voices(*spoken: tuple[float, float, float], seconds: float = 60.0) -> np.ndarray:
    samples = np.zeros(round(seconds * 16_000), dtype=np.float32)
    for start, end, level in spoken:
        samples[round(start * 16_000) : round(end * 16_000)] = level
    return samples


TALK = [(1.0, 9.0, 0.5), (12.0, 20.0, -0.5), (23.0, 29.0, 0.5), (33.0, 41.0, -0.5), (44.0, 58.0, 0.5)]
SPEECH = tuple((start, end) for start, end, _ in TALK)


@pytest.mark.parametrize("window", [7200.0, 30.0, 12.0])
def test_speakers_keep_their_names_across_windows(window: float, tmp_path: Path) -> None:
    audio = normalized(tmp_path, voices(*TALK))
    turns = diarize(Job(audio, tmp_path, raw(audio, SPEECH), TwoPeople, DiarizeOptions(window_seconds=window)))
    spoken = [[turn.speaker for turn in turns.turns if turn.start < end and turn.end > start] for start, end in SPEECH]
    assert [set(row) for row in spoken] == [{"SPEAKER_00"}, {"SPEAKER_01"}] * 2 + [{"SPEAKER_00"}]
    for (start, end), row in zip(SPEECH, spoken, strict=True):
        covered = sum(min(t.end, end) - max(t.start, start) for t in turns.turns if t.start < end and t.end > start)
        assert covered == pytest.approx(end - start, abs=0.2), row
    assert turns.speakers == ("SPEAKER_00", "SPEAKER_01")
    assert turns.settings.method == "pyannote"
    assert (turns.settings.linking_threshold is None) == (window > 60)


def test_no_more_than_a_window_is_in_memory_and_bounds_hold_for_the_whole(tmp_path: Path) -> None:
    audio = normalized(tmp_path, voices(*TALK))
    people, seconds = TwoPeople(), []
    diarize(Job(audio, tmp_path, raw(audio, SPEECH), lambda: people, DiarizeOptions(2, 4, 30.0), seconds.append))
    assert sum(length for length, _ in people.seen) == 60 * 16_000
    assert all(length <= 30 * 16_000 for length, _ in people.seen)
    assert all((o.min_speakers, o.max_speakers) == (None, 4) for _, o in people.seen)
    assert seconds == sorted(seconds)
    assert seconds[-1] == pytest.approx(60)
    diarize(Job(audio, tmp_path, raw(audio, SPEECH), lambda: people, DiarizeOptions(2, 4)))
    assert people.seen[-1][1].min_speakers == 2


def test_a_call_needs_no_model(tmp_path: Path) -> None:
    audio = normalized(tmp_path, voices((1.0, 9.0, 0.1)), voices((12.0, 20.0, 0.1)))
    turns = diarize(Job(audio, tmp_path, raw(audio, ((1.024, 9.024),), ((12.0, 20.0),)), unneeded))
    assert turns.settings.method == "channel"
    assert turns.model is None
    assert [(turn.speaker, turn.channel) for turn in turns.turns] == [("SPEAKER_00", 0), ("SPEAKER_01", 1)]


def test_two_microphones_in_a_room_are_mixed(tmp_path: Path) -> None:
    audio = normalized(tmp_path, voices(*TALK), 0.8 * voices(*TALK))
    turns = diarize(Job(audio, tmp_path, raw(audio, SPEECH, SPEECH), TwoPeople))
    assert turns.settings.method == "pyannote"
    assert turns.settings.channels == (0, 1)
    assert turns.speakers == ("SPEAKER_00", "SPEAKER_01")


def test_a_channel_without_speech_is_left_out(tmp_path: Path) -> None:
    audio = normalized(tmp_path, voices(), voices(*TALK))
    turns = diarize(Job(audio, tmp_path, raw(audio, (), SPEECH), TwoPeople))
    assert turns.settings.channels == (1,)
    assert {turn.channel for turn in turns.turns} == {1}


def test_silence_has_no_speakers(tmp_path: Path) -> None:
    audio = normalized(tmp_path, voices())
    turns = diarize(Job(audio, tmp_path, raw(audio, ()), TwoPeople))
    assert (turns.speakers, turns.turns, turns.exclusive_turns) == ((), (), ())


@dataclass
class BesideAGpu(TwoPeople):
    """The same where there is something else to do meanwhile."""

    device: str = "a GPU"


def test_a_gpu_goes_on_while_voices_are_clustered_and_the_turns_are_the_same(tmp_path: Path) -> None:
    recordings = []
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        recordings.append((folder, normalized(folder, voices(*TALK[number:]))))

    def jobs(people: TwoPeople) -> Callable[[tuple[Path, NormalizedAudio]], Job]:
        return lambda given: Job(
            given[1], given[0], raw(given[1], SPEECH), lambda: people, DiarizeOptions(window_seconds=30.0)
        )

    people = BesideAGpu()
    outcomes = diarize_many(recordings, jobs(people))
    first = next(outcomes)
    # the first one's turns came when the second one's windows had been heard, and before the third's
    assert len(people.seen) == 2 * len(windows(tuple(Span(start=a, end=b) for a, b in SPEECH), 60.0, 30.0))
    found = [first, *outcomes]
    assert [outcome.item for outcome in found] == recordings
    assert [outcome.result for outcome in found] == [
        outcome.result for outcome in diarize_many(recordings, jobs(TwoPeople()))
    ]


@dataclass
class Deadly(BesideAGpu):
    """Clustering the first window that is heard kills its process."""

    def hear(self, samples: np.ndarray, *arguments: object, **named: object) -> Callable[[], WindowTurns]:
        tell = super().hear(samples, *arguments, **named)  # type: ignore[arg-type]
        return partial(os._exit, 9) if len(self.seen) == 1 else tell  # type: ignore[arg-type]


def test_a_process_that_dies_is_a_fault_and_the_next_recording_gets_another(tmp_path: Path) -> None:
    audio = normalized(tmp_path, voices(*TALK))
    people = Deadly()
    first, second, third = diarize_many(range(3), lambda _: Job(audio, tmp_path, raw(audio, SPEECH), lambda: people))
    assert isinstance(first.result, Fault)
    assert isinstance(second.result, SpeakerTurns | Fault)  # it may have been in the hands of the same pool
    assert isinstance(third.result, SpeakerTurns)


edges = st.lists(st.floats(0, 5000, allow_nan=False), max_size=30).map(sorted)


@given(edges, st.floats(1, 5000), st.floats(60, 2000))
def test_windows_are_the_whole_recording_and_none_is_too_long(marks: list[float], seconds: float, limit: float) -> None:
    speech = tuple(Span(start=a, end=b) for a, b in zip(marks[::2], marks[1::2], strict=False))
    cut = windows(speech, seconds, limit)
    assert cut[0].start == 0.0
    assert cut[-1].end == seconds
    assert all(before.end == after.start for before, after in pairwise(cut))
    assert all(0 < span.end - span.start <= limit + 0.001 for span in cut)
    assert len(cut) <= 2 + seconds / limit * 1.25


def test_windows_are_cut_in_the_longest_silence_near_their_end() -> None:
    speech = (Span(start=0, end=92), Span(start=93, end=95), Span(start=98, end=105), Span(start=106, end=190))
    assert [span.end for span in windows(speech, 190.0, 100.0)] == [96.5, 190.0]


def test_real_channels_are_told_apart(jail_call: DemoRecording, courtroom: DemoRecording) -> None:
    from caseprep_pipelines.speech.voice_activity import detect

    for recording in (jail_call, courtroom):
        speech = [
            tuple((span.start, span.end) for span in detect(recording.folder / channel.file).speech)
            for channel in recording.audio.channels
        ]
        turns = diarize(Job(recording.audio, recording.folder, raw(recording.audio, *speech), unneeded))
        names = list(dict.fromkeys(said["speaker"] for said in recording.reference))
        assert len(turns.speakers) == len(names)
        channel_of: dict[str, int] = {}
        for said in recording.reference:
            shared: dict[int, float] = {}
            for turn in turns.turns:
                covered = min(turn.end, said["end_time"]) - max(turn.start, said["start_time"])
                shared[turn.channel] = shared.get(turn.channel, 0.0) + max(0.0, covered)
            loudest = max(shared, key=lambda channel: shared[channel])
            assert channel_of.setdefault(said["speaker"], loudest) == loudest
            assert shared[loudest] > 0.8 * (said["end_time"] - said["start_time"])
