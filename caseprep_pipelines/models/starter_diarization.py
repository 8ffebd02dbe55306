"""The starter models' diarization pipeline: a directory that pyannote.audio loads, put together from two checkpoints.

Where the checkpoints come from, and whether they are the right ones, is not known here: whoever calls has compared
them with their digests. The network itself is in `campplus`.
"""

import shutil
from pathlib import Path
from typing import Any

PIPELINE: dict[str, Any] = {
    "dependencies": {"pyannote.audio": "4.0.0"},
    "pipeline": {
        "name": "pyannote.audio.pipelines.SpeakerDiarization",
        "params": {
            "clustering": "AgglomerativeClustering",
            "segmentation": "$model/segmentation",
            "segmentation_batch_size": 32,
            "embedding": "$model/embedding",
            "embedding_batch_size": 32,
            "embedding_exclude_overlap": True,
        },
    },
    "params": {
        "clustering": {"method": "average", "min_cluster_size": 10, "threshold": 0.48},
        "segmentation": {"min_duration_off": 0.0},
    },
}
"""`config.yaml`. How the values were found is in `docs/starter_models.md`."""


def write_pipeline(segmentation: Path, embedding: Path, folder: Path) -> None:
    """Fills `folder` with the pipeline, from pyannote.audio's checkpoint of segmentation 3.0 and from the plain weights
    of CAM++.

    The same weights make the same bytes. Raises `ConfigurationError` where `embedding` is not CAM++'s weights.
    """
    import yaml

    for part in ("segmentation", "embedding"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(segmentation, folder / "segmentation" / "pytorch_model.bin")
    _write_embedding(embedding, folder / "embedding" / "pytorch_model.bin")
    (folder / "config.yaml").write_text(yaml.safe_dump(PIPELINE, sort_keys=False), encoding="utf-8")


def _write_embedding(weights: Path, checkpoint: Path) -> None:
    """A checkpoint as pyannote.audio loads it. The weights are read as data: whatever else a pickle can hold is
    refused."""
    from pickle import UnpicklingError

    from caseprep_pipelines.errors import ConfigurationError
    from caseprep_pipelines.speech.engines import import_pyannote, quietly

    with quietly():
        import_pyannote()
        import torch
        from pyannote.audio.core.task import Problem, Resolution, Specifications

        from caseprep_pipelines.models.campplus import CamPlusPlus

        network = CamPlusPlus()
        try:
            network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True), strict=True)
        except (UnpicklingError, RuntimeError, TypeError, AttributeError, EOFError) as error:
            raise ConfigurationError(f"{weights.name} does not hold the weights of CAM++.") from error
        network.specifications = Specifications(
            problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=10.0, min_duration=0.5, classes=[]
        )
        content = {
            "state_dict": dict(network.state_dict()),
            "hyper_parameters": dict(network.hparams),
            "pytorch-lightning_version": "2.6.0",
            "epoch": 0,
            "global_step": 0,
        }
        network.on_save_checkpoint(content)
        torch.save(content, checkpoint)
