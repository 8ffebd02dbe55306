"""Model directories as small as can be that are complete in their form. No engine could load them."""

import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import yaml


def make_whisper(folder: Path, weights: bytes = b"weights", **mark: Any) -> Path:
    """A CTranslate2 Whisper directory; `mark` is what its `caseprep.json` says, if anything."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.bin").write_bytes(model_bin(weights))
    (folder / "config.json").write_text(json.dumps({"alignment_heads": [[0, 1]], "lang_ids": [7]}))
    (folder / "vocabulary.json").write_text(json.dumps(["a", "b"]))
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0"}))
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": 80, "chunk_length": 30}))
    if mark:
        (folder / "caseprep.json").write_text(json.dumps(mark))
    return folder


def model_bin(weights: bytes, name: str = "WhisperSpec", version: int = 6, bands: int = 80) -> bytes:
    """One variable and one alias, in the layout of `ctranslate2.specs.model_spec`."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    shape = struct.pack("<BIII", 3, 1, bands, 1)
    variable = text("encoder/conv1/weight") + shape + struct.pack("<BI", 1, len(weights)) + weights
    alias = struct.pack("<I", 1) + text("decoder/weight") + text("encoder/conv1/weight")
    return struct.pack("<I", version) + text(name) + struct.pack("<II", 3, 1) + variable + alias


def make_diarization(folder: Path, clustering: str = "VBxClustering", **parts: Any) -> Path:
    """A pyannote pipeline directory; `parts` replaces what its configuration says of segmentation, embedding, PLDA."""
    folder.mkdir(parents=True, exist_ok=True)
    parameters = {
        "clustering": clustering,
        "segmentation": "$model/segmentation",
        "embedding": "$model/embedding",
        "plda": "$model/plda",
        **parts,
    }
    configuration = {
        "pipeline": {
            "name": "pyannote.audio.pipelines.SpeakerDiarization",
            "params": {key: value for key, value in parameters.items() if value is not None},
        }
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration))
    for name in ("segmentation/pytorch_model.bin", "embedding/pytorch_model.bin"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(archive(name))
    if parameters["plda"] is not None:
        (folder / "plda").mkdir(exist_ok=True)
        for name in ("plda/plda.npz", "plda/xvec_transform.npz"):
            (folder / name).write_bytes(archive(name))
    return folder


def archive(content: str) -> bytes:
    """A ZIP file, which checkpoints and NumPy archives are."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        file.writestr(zipfile.ZipInfo("data"), content)
    return data.getvalue()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder by its relative name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
