import hashlib
from pathlib import Path
from typing import Any

import pytest

from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.models.directories import resolve_diarization
from caseprep_pipelines.models.starter_diarization import write_pipeline
from caseprep_pipelines.speech.engines import import_pyannote, quietly


def untrained() -> Any:
    """CAM++ with weights that nobody trained."""
    with quietly():
        import_pyannote()
        import torch

        from caseprep_pipelines.models.campplus import CamPlusPlus

    torch.manual_seed(1)
    return CamPlusPlus().eval()


@pytest.fixture(scope="module")
def network() -> Any:
    return untrained()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As they are published: normalizations apart."""
    network = untrained()
    import torch

    path = tmp_path_factory.mktemp("weights") / "campplus.pt"
    torch.save(dict(network.state_dict()), path)
    return path


@pytest.fixture
def segmentation(tmp_path: Path) -> Path:
    return resolve_diarization("demo", tmp_path).path / "segmentation" / "pytorch_model.bin"


def test_the_filter_banks_are_kaldis(network: Any) -> None:
    import torch
    from torchaudio.compliance.kaldi import fbank

    sound = 0.1 * torch.randn(2, 16_123)
    theirs = torch.stack([fbank(one[None], num_mel_bins=80, dither=0.0) for one in sound])
    assert torch.equal(network.features(sound), theirs.transpose(1, 2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(network.features(sound), theirs.transpose(1, 2))


def test_a_mask_picks_what_the_network_hears(network: Any) -> None:
    import torch

    sound = 0.1 * torch.randn(1, 1, 48_000)
    first, other = torch.zeros(2, 300).unbind()
    first[:150] = 1
    other[150:] = 1
    with torch.inference_mode():
        both = network(sound, weights=torch.stack([first, other])[None])
        alone = network(sound, weights=first[None])
        changed = sound.clone()
        changed[..., 24_400:] = 0.5 * torch.randn(changed[..., 24_400:].shape)
        unaware = network(changed, weights=first[None])
        unmasked = network(sound)
        nobody = network(sound, weights=torch.zeros(1, 300))
    assert both.shape == (1, 2, network.dimension)
    assert torch.equal(both[:, 0], alone)
    assert torch.equal(alone, unaware)
    assert not torch.equal(both[:, 0], both[:, 1])
    assert unmasked.shape == nobody.shape == (1, network.dimension)
    assert torch.isfinite(nobody).all()


def test_stretches_together_say_what_each_says_alone(network: Any) -> None:
    """As on a GPU."""
    import torch

    features = network.features(0.1 * torch.randn(1, 48_000))[0]
    stretches = [features[:, :length] for length in (298, 250, 101, 7, 1, 0)]
    with torch.inference_mode():
        together, alone = network._together(stretches), network.embed(stretches)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            halved = network._together(stretches).float()
    assert torch.allclose(together, alone, atol=1e-4)
    assert torch.nn.functional.cosine_similarity(halved, alone)[:4].min() > 0.95


def test_the_same_is_said_on_any_number_of_cores(network: Any) -> None:
    import torch

    features = network.features(0.1 * torch.randn(1, 48_000))[0]
    stretches = [features[:, :length] for length in (7, 250, 101, 298, 0, 180)]
    before = torch.get_num_threads()
    said = []
    try:
        for cores in (1, 2, 3):
            torch.set_num_threads(cores)
            with torch.inference_mode():
                said.append(network.embed(stretches))
            assert torch.get_num_threads() == cores
    finally:
        torch.set_num_threads(before)
    assert torch.equal(said[0], said[1])
    assert torch.equal(said[0], said[2])


def test_normalizations_merged_into_convolutions_change_nothing() -> None:
    network = untrained()
    import torch

    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            layer.running_mean.uniform_(-1, 1)
            layer.running_var.uniform_(0.5, 2)
    residual = network.head.layer1[0]
    sound = torch.randn(1, 32, 80, 20)
    with torch.inference_mode():
        inner = torch.relu(residual.bn1(residual.conv1(sound)))
        plain = torch.relu(residual.bn2(residual.conv2(inner)) + residual.shortcut(sound))
        for _ in range(2):
            network.fold()
            assert torch.allclose(residual(sound, None), plain, atol=1e-4)


def test_one_frame_is_enough_for_an_answer(network: Any) -> None:
    import torch

    with torch.inference_mode():
        assert torch.isfinite(network(0.1 * torch.randn(1, 1, 400))).all()
        with pytest.raises(ValueError, match="400 samples"):
            network(torch.zeros(1, 1, 399))


def test_two_checkpoints_become_a_pipeline_that_is_the_same_every_time(
    weights: Path, segmentation: Path, tmp_path: Path
) -> None:
    from caseprep_pipelines.models.identity import ModelIdentity
    from caseprep_pipelines.speech.diarizer import DiarizeOptions
    from caseprep_pipelines.speech.pyannote_diarizer import load_diarizer

    written = []
    for name in ("one", "other"):
        write_pipeline(segmentation, weights, tmp_path / name)
        written.append(
            {
                path.relative_to(tmp_path / name): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted((tmp_path / name).rglob("*"))
                if path.is_file()
            }
        )
    assert written[0] == written[1]
    assert len(written[0]) == 3
    found = resolve_diarization(str(tmp_path / "one"), tmp_path / "models")
    diarizer = load_diarizer(found.path, ModelIdentity(name="made", digest="5" * 64), device="cpu")
    import numpy as np

    assert diarizer.hear(np.zeros(16_000, dtype=np.float32), DiarizeOptions())().turns == ()


def test_weights_of_something_else_are_refused(segmentation: Path, tmp_path: Path) -> None:
    import torch

    torch.save({"head.conv1.weight": torch.zeros(1)}, tmp_path / "other.pt")
    torch.save({"run": eval}, tmp_path / "code.pt")
    (tmp_path / "noise.pt").write_bytes(b"no checkpoint at all")
    for name in ("other.pt", "code.pt", "noise.pt"):
        with pytest.raises(ConfigurationError, match=rf"{name} does not hold the weights of CAM\+\+"):
            write_pipeline(segmentation, tmp_path / name, tmp_path / "pipeline")
