"""pyannote.audio 4 as a `Diarizer`, from a local pipeline directory: community-1's layout or the older agglomerative.

Its networks are run here; what is made of their answers belongs in `pyannote_turns`, windows and their linking in
`diarization` and `linking`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

from caseprep_pipelines.audio.reading import SAMPLE_RATE, Samples
from caseprep_pipelines.errors import ConfigurationError, Fault
from caseprep_pipelines.models.identity import ModelIdentity
from caseprep_pipelines.speech.diarizer import DiarizeOptions, Savings, WindowTurns
from caseprep_pipelines.speech.engines import CPU, device_name, gpu_bytes, import_pyannote, quietly
from caseprep_pipelines.speech.pyannote_turns import Chunks, Method, speech_spans, turns
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

    def hear(
        self,
        samples: Samples,
        options: DiarizeOptions,
        progress: Progress = no_progress,
        savings: Savings | None = None,
    ) -> Callable[[], WindowTurns]:
        import torch

        def hook(step: str, _: Any, total: int, completed: int) -> None:
            first, last = _STEPS[step]
            progress(len(samples) / SAMPLE_RATE * (first + (last - first) * min(1.0, completed / total)))

        file = {
            "waveform": torch.from_numpy(samples)[None],
            "sample_rate": SAMPLE_RATE,
            "uri": "recording",
            "savings": savings,
        }
        try:
            with quietly():
                segmentations, embeddings = self.pipeline.hear(file, hook)
        except (RuntimeError, MemoryError) as error:
            raise Fault(f"Diarization failed: {type(error).__name__}.") from error
        progress(len(samples) / SAMPLE_RATE)
        window = segmentations.sliding_window
        chunks = Chunks(segmentations.data, embeddings, window.duration, window.step)
        return partial(turns, Method.of(self.pipeline), chunks, options.min_speakers, options.max_speakers)

    def speech(self, samples: Samples) -> list[tuple[float, float]]:
        import torch

        try:
            with quietly():
                likelihood = self.pipeline.speech_likelihood(torch.from_numpy(samples)[None])
        except (RuntimeError, MemoryError) as error:
            raise Fault(f"Looking for speech failed: {type(error).__name__}.") from error
        frames = self.pipeline._segmentation.model.receptive_field
        middle = frames.start + frames.duration / 2
        return speech_spans(likelihood, middle, frames.step, len(samples) / SAMPLE_RATE)


def load_diarizer(
    path: Path, identity: ModelIdentity, *, device: str = "auto", memory_fraction: float | None = None
) -> PyannoteDiarizer:
    """The pipeline in a directory; a process loads it once and keeps it.

    The caller has checked the directory's digest: its checkpoints are pickles. Raises `ConfigurationError` where the
    pipeline or the device cannot be used.
    """
    with _loading:
        diarizer = PyannoteDiarizer(identity, _load(_Key(identity.digest, device, path)))
    if memory_fraction is not None and diarizer.device != CPU:
        gpu_bytes(memory_fraction)
    return diarizer


@dataclass(frozen=True)
class _Key:
    digest: str
    device: str
    path: Path = field(compare=False)


_loading = Lock()


@cache
def _load(key: _Key) -> Any:
    with quietly():
        pyannote_audio = import_pyannote()
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
