from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from caseprep_pipelines.speech.documents import Span
from caseprep_pipelines.speech.voice_activity import (
    FRAME_SAMPLES,
    FRAME_SECONDS,
    MAX_PAUSE_SHARE,
    SPEECH_PAD_SECONDS,
    VoiceActivity,
    clip_frames,
    detect,
    frame_powers,
    mask,
    span_frames,
    speech_frames,
    speech_probabilities,
    to_spans,
)
from caseprep_pipelines_tests.speech.conftest import DemoRecording

PAD = round(SPEECH_PAD_SECONDS / FRAME_SECONDS)


@st.composite
def probabilities(draw: st.DrawFn) -> np.ndarray:
    """Stretches that are silent, doubtful, loud or random, from a few frames to a minute."""
    parts = draw(
        st.lists(
            st.tuples(st.integers(1, 400), st.sampled_from([0.0, 0.1, 0.3, 0.9, 1.0]), st.booleans()),
            max_size=12,
        )
    )
    noise = np.random.default_rng(draw(st.integers(0, 99)))
    stretches = [noise.random(length) if random else np.full(length, level) for length, level, random in parts]
    return np.concatenate([*stretches, np.zeros(0)]).astype(np.float32)


@given(probabilities(), st.integers(10, 300))
def test_clips_hold_all_speech_and_are_never_longer_than_the_model_hears(heard: np.ndarray, limit: int) -> None:
    speech = speech_frames(heard)
    clips = clip_frames(speech, heard, limit)
    assert all(0 < end - start <= limit for start, end in clips)
    assert all(before[1] <= after[0] for before, after in pairwise(clips))
    assert all(start >= 0 and end <= len(heard) for start, end in clips)
    assert not (mask(speech, len(heard)) & ~mask(clips, len(heard))).any()
    assert all(mask(speech, len(heard))[start:end].any() or end - start <= PAD for start, end in clips)
    assert clips == clip_frames(speech, heard, limit)


@given(probabilities(), st.integers(40, 300))
def test_clips_keep_the_padding_around_speech(heard: np.ndarray, limit: int) -> None:
    speech = speech_frames(heard)
    held = mask(clip_frames(speech, heard, limit), len(heard))
    for (start, end), before, after in zip(
        speech, [0, *(end for _, end in speech)], [*(start for start, _ in speech[1:]), len(heard)], strict=False
    ):
        assert held[max(start - min(PAD, (start - before) // 2), 0) : end + min(PAD, (after - end) // 2)].all()


@given(probabilities(), st.integers(40, 300))
def test_no_clip_holds_a_long_pause(heard: np.ndarray, limit: int) -> None:
    speech = mask(speech_frames(heard), len(heard))
    for start, end in clip_frames(speech_frames(heard), heard, limit):
        silent = np.flatnonzero(np.diff(np.concatenate([[1], speech[start:end], [1]])))
        assert all(b - a <= limit * MAX_PAUSE_SHARE for a, b in silent.reshape(-1, 2))


@given(probabilities())
def test_frames_survive_being_written_as_seconds(heard: np.ndarray) -> None:
    speech = speech_frames(heard)
    assert span_frames(to_spans(speech, len(heard) * FRAME_SECONDS)) == speech


def test_long_speech_is_cut_where_it_is_least_likely_speech() -> None:
    heard = np.full(1000, 0.99, dtype=np.float32)
    heard[560:565] = 0.4
    heard[200:205] = 0.4  # quieter too, but a clip that ends here would be needlessly short
    first, second = clip_frames(speech_frames(heard), heard, 600)
    assert first[0] == 0
    assert 560 <= first[1] <= 565
    assert second == (first[1], 1000)


def test_a_full_clip_ends_at_the_longest_silence_of_its_last_third() -> None:
    heard = np.full(1000, 0.99, dtype=np.float32)
    for start, length in ((100, 40), (500, 10), (700, 30), (850, 10)):
        heard[start : start + length] = 0.0
    clips = clip_frames(speech_frames(heard), heard, 900)
    assert [(700 <= end <= 730) for _, end in clips] == [True, False]


def test_a_clip_ends_at_a_shorter_silence_where_the_rest_then_needs_fewer_clips() -> None:
    heard = np.full(1250, 0.99, dtype=np.float32)
    for start, length in ((450, 30), (640, 10)):
        heard[start : start + length] = 0.0
    first, second = clip_frames(speech_frames(heard), heard, 650)
    assert 640 <= first[1] <= 650
    assert second == (first[1], 1250)


def test_speech_goes_on_through_doubt_and_ends_in_silence() -> None:
    heard = np.array([0.1, 0.3, 0.5, 0.3, 0.3, 0.1, 0.1, 0.5] + [0.1] * 9 + [0.3, 0.9], dtype=np.float32)
    assert speech_frames(heard) == [(2, 8), (18, 19)]


def test_silence_and_the_shortest_recording_have_no_speech() -> None:
    assert speech_frames(np.zeros(0, dtype=np.float32)) == []
    activity = VoiceActivity(1 / 16_000, np.zeros(1, dtype=np.float32), np.zeros(1, dtype=np.float32))
    assert (activity.speech, activity.clips(30.0), activity.snr_db, activity.speech_ratio) == ((), (), None, 0.0)


def test_the_last_frame_ends_with_the_recording() -> None:
    assert to_spans([(0, 2)], 0.05) == (Span(start=0.0, end=0.05),)


def test_snr_is_what_was_mixed() -> None:
    speech = np.zeros(500, dtype=np.float32)
    speech[200:300] = 1.0
    powers = np.where(speech > 0, 0.0101, 0.0001).astype(np.float32)
    assert VoiceActivity(16.0, speech, powers).snr_db == pytest.approx(20.0, abs=0.1)
    assert VoiceActivity(16.0, speech, np.full(500, 1e-4, dtype=np.float32)).snr_db == pytest.approx(-30.0, abs=0.1)
    assert VoiceActivity(16.0, speech, np.where(speech > 0, 0.01, 0.0).astype(np.float32)).snr_db is None


def test_blocks_leave_no_trace_in_what_the_detector_hears(deposition: DemoRecording) -> None:
    from faster_whisper.vad import get_vad_model

    samples, _ = soundfile.read(deposition.folder / "0.flac", dtype="float32")
    padded = np.pad(samples, (0, -len(samples) % FRAME_SAMPLES))
    whole = get_vad_model()(padded).reshape(-1)
    for frames in (7, 1000, 10_000):
        pieces = [samples[at : at + frames * 512] for at in range(0, len(samples), frames * 512)]
        assert np.array_equal(np.concatenate(list(speech_probabilities(pieces))), whole)
    activity = detect(deposition.folder / "0.flac")
    assert np.array_equal(activity.probabilities, whole)
    assert np.array_equal(activity.powers, frame_powers(samples))


def test_every_spoken_word_is_in_a_clip(deposition: DemoRecording) -> None:
    clips = detect(deposition.folder / "0.flac").clips(10.0)
    for said in deposition.reference:
        for start, end in said["word_times"]:
            assert any(clip.start <= (start + end) / 2 <= clip.end for clip in clips)


@pytest.mark.parametrize("sound", ["silence", "hum", "noise"])
def test_nobody_speaks_in(sound: str, tmp_path: Path) -> None:
    time = np.arange(60 * 16_000) / 16_000
    samples = {
        "silence": np.zeros_like(time),
        "hum": 0.1 * np.sin(2 * np.pi * 60 * time),
        "noise": np.random.default_rng(0).normal(0, 0.05, len(time)),
    }[sound]
    soundfile.write(tmp_path / "0.flac", samples, 16_000, subtype="PCM_16")
    assert detect(tmp_path / "0.flac").speech == ()


def test_the_fringe_of_another_channels_speech_is_no_clip() -> None:
    """Between two sentences that this microphone hears from afar there is nothing of its own to recognize."""
    heard = np.zeros(400, dtype=np.float32)
    heard[20:100] = heard[112:200] = 0.9
    heard[100:112] = 0.12  # faint: neither speech nor silence
    activity = VoiceActivity(400 * FRAME_SECONDS, heard, np.ones(400, dtype=np.float32))
    far = to_spans([(20, 100), (112, 200)], activity.seconds)
    assert activity.clips(30.0)
    assert activity.clips(30.0, far) == ()
