"""Levels against figures that anyone can compute, and which channels count as the same."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from caseprep_pipelines.audio.levels import Levels, duplicates
from caseprep_pipelines_tests.audio.media import noise, tone, wav

BLOCK = 64_000


def measured(samples: NDArray[np.float32]) -> dict[str, float | None]:
    levels = Levels()
    for first in range(0, len(samples), BLOCK):
        levels.add(samples[first : first + BLOCK])
    return levels.result()


def test_loudness_of_the_reference_tone_of_bs_1770() -> None:
    # one channel of a 997 Hz tone at full scale reads -3.01 LKFS
    assert measured(tone(997, 0, 10))["loudness_lufs"] == pytest.approx(-3.01, abs=0.1)


def test_quiet_stretches_are_gated_out_as_in_ebu_tech_3341_case_3() -> None:
    # -36, -23, -36 dBFS read -23 LUFS in stereo, so 3.01 LU less in each channel
    quiet, loud = tone(1000, -36, 10), tone(1000, -23, 60)
    loudness = measured(np.concatenate([quiet, loud, quiet]))["loudness_lufs"]
    assert loudness == pytest.approx(-26.01, abs=0.1)


def test_silence_has_no_loudness_and_no_level() -> None:
    result = measured(np.zeros(160_000, np.float32))
    assert result == {"loudness_lufs": None, "peak_dbfs": None, "rms_dbfs": None, "silence_ratio": 1.0}


def test_peak_and_rms_of_a_tone() -> None:
    result = measured(tone(1000, -6, 5))
    assert result["peak_dbfs"] == pytest.approx(-6, abs=0.05)
    assert result["rms_dbfs"] == pytest.approx(-9.01, abs=0.05)


def test_silence_is_what_lies_below_60_db_under_full_scale() -> None:
    samples = np.concatenate([tone(1000, -50, 3), tone(1000, -60, 1), np.zeros(32_000, np.float32)])
    assert measured(samples)["silence_ratio"] == pytest.approx(0.5)


def test_levels_do_not_depend_on_how_samples_were_cut() -> None:
    samples = noise(-20, 9.37)
    whole = Levels()
    whole.add(samples)
    assert whole.result() == pytest.approx(measured(samples))


def flacs(folder: Path, *channels: NDArray[np.float32]) -> list[Path]:
    return [wav(folder / f"{number}.flac", channel) for number, channel in enumerate(channels)]


SPEECH = noise(-25, 12, seed=1) * np.repeat(np.random.default_rng(2).random(120), 1600).astype(np.float32)


@pytest.mark.parametrize(
    "copy",
    [SPEECH, SPEECH * 0.5, -SPEECH, SPEECH + noise(-80, 12, seed=3)],
    ids=["identical", "6 dB lower", "inverted", "with a codec's noise"],
)
def test_a_repeated_channel_is_recognised(tmp_path: Path, copy: NDArray[np.float32]) -> None:
    assert duplicates(flacs(tmp_path, SPEECH, copy)) == {1: 0}


def test_a_whisper_on_one_side_keeps_the_sides_apart(tmp_path: Path) -> None:
    other = SPEECH.copy()
    other[80_000:96_000] += noise(-50, 1, seed=4)
    assert duplicates(flacs(tmp_path, SPEECH, other)) == {}


def test_a_neighbouring_microphone_is_not_a_copy(tmp_path: Path) -> None:
    assert duplicates(flacs(tmp_path, SPEECH, 0.7 * SPEECH + noise(-45, 12, seed=5))) == {}


def test_a_silent_channel_repeats_nothing(tmp_path: Path) -> None:
    silence = np.zeros_like(SPEECH)
    assert duplicates(flacs(tmp_path, silence, SPEECH, silence, noise(-85, 12))) == {}


def test_of_many_channels_each_copy_points_to_the_first(tmp_path: Path) -> None:
    other = noise(-30, 12, seed=6)
    assert duplicates(flacs(tmp_path, SPEECH, other, SPEECH, other * 0.8, SPEECH)) == {2: 0, 3: 1, 4: 0}
