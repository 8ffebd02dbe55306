"""Turns from what pyannote.audio's networks said of a window: its own clustering and reconstruction, by arrays alone.

No network is loaded here, so that a process of its own can do it while the networks hear the next window
(`workers`). The networks belong in `pyannote_diarizer`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caseprep_pipelines.errors import Fault
from caseprep_pipelines.speech.diarizer import WindowTurn, WindowTurns
from caseprep_pipelines.speech.engines import import_pyannote, quietly

SPEECH_ONSET, SPEECH_OFFSET = 0.5, 0.3
"""Probability that anybody speaks from which speech begins, and below which it ends. In half-minutes of meetings this
finds 10 of 16 s that Silero misses at 0.35 and 0.1 s that are no speech; noise, hum and tones are never speech, music
at times (`docs/starter_models.md`)."""
SHORTEST_SPEECH, SHORTEST_PAUSE = 0.25, 0.3
"""Seconds."""


@dataclass(frozen=True)
class Method:
    """A pipeline's way from chunks to turns, as plain data."""

    clustering: str
    """pyannote.audio's name of it."""
    metric: str
    parameters: str
    """The pipeline's parameters, as JSON."""
    plda: str | None
    """The folder of the arrays that `VBxClustering` compares voices with; others have none."""
    powerset: bool
    """The segmentation is of ones and zeros."""
    frame: tuple[float, float]
    """Duration and step of the segmentation's frames, in seconds."""
    first_frame: float

    @classmethod
    def of(cls, pipeline: Any) -> "Method":
        """Of a loaded `SpeakerDiarization`."""
        model = pipeline._segmentation.model
        # a directory may hold them for nothing
        plda = pipeline.plda if pipeline.klustering == "VBxClustering" else None
        frame = model.receptive_field
        return cls(
            clustering=pipeline.klustering,
            metric=pipeline.clustering.metric,
            parameters=json.dumps(pipeline.parameters(instantiated=True)),
            plda=str(Path(plda["checkpoint"]) / plda["subfolder"]) if isinstance(plda, dict) else None,
            powerset=bool(model.specifications.powerset),
            frame=(frame.duration, frame.step),
            first_frame=frame.start,
        )


@dataclass(frozen=True)
class Chunks:
    """What the networks said of a window's chunks."""

    segmentations: NDArray[np.float32]
    """Shape `(chunks, frames, voices)`: how sure it is that each voice of the chunk is heard in each frame."""
    embeddings: NDArray[np.float32]
    """Shape `(chunks, voices, dimension)`."""
    duration: float
    """Of a chunk, in seconds."""
    step: float


def turns(method: Method, chunks: Chunks, min_speakers: int | None, max_speakers: int | None) -> WindowTurns:
    """Who spoke when in the window. Raises `Fault` where there was no memory for it."""
    with quietly():
        import_pyannote()
        from pyannote.core import SlidingWindow, SlidingWindowFeature

        segmentations = SlidingWindowFeature(
            chunks.segmentations, SlidingWindow(start=0.0, duration=chunks.duration, step=chunks.step)
        )
        file = {"uri": "recording", "segmentations": segmentations, "embeddings": chunks.embeddings}
        try:
            said = _pipeline(method).apply(file, min_speakers=min_speakers, max_speakers=max_speakers)
        except (RuntimeError, MemoryError) as error:
            raise Fault(f"Diarization failed: {type(error).__name__}.") from error
    labels = said.speaker_diarization.labels()
    centroids = np.nan_to_num(np.asarray(said.speaker_embeddings, dtype=np.float64))
    judge = _Judge(segmentations, chunks.embeddings, centroids) if len(labels) > 1 else None
    return WindowTurns(
        turns=_turns(said.speaker_diarization, labels, judge),
        exclusive=_turns(said.exclusive_speaker_diarization, labels, judge),
        centroids=centroids,
    )


def speech_spans(
    likelihood: NDArray[np.float32], first: float, step: float, seconds: float
) -> list[tuple[float, float]]:
    """Stretches of speech in `seconds` of audio, from how likely it is in frames the first of which is about the time
    `first`."""
    decided = (likelihood >= SPEECH_ONSET) | (likelihood < SPEECH_OFFSET)
    latest = np.maximum.accumulate(np.where(decided, np.arange(len(likelihood)), -1))
    speaking = (latest >= 0) & (likelihood[np.maximum(latest, 0)] >= SPEECH_ONSET)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], speaking, [False]]).astype(np.int8)))
    spans: list[tuple[float, float]] = []
    for frames in edges.reshape(-1, 2).tolist():
        # the network's first and last frames stand half their length within the audio
        start, end = (
            0.0 if frame == 0 else seconds if frame == len(likelihood) else min(seconds, round(first + frame * step, 3))
            for frame in frames
        )
        if spans and start - spans[-1][1] < SHORTEST_PAUSE:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return [(start, end) for start, end in spans if end - start >= SHORTEST_SPEECH]


@cache
def _pipeline(method: Method) -> Any:
    """pyannote.audio's pipeline, whose networks have spoken already."""
    from pyannote.audio.core.pipeline import Pipeline
    from pyannote.audio.core.plda import PLDA
    from pyannote.audio.pipelines import SpeakerDiarization
    from pyannote.audio.pipelines.clustering import Clustering
    from pyannote.core import SlidingWindow
    from pyannote.pipeline.parameter import ParamDict, Uniform

    class HasHeard(SpeakerDiarization):
        def __init__(self) -> None:
            Pipeline.__init__(self)
            self.legacy = False
            duration, step = method.frame
            frames = SlidingWindow(start=method.first_frame, duration=duration, step=step)
            specifications = SimpleNamespace(powerset=method.powerset)
            self._segmentation: Any = SimpleNamespace(
                model=SimpleNamespace(specifications=specifications, receptive_field=frames)
            )
            self._embedding = SimpleNamespace(dimension=0)
            self.embedding_exclude_overlap = False
            parameters = json.loads(method.parameters)
            self.segmentation = ParamDict(**{name: Uniform(0.0, 1.0) for name in parameters["segmentation"]})
            self.klustering = method.clustering
            chosen = Clustering[method.clustering].value
            if method.plda is None:
                self.clustering = chosen(metric=method.metric)
            else:
                arrays = Path(method.plda)
                self.clustering = chosen(PLDA(arrays / "xvec_transform.npz", arrays / "plda.npz"), metric=method.metric)
            self._expects_num_speakers = self.clustering.expects_num_clusters
            self.instantiate(parameters)

        def get_segmentations(self, file: Any, hook: Any = None) -> Any:
            return file["segmentations"]

        def get_embeddings(self, file: Any, *_: Any, **__: Any) -> Any:
            return file["embeddings"]

    return HasHeard()


class _Judge:
    """How far the speaker model preferred a turn's speaker over the next.

    The model gives each voice of each ten-second chunk an embedding. For one of them the preference is
    `1 - own distance / distance to the next speaker`, cosine, and 0 where another speaker is nearer. A turn's
    confidence is the mean over the chunks' voices heard during it, weighted by how long, so that time in which others
    talk as well counts against it.
    """

    def __init__(self, segmentation: Any, embeddings: NDArray[np.float32], centroids: NDArray[np.float64]) -> None:
        from scipy.spatial.distance import cdist

        self._window = segmentation.sliding_window
        self._active = np.nan_to_num(np.asarray(segmentation.data)) >= 0.5
        chunks, voices, dimension = embeddings.shape
        flat = np.nan_to_num(embeddings.reshape(-1, dimension))
        flat[~flat.any(axis=1)] = 1e-9
        rows = centroids.copy()
        rows[~rows.any(axis=1)] = 1e-9
        self._distances = cdist(flat, rows, metric="cosine").reshape(chunks, voices, len(centroids))

    def confidence(self, speaker: int, start: float, end: float) -> float:
        own = self._distances[:, :, speaker]
        chunks, frames, _ = self._active.shape
        step, length, origin = self._window.step, self._window.duration, self._window.start
        first = max(0, int(np.floor((start - origin - length) / step)))
        last = min(chunks - 1, int(np.ceil((end - origin) / step)))
        total = weighted = 0.0
        for chunk in range(first, last + 1):
            begins = origin + chunk * step
            a, b = (min(frames, max(0, round((at - begins) / length * frames))) for at in (start, end))
            if a >= b:
                continue
            heard = self._active[chunk, a:b].sum(axis=0)
            others = np.delete(self._distances[chunk], speaker, axis=1).min(axis=1)
            preference = np.clip(1.0 - own[chunk] / np.maximum(others, 1e-9), 0.0, 1.0)
            total += float(heard.sum())
            weighted += float((heard * preference).sum())
        return round(weighted / total, 4) if total else 0.0


def _turns(annotation: Any, labels: Sequence[str], judge: _Judge | None) -> tuple[WindowTurn, ...]:
    rows = {label: row for row, label in enumerate(labels)}
    found = [
        (round(float(segment.start), 3), round(float(segment.end), 3), rows[label])
        for segment, _, label in annotation.itertracks(yield_label=True)
    ]
    return tuple(
        WindowTurn(speaker, start, end, judge.confidence(speaker, start, end) if judge else None)
        for start, end, speaker in sorted(found)
        if end > start
    )
