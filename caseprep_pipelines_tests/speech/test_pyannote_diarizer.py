import json
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from hypothesis import given
from hypothesis import strategies as st

from caseprep_pipelines import models
from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.models.identity import ModelIdentity
from caseprep_pipelines.speech.diarizer import DiarizeOptions, Diarizer
from caseprep_pipelines.speech.pyannote_diarizer import _configuration, load_diarizer
from caseprep_pipelines.speech.pyannote_turns import speech_spans, turns
from caseprep_pipelines.speech.workers import Workers
from caseprep_pipelines_tests.speech.conftest import DemoRecording

PIPELINE = {
    "pipeline": {
        "name": "pyannote.audio.pipelines.SpeakerDiarization",
        "params": {
            "clustering": "AgglomerativeClustering",
            "segmentation": "$model/segmentation",
            "embedding": "$model/embedding",
        },
    },
    "params": {"clustering": {"method": "centroid", "min_cluster_size": 12, "threshold": 0.7}},
}


def pipeline(folder: Path, **params: str) -> Path:
    for name in ("segmentation", "embedding", "plda"):
        (folder / name).mkdir()
    config = {**PIPELINE, "pipeline": {**PIPELINE["pipeline"], "params": {**PIPELINE["pipeline"]["params"], **params}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.mark.filterwarnings("ignore")  # pyannote.audio warns of what it does not find when it is imported
def test_the_older_layout_needs_no_plda_and_asks_no_hub_for_one(tmp_path: Path) -> None:
    from pyannote.audio.core.plda import PLDA

    params = _configuration(pipeline(tmp_path))["pipeline"]["params"]
    assert isinstance(params["plda"], PLDA)
    assert params["segmentation"] == {"checkpoint": str(tmp_path), "subfolder": "segmentation"}


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("segmentation", {"segmentation": "pyannote/segmentation-3.0"}),
        ("embedding", {"embedding": "$model/elsewhere"}),
        ("plda", {"clustering": "VBxClustering"}),
    ],
)
def test_a_model_from_elsewhere_is_a_configuration_error(name: str, params: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=name):
        _configuration(pipeline(tmp_path, **params))


def test_a_directory_without_a_pipeline_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"config\.yaml"):
        load_diarizer(tmp_path, ModelIdentity(name="none", digest="2" * 64), device="cpu")


def test_nothing_is_reported_to_the_makers(diarizer: Diarizer) -> None:
    from pyannote.audio.telemetry.metrics import is_metrics_enabled

    assert not is_metrics_enabled()
    assert os.environ["PYANNOTE_METRICS_ENABLED"] in ("0", "false")
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_the_demo_pipeline_tells_who_speaks(deposition: DemoRecording, diarizer: Diarizer) -> None:
    samples, _ = soundfile.read(deposition.folder / "0.flac", dtype="float32")
    seconds: list[float] = []
    said = diarizer.hear(samples, DiarizeOptions(), seconds.append)()
    assert len(said.centroids) == len({turn.speaker for turn in said.turns}) == 3
    assert all(before.end <= after.start for before, after in pairwise(said.exclusive))
    assert all(turn.confidence is not None and 0 <= turn.confidence <= 1 for turn in said.turns)
    assert seconds == sorted(seconds)
    assert seconds[-1] == pytest.approx(len(samples) / 16_000)
    again = diarizer.hear(samples, DiarizeOptions())()
    assert (again.turns, again.exclusive) == (said.turns, said.exclusive)


def test_bounds_on_the_number_of_speakers_are_kept(deposition: DemoRecording, diarizer: Diarizer) -> None:
    samples, _ = soundfile.read(deposition.folder / "0.flac", dtype="float32")
    for options in (DiarizeOptions(max_speakers=1), DiarizeOptions(min_speakers=3, max_speakers=3)):
        said = diarizer.hear(samples, options)()
        assert len({turn.speaker for turn in said.turns}) == len(said.centroids) == options.max_speakers


def test_silence_has_no_speakers(diarizer: Diarizer, tmp_path: Path) -> None:
    import numpy as np

    said = diarizer.hear(np.zeros(16_000 * 15, dtype=np.float32), DiarizeOptions())()
    assert (said.turns, said.exclusive, len(said.centroids)) == ((), (), 0)


def test_anybodys_speech_is_heard_where_it_is(deposition: DemoRecording, diarizer: Diarizer) -> None:
    samples, _ = soundfile.read(deposition.folder / "0.flac", dtype="float32")
    found = diarizer.speech(samples)
    hundredths = np.arange(0, len(samples) / 16_000, 0.01)

    def marked(spans: list[tuple[float, float]]) -> Any:
        return np.any([(start <= hundredths) & (hundredths < end) for start, end in spans], axis=0)

    said = marked([(start, end) for line in deposition.reference for start, end in line["word_times"]])
    assert (marked(found) & said).sum() > 0.9 * said.sum()
    # the pauses between words are no speech in the reference
    assert (marked(found) & ~said).sum() < 0.2 * (~said).sum()
    # as far as turns say that somebody speaks
    turns = marked([(turn.start, turn.end) for turn in diarizer.hear(samples, DiarizeOptions())().turns])
    assert (marked(found) != turns).mean() < 0.05


@pytest.mark.parametrize("seconds", [0.005, 3, 10, 10.01, 64])
def test_speech_is_looked_for_in_audio_of_any_length(
    seconds: float, deposition: DemoRecording, diarizer: Diarizer
) -> None:
    samples, _ = soundfile.read(deposition.folder / "0.flac", dtype="float32")
    audio = samples[16_000 * 2 :][: int(seconds * 16_000)]
    found = diarizer.speech(audio)
    assert bool(found) == (seconds > 1)
    assert all(0 <= start < end <= len(audio) / 16_000 for start, end in found)
    assert diarizer.speech(np.zeros_like(audio)) == []


@given(
    likelihood=st.lists(st.sampled_from([0.0, 0.2, 0.3, 0.4, 0.5, 0.9]), min_size=1, max_size=200),
    beyond=st.floats(0, 0.1),
)
def test_stretches_of_speech_are_in_order_apart_and_within_the_audio(likelihood: list[float], beyond: float) -> None:
    seconds = len(likelihood) * 0.02 + beyond
    spans = speech_spans(np.array(likelihood, dtype=np.float32), 0.03, 0.02, seconds)
    edges = [0.0, *(edge for span in spans for edge in span), seconds]
    assert edges == sorted(edges)
    assert all(after[0] - before[1] >= 0.3 for before, after in pairwise(spans))
    assert all(end - start >= 0.25 for start, end in spans)
    if likelihood.count(0.9) == len(likelihood) and seconds >= 0.25:
        assert spans == [(0.0, seconds)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("exclude_overlap", [True, False])
def test_one_pass_for_each_chunk_says_what_stock_pyannote_says(
    deposition: DemoRecording, diarizer: Diarizer, exclude_overlap: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from pyannote.audio.pipelines import SpeakerDiarization

    fast = diarizer.pipeline  # type: ignore[attr-defined]
    assert type(fast) is not SpeakerDiarization
    monkeypatch.setattr(fast, "embedding_exclude_overlap", exclude_overlap)
    samples, _ = soundfile.read(deposition.folder / "0.flac", dtype="float32")
    # with silence in it, so that whole chunks are skipped
    audio = torch.from_numpy(np.concatenate([samples, np.zeros(25 * 16_000, np.float32), samples[: 16_000 * 7]]))
    found = []
    for kind in (SpeakerDiarization, type(fast)):
        monkeypatch.setattr(fast, "__class__", kind)
        embeddings = {}
        said = fast(
            {"waveform": audio[None], "sample_rate": 16_000, "uri": "x"},
            hook=lambda step, artifact, embeddings=embeddings, **_: embeddings.update({step: artifact}),
        )
        found.append((said, embeddings["embeddings"]))
    (stock, theirs), (own, ours) = found
    assert ours == pytest.approx(theirs, abs=1e-4)
    assert own.speaker_diarization == stock.speaker_diarization
    assert own.exclusive_speaker_diarization == stock.exclusive_speaker_diarization
    told = diarizer.hear(audio.numpy(), DiarizeOptions())()
    for found_turns, annotation in (
        (told.turns, stock.speaker_diarization),
        (told.exclusive, stock.exclusive_speaker_diarization),
    ):
        labels = stock.speaker_diarization.labels()
        assert [(turn.start, turn.end, labels[turn.speaker]) for turn in found_turns] == [
            (round(turn.start, 3), round(turn.end, 3), label)
            for turn, _, label in annotation.itertracks(yield_label=True)
        ]
    assert told.centroids == pytest.approx(stock.speaker_embeddings, abs=1e-4)


def test_turns_that_another_process_tells_are_the_same(deposition: DemoRecording, diarizer: Diarizer) -> None:
    samples, _ = soundfile.read(deposition.folder / "0.flac", dtype="float32")
    tell = diarizer.hear(samples, DiarizeOptions(max_speakers=2))
    with Workers() as workers:
        elsewhere, here = workers.submit(tell)(), tell()
    assert (elsewhere.turns, elsewhere.exclusive) == (here.turns, here.exclusive)
    assert np.array_equal(elsewhere.centroids, here.centroids)


def test_voices_are_compared_by_the_arrays_that_come_with_a_pipeline(
    deposition: DemoRecording, diarizer: Diarizer, tmp_path: Path
) -> None:
    samples, _ = soundfile.read(deposition.folder / "0.flac", dtype="float32")
    tell = diarizer.hear(samples, DiarizeOptions())
    method, chunks, *bounds = tell.args  # type: ignore[attr-defined]
    size = chunks.embeddings.shape[2]
    np.savez(tmp_path / "xvec_transform.npz", mean1=np.zeros(size), mean2=np.zeros(size), lda=np.eye(size))
    np.savez(tmp_path / "plda.npz", mu=np.zeros(size), tr=np.eye(size), psi=np.linspace(9, 1, size))
    parameters = {"clustering": {"threshold": 0.6, "Fa": 0.07, "Fb": 0.8}, "segmentation": {"min_duration_off": 0.0}}
    by_plda = replace(method, clustering="VBxClustering", plda=str(tmp_path), parameters=json.dumps(parameters))
    said = turns(by_plda, chunks, *bounds)
    assert said.turns
    assert len(said.centroids) == len({turn.speaker for turn in said.turns})


def test_the_older_way_of_clustering_leaves_arrays_that_lie_beside_it_alone(deposition: DemoRecording) -> None:
    """As in the demo's own second pipeline, every recording of which failed once."""
    shipped = Path(models.__file__).parent / "demo" / "diarization_agglomerative"
    older = load_diarizer(shipped, ModelIdentity(name="older", digest="2" * 64), device="cpu")
    samples, _ = soundfile.read(deposition.folder / "0.flac", dtype="float32")
    assert len(older.hear(samples, DiarizeOptions())().centroids) > 1


class Kept:
    """Savings in memory that stop the work after so many calls."""

    def __init__(self, stops_after: int | None = None) -> None:
        self.parts: dict[str, dict[int, np.ndarray]] = {}
        self.left = stops_after

    def load(self, kind: str) -> dict[int, np.ndarray]:
        return dict(self.parts.get(kind, {}))

    def save(self, kind: str, said: Mapping[int, np.ndarray]) -> None:
        self.parts.setdefault(kind, {}).update(said)
        if self.left is not None:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt


@pytest.mark.parametrize("stops_after", [1, 5])
def test_an_interrupted_window_goes_on_with_the_chunks_that_are_missing(
    deposition: DemoRecording, diarizer: Diarizer, stops_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = diarizer.pipeline  # type: ignore[attr-defined]
    module = sys.modules[type(fast).__module__]
    monkeypatch.setattr(module, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(module, "_RANGE_BATCHES", 1)
    samples, _ = soundfile.read(deposition.folder / "0.flac", dtype="float32")
    uninterrupted = diarizer.hear(samples, DiarizeOptions())()
    kept = Kept(stops_after)
    with pytest.raises(KeyboardInterrupt):
        diarizer.hear(samples, DiarizeOptions(), savings=kept)()
    done = len(kept.parts.get("embedded", {}))
    assert kept.parts
    kept.left = None
    embedded: list[int] = []
    stock = type(fast)._embed

    def counted(self: object, waveforms: Any, masks: np.ndarray) -> np.ndarray:
        embedded.append(len(masks))
        return np.asarray(stock(self, waveforms, masks))

    monkeypatch.setattr(type(fast), "_embed", counted)
    again = diarizer.hear(samples, DiarizeOptions(), savings=kept)()
    assert (again.turns, again.exclusive) == (uninterrupted.turns, uninterrupted.exclusive)
    # one is the silent chunk, which every attempt asks for
    assert sum(embedded) - 1 == len(kept.parts["embedded"]) - done


def test_a_batch_that_does_not_fit_is_halved(
    deposition: DemoRecording, diarizer: Diarizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = diarizer.pipeline  # type: ignore[attr-defined]
    samples, _ = soundfile.read(deposition.folder / "0.flac", dtype="float32")
    whole = diarizer.hear(samples[: 16_000 * 30], DiarizeOptions())()
    monkeypatch.setattr(fast, "embedding_batch_size", 8)
    stock = type(fast)._embed

    def small(self: object, waveforms: Any, masks: np.ndarray) -> np.ndarray:
        if len(masks) > 3:
            raise RuntimeError("CUDA out of memory. Tried to allocate")
        return np.asarray(stock(self, waveforms, masks))

    monkeypatch.setattr(type(fast), "_embed", small)
    assert diarizer.hear(samples[: 16_000 * 30], DiarizeOptions())().turns == whole.turns
    assert fast.embedding_batch_size == 2
