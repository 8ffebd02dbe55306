"""The picture shows where something is, and nothing of what it is."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from caseprep_pipelines.audio.waveform import clock, draw, peaks
from caseprep_pipelines_tests.audio.media import noise, tone, wav


def colors(path: Path) -> set[tuple[int, ...]]:
    image = Image.open(path).convert("RGB")
    return {color for _, color in image.getcolors(1 << 24)}


def test_peaks_follow_the_sound(tmp_path: Path) -> None:
    samples = np.concatenate([np.zeros(16_000 * 70, np.float32), tone(500, -6, 70)])
    found = peaks(wav(tmp_path / "x.flac", samples), columns=100)
    assert found.shape == (100, 2)
    assert not found[:50].any()
    assert found[51:, 1] == pytest.approx(0.5, abs=0.01)
    assert found[51:, 0] == pytest.approx(-0.5, abs=0.01)


def test_a_recording_shorter_than_the_picture_is_wide(tmp_path: Path) -> None:
    assert peaks(wav(tmp_path / "x.flac", noise(-20, 0.01)), columns=1200).any()


def test_speech_speakers_and_flags_are_drawn_in(tmp_path: Path) -> None:
    channels = [peaks(wav(tmp_path / f"{n}.flac", noise(-20, 20, seed=n))) for n in range(2)]
    plain, full = tmp_path / "plain.png", tmp_path / "full.png"
    draw(plain, channels, 20.0)
    draw(
        full,
        channels,
        20.0,
        speech=[(0, 1, 5), (1, 6, 9)],
        turns=[(0, "B", 1, 5), (1, "A", 6, 9)],
        flagged=[(1, 7, 7.5)],
    )
    assert (0x00, 0x72, 0xB2) in colors(full) - colors(plain)
    assert (0xE6, 0x9F, 0x00) in colors(full) - colors(plain)
    assert full.stat().st_size < 150_000


def test_labels_of_speakers_do_not_show(tmp_path: Path) -> None:
    wave = [np.zeros((1200, 2), np.float32)]
    draw(tmp_path / "a.png", wave, 10.0, turns=[(0, "Client Name", 1, 5)])
    draw(tmp_path / "b.png", wave, 10.0, turns=[(0, "Other", 1, 5)])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(("channels", "duration"), [(1, 0.0), (1, 0.01), (2, 36_000.0), (8, 93_600.0), (64, 59.0)])
def test_any_length_and_any_number_of_channels(tmp_path: Path, channels: int, duration: float) -> None:
    wave = [np.random.default_rng(n).uniform(-1, 1, (1200, 2)).astype(np.float32) for n in range(channels)]
    spans = [(channel, duration / 4, duration * 2) for channel in range(channels)]
    draw(tmp_path / "x.png", wave, duration, speech=spans, turns=[(c, str(c), s, e) for c, s, e in spans])
    assert (tmp_path / "x.png").stat().st_size < 150_000


def test_times_are_hours_minutes_and_seconds() -> None:
    assert [clock(0), clock(61), clock(36_610.9)] == ["0:00:00", "0:01:01", "10:10:10"]
