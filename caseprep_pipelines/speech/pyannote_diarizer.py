"""pyannote.audio 4 as a `Diarizer`, from a local pipeline directory: community-1's layout or the older agglomerative.

Windows and their linking belong in `diarization` and `linking`. pyannote.audio reports usage to its makers unless told
otherwise before it is imported, so nothing else in the project may import it first.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caseprep_pipelines.audio.reading import SAMPLE_RATE, Samples
from caseprep_pipelines.errors import ConfigurationError, Fault
from caseprep_pipelines.models.identity import ModelIdentity
from caseprep_pipelines.speech.diarizer import DiarizeOptions, Savings, WindowTurn, WindowTurns
from caseprep_pipelines.speech.engines import device_name, keep_private
from caseprep_pipelines.speech.transcriber import Progress, no_progress

FASTER = "caseprep_pipelines.speech.stacked_diarization.StackedSpeakerDiarization"
"""What takes the place of pyannote.audio's own class; the turns are the same."""

CPU_BATCH = 8

# Shares of the time on a CPU, for progress only.
_STEPS = {"segmentation": (0.0, 0.4), "embeddings": (0.4, 0.95)}


@dataclass(frozen=True)
class PyannoteDiarizer:
    """A loaded pipeline. `load_diarizer` makes it."""

    identity: ModelIdentity
    pipeline: Any

    @property
    def device(self) -> str:
        return device_name(self.pipeline.device.type)

    def libraries(self) -> dict[str, str]:
        return {name: version(name) for name in ("pyannote.audio", "torch", "torchaudio", "scipy", "numpy")}

    def diarize(
        self,
        samples: Samples,
        options: DiarizeOptions,
        progress: Progress = no_progress,
        savings: Savings | None = None,
    ) -> WindowTurns:
        import torch

        artifacts: dict[str, Any] = {}

        def hook(step: str, artifact: Any, total: int | None = None, completed: int | None = None, **_: Any) -> None:
            if total and completed is not None and step in _STEPS:
                first, last = _STEPS[step]
                progress(len(samples) / SAMPLE_RATE * (first + (last - first) * min(1.0, completed / total)))
            elif step in _STEPS and artifact is not None:
                artifacts[step] = artifact

        file = {
            "waveform": torch.from_numpy(samples)[None],
            "sample_rate": SAMPLE_RATE,
            "uri": "recording",
            "savings": savings,
        }
        try:
            with _quiet():
                said = self.pipeline(
                    file, min_speakers=options.min_speakers, max_speakers=options.max_speakers, hook=hook
                )
        except (RuntimeError, MemoryError) as error:
            raise Fault(f"Diarization failed: {type(error).__name__}.") from error
        labels = said.speaker_diarization.labels()
        centroids = np.nan_to_num(np.asarray(said.speaker_embeddings, dtype=np.float64))
        progress(len(samples) / SAMPLE_RATE)
        judge = _Judge(artifacts["segmentation"], artifacts["embeddings"], centroids) if len(labels) > 1 else None
        return WindowTurns(
            turns=_turns(said.speaker_diarization, labels, judge),
            exclusive=_turns(said.exclusive_speaker_diarization, labels, judge),
            centroids=centroids,
        )


class _Judge:
    """How far the speaker model preferred a turn's speaker over the next.

    The model gives each voice of each ten-second chunk an embedding. For one of them the preference is
    `1 - own distance / distance to the next speaker`, cosine, and 0 where another speaker is nearer. A turn's
    confidence is the mean over the chunks' voices heard during it, weighted by how long, so that time in which others
    talk as well counts against it.
    """

    def __init__(self, segmentation: Any, embeddings: NDArray[np.float64], centroids: NDArray[np.float64]) -> None:
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


def load_diarizer(path: Path, identity: ModelIdentity, *, device: str = "auto") -> PyannoteDiarizer:
    """The pipeline in a directory; a process loads it once and keeps it.

    The caller has checked the directory's digest: its checkpoints are pickles. Raises `ConfigurationError` where the
    pipeline or the device cannot be used.
    """
    with _loading:
        return PyannoteDiarizer(identity, _load(_Key(identity.digest, device, path)))


@dataclass(frozen=True)
class _Key:
    digest: str
    device: str
    path: Path = field(compare=False)


_loading = Lock()


@cache
def _load(key: _Key) -> Any:
    with _quiet():
        pyannote_audio = _import_pyannote()
        import torch

        if key.device == "cuda" and not torch.cuda.is_available():
            raise ConfigurationError("The device cuda was asked for, but torch finds no usable GPU.")
        device = "cuda" if key.device != "cpu" and torch.cuda.is_available() else "cpu"
        try:
            pipeline = pyannote_audio.Pipeline.from_pretrained(_configuration(key.path))
            pipeline.to(torch.device(device))
            if device == "cpu":
                # a larger batch is no faster there, and a ResNet's first layer takes 10 MB for each chunk of it
                pipeline.embedding_batch_size = min(pipeline.embedding_batch_size, CPU_BATCH)
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
            raise ConfigurationError(
                f"The diarization pipeline in {key.path} cannot be loaded: {type(error).__name__}: {error}"
            ) from error
    return pipeline


def _configuration(path: Path) -> dict[str, Any]:
    """The directory's `config.yaml` with every model in it found in the directory, never on a hub, as `FASTER`."""
    import yaml
    from pyannote.audio.core.plda import PLDA

    try:
        config: dict[str, Any] = yaml.safe_load((path / "config.yaml").read_text())
        params: dict[str, Any] = config["pipeline"]["params"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{path} holds no pyannote pipeline (a config.yaml with its models).") from error
    if str(config["pipeline"].get("name", "")).endswith("SpeakerDiarization"):
        config["pipeline"]["name"] = FASTER
    for name in ("segmentation", "embedding", "plda"):
        given = params.get(name)
        if given is None and name == "plda" and params.get("clustering") != "VBxClustering":
            # older pipelines have none and use none, but pyannote.audio 4 would fetch one from a hub
            params[name] = PLDA.__new__(PLDA)
        elif isinstance(given, str) and given.startswith("$model/") and (path / given[7:]).is_dir():
            params[name] = {"checkpoint": str(path), "subfolder": given[7:]}
        else:
            raise ConfigurationError(
                f"The pipeline in {path} takes its {name} model from elsewhere; put it into the directory and name it "
                f"`$model/{name}` in config.yaml."
            )
    return config


def _import_pyannote() -> Any:
    keep_private()
    for name in ("pyannote", "lightning", "lightning.pytorch", "lightning.fabric", "torio", "torchcodec"):
        logging.getLogger(name).setLevel(logging.ERROR)
    import pyannote.audio
    from pyannote.audio.pipelines import clustering
    from pyannote.audio.telemetry import set_telemetry_metrics

    set_telemetry_metrics(False)
    # it prints to standard output when it cannot find as many speakers as asked for
    vars(clustering)["print"] = lambda *_, **__: None
    return pyannote.audio


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
