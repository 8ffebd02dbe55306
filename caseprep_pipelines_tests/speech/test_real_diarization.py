"""Real people told apart by the starter models: as stock pyannote.audio does it, and right for the most part.

Needs the starter models (`make test` fetches them). The telephone call inside pyannote.audio is always there; those
recordings of `../shared/real` that are at hand are taken as well, in CI always. How the figures come about, and what
bounds them, is in `docs/starter_models.md`.
"""

from functools import cache
from typing import Any

import numpy as np
import pytest
import soundfile

from benchmarks import Unavailable
from benchmarks._real_corpus import Item, Samples, corpus
from caseprep_pipelines.models.directories import resolve_diarization
from caseprep_pipelines.speech.diarizer import DiarizeOptions, WindowTurn
from caseprep_pipelines.speech.pyannote_diarizer import PyannoteDiarizer, load_diarizer
from caseprep_pipelines.speech.voice_activity import FRAME_SECONDS, speech_frames, speech_probabilities
from caseprep_pipelines_tests.conftest import starter_models

MEETINGS = [f"ami-trn0{number}" for number in range(1, 6)]


@pytest.fixture(scope="module")
def starter() -> PyannoteDiarizer:
    found = resolve_diarization("starter", starter_models())
    return load_diarizer(found.path, found.identity, device="cpu")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("real")

    @cache
    def recording(name: str) -> tuple[Item, Samples]:
        try:
            (item,) = corpus(folder, lambda recipe: recipe.name == name)
        except Unavailable as missing:
            pytest.skip(str(missing))
        samples, _ = soundfile.read(folder / item.file, dtype="float32")
        return item, samples

    return recording


def errors(item: Item, turns: tuple[WindowTurn, ...]) -> tuple[float, float]:
    """Seconds of error and of speech, without a collar."""
    from pyannote.core import Annotation, Segment, Timeline
    from pyannote.metrics.diarization import DiarizationErrorRate

    truth, said = Annotation(), Annotation()
    for number, (start, end, who) in enumerate(item.speakers or ()):
        truth[Segment(start, end), number] = who
    for number, turn in enumerate(turns):
        said[Segment(turn.start, min(turn.end, item.seconds)), number] = turn.speaker
    found = DiarizationErrorRate()(truth, said, uem=Timeline([Segment(0, item.seconds)]), detailed=True)
    return found["missed detection"] + found["false alarm"] + found["confusion"], found["total"]


@pytest.mark.filterwarnings("ignore")
def test_the_turns_are_those_of_stock_pyannote_with_the_same_weights(
    starter: PyannoteDiarizer, recordings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from pyannote.audio.pipelines import SpeakerDiarization

    _, samples = recordings("call")
    # with silence in it, so that whole chunks are skipped
    audio = np.concatenate([samples, np.zeros(12 * 16_000, np.float32), samples[: 16_000 * 7]])
    ours = starter.hear(audio, DiarizeOptions())()
    monkeypatch.setattr(starter.pipeline, "__class__", SpeakerDiarization)
    stock = starter.pipeline({"waveform": torch.from_numpy(audio)[None], "sample_rate": 16_000, "uri": "x"})
    labels = stock.speaker_diarization.labels()
    for turns, annotation in (
        (ours.turns, stock.speaker_diarization),
        (ours.exclusive, stock.exclusive_speaker_diarization),
    ):
        assert [(turn.start, turn.end, labels[turn.speaker]) for turn in turns] == [
            (round(turn.start, 3), round(turn.end, 3), label)
            for turn, _, label in annotation.itertracks(yield_label=True)
        ]
    assert ours.centroids == pytest.approx(stock.speaker_embeddings, abs=1e-4)


def test_a_telephone_call_is_two_people_with_six_percent_of_error_at_most(
    starter: PyannoteDiarizer, recordings: Any
) -> None:
    item, samples = recordings("call")
    said = starter.hear(samples, DiarizeOptions())()
    wrong, spoken = errors(item, said.turns)
    assert len(said.centroids) == 2
    assert wrong <= 0.06 * spoken


def test_meetings_heard_from_afar_have_a_third_of_error_at_most(starter: PyannoteDiarizer, recordings: Any) -> None:
    found = [recordings(name) for name in MEETINGS]
    counted = [errors(item, starter.hear(samples, DiarizeOptions())().turns) for item, samples in found]
    wrong, spoken = map(sum, zip(*counted, strict=True))
    assert wrong <= 0.34 * spoken


def test_a_court_of_appeals_is_judge_and_counsel_and_the_judge_grants(
    starter: PyannoteDiarizer, recordings: Any
) -> None:
    _, samples = recordings("court")
    said = starter.hear(samples, DiarizeOptions())()
    assert len(said.centroids) == 2

    def speaker(at: float) -> int:
        (found,) = {turn.speaker for turn in said.exclusive if turn.start <= at < turn.end}
        return found

    judge, counsel = speaker(4.0), speaker(16.0)
    assert judge != counsel
    assert speaker(27.75) == judge  # "Granted."
    assert {speaker(at) for at in (25.0, 35.0, 40.0, 47.0)} == {counsel}
    assert {speaker(at) for at in (54.0, 56.0)} == {judge}


def test_the_second_witness_hears_people_that_silero_does_not(starter: PyannoteDiarizer, recordings: Any) -> None:
    won = invented = 0.0
    for name in MEETINGS:
        item, samples = recordings(name)
        hundredths = np.arange(0, item.seconds, 0.01)

        def marked(spans: list[tuple[float, float]], hundredths: Any = hundredths) -> Any:
            return np.any([(start <= hundredths) & (hundredths < end) for start, end in spans or [(0, 0)]], axis=0)

        said = marked([(start, end) for start, end, _ in item.speakers or ()])
        frames = speech_frames(np.concatenate(list(speech_probabilities([samples[: len(samples) // 512 * 512]]))))
        unheard = ~marked([(start * FRAME_SECONDS, end * FRAME_SECONDS) for start, end in frames])
        heard = marked(starter.speech(samples)) & unheard
        won += (heard & said).sum() / 100
        invented += (heard & ~said).sum() / 100
    assert won > 8
    assert invented < 1


@pytest.mark.parametrize("kind", ["silence", "white noise", "hum", "dial tone", "ringing"])
def test_what_nobody_says_is_no_speech_to_the_second_witness(kind: str, starter: PyannoteDiarizer) -> None:
    seconds = np.arange(30 * 16_000) / 16_000
    noise = np.random.default_rng(1).standard_normal(len(seconds))

    def tones(*hertz: float) -> Any:
        return np.sum([np.sin(2 * np.pi * each * seconds) for each in hertz], axis=0)

    sounds = {
        "silence": 1e-5 * noise,
        "white noise": 0.1 * noise,
        "hum": 0.05 * tones(60, 120, 180, 300) + 0.001 * noise,
        "dial tone": 0.1 * tones(350, 440),
        "ringing": 0.1 * tones(440, 480) * (seconds % 6 < 2),
    }
    assert starter.speech(sounds[kind].astype(np.float32)) == []
