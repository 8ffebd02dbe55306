"""CAM++, the network that tells voices apart in the starter models, as a class that a pyannote.audio checkpoint names.

Written from its paper ("CAM++: a fast and efficient network for speaker verification using context-aware masking",
Interspeech 2023) and the shapes of its published weights, whose names are kept, so that they load as they are. A
checkpoint stores module and class: this file must stay importable under its name while starter models are in use.
Nothing but the network belongs here; pipeline directories are put together in `starter_diarization`. It imports torch
and pyannote.audio at the top, and is itself imported by pyannote.audio only.

The network was trained on stretches of one speaker. So a mask does not weigh frames at the end, as in networks whose
layers look at single frames: it picks the frames that the network hears at all. Its own context, and the mean that is
taken out of the filter banks, are then the speaker's alone.

On a CPU every stretch goes through alone, so that its bytes do not depend on its neighbors. On a GPU they go through
together, filled up with zeros that `within` keeps out of every sum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F  # noqa: N812
from pyannote.audio.core.model import Model
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchaudio.compliance.kaldi import get_mel_banks

RATE = 16_000
BANDS = 80
DIMENSION = 192
_WINDOW, _HOP, _FFT = 400, 160, 512
_PREEMPHASIS = 0.97
_FLOOR = torch.finfo(torch.float32).eps
_SEGMENT = 100
"""Frames over which a context-aware mask takes its local mean."""


class FilterBanks(nn.Module):
    """Kaldi's log-mel energies without dither: (batch, samples) -> (batch, 80, frames of 25 ms every 10 ms)."""

    window: torch.Tensor
    mel: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        # what does not come from the checkpoint is not in it
        povey = torch.hann_window(_WINDOW, periodic=False).pow(0.85)
        self.register_buffer("window", povey, persistent=False)
        banks, _ = get_mel_banks(BANDS, _FFT, float(RATE), 20.0, 0.0, 100.0, -500.0, 1.0)
        self.register_buffer("mel", F.pad(banks, (0, 1)), persistent=False)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        # half precision can hold neither the loudest nor the softest band
        with torch.autocast(samples.device.type, enabled=False):
            frames = samples.float().unfold(-1, _WINDOW, _HOP)
            frames = frames - frames.mean(dim=-1, keepdim=True)
            before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
            frames = (frames - _PREEMPHASIS * before) * self.window
            power = torch.fft.rfft(frames, n=_FFT).abs().square()
            energies: torch.Tensor = (power @ self.mel.T).clamp_min(_FLOOR).log()
            return energies.transpose(1, 2)


class CamPlusPlus(Model):
    """Whose voice it is: (batch, 1, samples), weights (batch, frames) or (batch, speakers, frames) or None ->
    (batch[, speakers], 192). Frames with a weight over a half are heard, others are not."""

    def __init__(self, sample_rate: int = RATE, num_channels: int = 1, task: Any = None) -> None:
        super().__init__(sample_rate=sample_rate, num_channels=num_channels, task=task)
        self.features = FilterBanks()
        self.head = _Head()
        self.xvector = _Xvector()
        self._folded = False

    @property
    def dimension(self) -> int:
        return DIMENSION

    @lru_cache  # noqa: B019 - pyannote.audio's own models do the same; a model lives as long as the process
    def num_frames(self, num_samples: int) -> int:
        return max(0, 1 + (num_samples - _WINDOW) // _HOP)

    def receptive_field_size(self, num_frames: int = 1) -> int:
        return _WINDOW + (num_frames - 1) * _HOP

    def receptive_field_center(self, frame: int = 0) -> int:
        return frame * _HOP + _WINDOW // 2

    def forward(self, waveforms: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        if waveforms.shape[-1] < _WINDOW:
            raise ValueError(f"A voice is at least {_WINDOW} samples long.")
        features = self.features(waveforms[:, 0])
        if weights is None:
            return self.embed(list(features))
        masks = weights[:, None] if weights.dim() == 2 else weights
        heard = F.interpolate(masks.float(), size=features.shape[-1], mode="nearest") > 0.5
        stretches = [
            chunk[:, mask] for chunk, speakers in zip(features, heard, strict=True) for mask in speakers.unbind()
        ]
        embeddings = self.embed(stretches)
        return embeddings if weights.dim() == 2 else embeddings.unflatten(0, masks.shape[:2])

    def embed(self, stretches: Sequence[torch.Tensor]) -> torch.Tensor:
        """Filter banks of stretches, (80, frames) each -> (stretches, 192). No frames at all have an embedding too."""
        self.fold()
        if stretches[0].device.type != "cpu":
            return self._together(stretches)
        return torch.cat(_side_by_side(lambda stretch: self._together([stretch]), stretches))

    def fold(self) -> None:
        """Merges every normalization that follows a convolution into it: the same function in a fifth less time."""
        if self._folded:
            return
        self.eval()
        with torch.no_grad():
            for module in list(self.modules()):
                if isinstance(module, _Foldable):
                    module.fold()
        self._folded = True

    def _together(self, stretches: Sequence[torch.Tensor]) -> torch.Tensor:
        longest = max(stretch.shape[-1] for stretch in stretches)
        if longest == 0:
            nothing: torch.Tensor = self.xvector.dense(stretches[0].new_zeros(len(stretches), self.xvector.pooled))
            return nothing
        centered = [stretch - stretch.mean(dim=-1, keepdim=True) for stretch in stretches]
        features = torch.stack([F.pad(stretch, (0, longest - stretch.shape[-1])) for stretch in centered])
        within = None
        if len(stretches) > 1:
            lengths = torch.tensor([stretch.shape[-1] for stretch in stretches], device=features.device)
            within = (torch.arange(longest, device=features.device) < lengths[:, None])[:, None].to(features.dtype)
        embeddings: torch.Tensor = self.xvector(self.head(features, within), within)
        return embeddings


def _side_by_side(
    embed: Callable[[torch.Tensor], torch.Tensor], stretches: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """One stretch a core. The layers are too small to be shared by cores: they would wait for each other, and beside
    other work far longer than they compute."""
    cores, inference = torch.get_num_threads(), torch.is_inference_mode_enabled()
    if cores == 1 or len(stretches) == 1:
        return [embed(stretch) for stretch in stretches]

    def alone(stretch: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(inference):
            return embed(stretch)

    # the longest first, or the last one keeps all waiting
    order = sorted(range(len(stretches)), key=lambda place: -stretches[place].shape[-1])
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as workers:
            found = dict(zip(order, workers.map(alone, [stretches[place] for place in order]), strict=True))
    finally:
        torch.set_num_threads(cores)
    return [found[place] for place in range(len(stretches))]


def _kept(x: torch.Tensor, within: torch.Tensor | None) -> torch.Tensor:
    """Zeros where a stretch has ended."""
    return x if within is None else x * within


def _pointwise(x: torch.Tensor, layer: nn.Conv1d) -> torch.Tensor:
    """A convolution over single frames; as a plain product it takes half the time on a CPU."""
    if len(x) > 1:
        return F.conv1d(x, layer.weight, layer.bias)
    weight = layer.weight[..., 0]
    product = weight @ x[0] if layer.bias is None else torch.addmm(layer.bias[:, None], weight, x[0])
    return product[None]


class _Foldable(nn.Module):
    def fold(self) -> None:
        raise NotImplementedError


class _Residual(_Foldable):
    """Two convolutions over bands and time; the first may halve the bands."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, stride=(stride, 1), padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut.append(nn.Conv2d(channels, channels, 1, stride=(stride, 1), bias=False))
            self.shortcut.append(nn.BatchNorm2d(channels))

    def fold(self) -> None:
        self.conv1 = fuse_conv_bn_eval(self.conv1, self.bn1)
        self.conv2 = fuse_conv_bn_eval(self.conv2, self.bn2)
        if len(self.shortcut):
            convolution, normalization = self.shortcut
            self.shortcut = nn.Sequential(fuse_conv_bn_eval(convolution, normalization))

    def forward(self, x: torch.Tensor, within: torch.Tensor | None) -> torch.Tensor:
        inner = self.conv2(_kept(F.relu_(self.conv1(x)), within))
        inner += self.shortcut(x)
        return _kept(F.relu_(inner), within)


class _Head(_Foldable):
    """The convolutional front: (batch, 80, frames) -> (batch, 320, frames)."""

    channels = 32

    def __init__(self) -> None:
        super().__init__()
        channels = self.channels
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.layer1 = nn.Sequential(_Residual(channels, 2), _Residual(channels, 1))
        self.layer2 = nn.Sequential(_Residual(channels, 2), _Residual(channels, 1))
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=(2, 1), padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def fold(self) -> None:
        self.conv1 = fuse_conv_bn_eval(self.conv1, self.bn1)
        self.conv2 = fuse_conv_bn_eval(self.conv2, self.bn2)

    def forward(self, features: torch.Tensor, within: torch.Tensor | None) -> torch.Tensor:
        wide = None if within is None else within[:, None]
        x = _kept(F.relu_(self.conv1(features[:, None])), wide)
        for residual in (*self.layer1, *self.layer2):
            x = residual(x, wide)
        return _kept(F.relu_(self.conv2(x)), wide).flatten(1, 2)


class _Normalized(nn.Module):
    """Batch normalization and a rectifier, under the name that the weights give it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.batchnorm = nn.BatchNorm1d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu_(self.batchnorm(x))


class _Mask(nn.Module):
    """Context-aware masking: a convolution whose outputs are weighed by what the whole and the near past and future
    sound like."""

    def __init__(self, channels: int, growth: int, dilation: int) -> None:
        super().__init__()
        self.linear_local = nn.Conv1d(channels, growth, 3, padding=dilation, dilation=dilation, bias=False)
        self.linear1 = nn.Conv1d(channels, channels // 2, 1)
        self.linear2 = nn.Conv1d(channels // 2, growth, 1)

    def forward(self, x: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """`counts`: frames of each stretch in each segment, (batch, 1, segments)."""
        frames = x.shape[-1]
        rest = -frames % _SEGMENT
        sums = F.pad(x, (0, rest)).unflatten(-1, (-1, _SEGMENT)).sum(dim=-1)
        near, whole = counts.clamp_min(1), counts.sum(dim=-1, keepdim=True).clamp_min(1)
        context = sums / near + sums.sum(dim=-1, keepdim=True) / whole
        # the same in all frames of a segment, so it is worked out once for each
        mask = torch.sigmoid(_pointwise(F.relu_(_pointwise(context, self.linear1)), self.linear2))
        local = F.pad(self.linear_local(x), (0, rest)).unflatten(-1, (-1, _SEGMENT))
        masked: torch.Tensor = (local * mask[..., None]).flatten(-2)[..., :frames]
        return masked


class _DenseLayer(_Foldable):
    def __init__(self, channels: int, inner: int, growth: int, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = _Normalized(channels)
        self.linear1 = nn.Conv1d(channels, inner, 1, bias=False)
        self.nonlinear2 = _Normalized(inner)
        self.cam_layer = _Mask(inner, growth, dilation)

    def fold(self) -> None:
        self.linear1 = fuse_conv_bn_eval(self.linear1, self.nonlinear2.batchnorm)

    def forward(self, x: torch.Tensor, within: torch.Tensor | None, counts: torch.Tensor) -> torch.Tensor:
        inner = _kept(F.relu_(_pointwise(self.nonlinear1(x), self.linear1)), within)
        masked: torch.Tensor = self.cam_layer(inner, counts)
        return masked


class _Block(nn.Module):
    """Layers each of which hears all before it."""

    def __init__(self, layers: int, channels: int, inner: int, growth: int, dilation: int) -> None:
        super().__init__()
        self._growth = growth
        for layer in range(layers):
            name = f"tdnnd{layer + 1}"
            self.add_module(name, _DenseLayer(channels + layer * growth, inner, growth, dilation))

    def forward(self, x: torch.Tensor, within: torch.Tensor | None, counts: torch.Tensor) -> torch.Tensor:
        layers = list(self.children())
        batch, channels, frames = x.shape
        heard = x.new_empty(batch, channels + self._growth * len(layers), frames)
        heard[:, :channels] = x
        for layer in layers:
            heard[:, channels : channels + self._growth] = layer(heard[:, :channels], within, counts)
            channels += self._growth
        return heard


class _Transit(nn.Module):
    """Half as many channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.nonlinear = _Normalized(channels)
        self.linear = nn.Conv1d(channels, channels // 2, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _pointwise(self.nonlinear(x), self.linear)


class _Tdnn(_Foldable):
    """Half as many frames."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(channels, outputs, 5, stride=2, padding=2, bias=False)
        self.nonlinear = _Normalized(outputs)

    def fold(self) -> None:
        self.linear = fuse_conv_bn_eval(self.linear, self.nonlinear.batchnorm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu_(self.linear(x))


class _Dense(_Foldable):
    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(channels, outputs, 1, bias=False)
        self.nonlinear = nn.Sequential()
        self.nonlinear.add_module("batchnorm", nn.BatchNorm1d(outputs, affine=False))

    def fold(self) -> None:
        self.linear = fuse_conv_bn_eval(self.linear, self.nonlinear.batchnorm)

    def forward(self, statistics: torch.Tensor) -> torch.Tensor:
        embeddings: torch.Tensor = self.linear(statistics[..., None])
        return embeddings[..., 0]


class _Xvector(nn.Module):
    """(batch, 320, frames) -> (batch, 192)."""

    inner, growth = 128, 32
    layers, dilations = (12, 24, 16), (1, 2, 2)

    def __init__(self) -> None:
        super().__init__()
        self.tdnn = _Tdnn(_Head.channels * BANDS // 8, self.inner)
        channels = self.inner
        for number, (layers, dilation) in enumerate(zip(self.layers, self.dilations, strict=True), 1):
            self.add_module(f"block{number}", _Block(layers, channels, self.inner, self.growth, dilation))
            channels += layers * self.growth
            self.add_module(f"transit{number}", _Transit(channels))
            channels //= 2
        self.out_nonlinear = _Normalized(channels)
        self.pooled = 2 * channels
        self.dense = _Dense(self.pooled, DIMENSION)

    def forward(self, x: torch.Tensor, within: torch.Tensor | None) -> torch.Tensor:
        x = self.tdnn(x)
        ones = x.new_ones(1, 1, x.shape[-1]) if within is None else within[..., ::2]
        within = None if within is None else ones
        counts = F.pad(ones, (0, -x.shape[-1] % _SEGMENT)).unflatten(-1, (-1, _SEGMENT)).sum(dim=-1)
        for block, transit in (
            (self.block1, self.transit1),
            (self.block2, self.transit2),
            (self.block3, self.transit3),
        ):
            x = transit(block(x, within, counts))
        x = _kept(self.out_nonlinear(x), within)
        frames = counts.sum(dim=-1)
        mean = x.sum(dim=-1) / frames.clamp_min(1)
        spread = _kept((x - mean[..., None]).square(), within).sum(dim=-1) / (frames - 1).clamp_min(1)
        embeddings: torch.Tensor = self.dense(torch.cat([mean, spread.sqrt()], dim=-1))
        return embeddings
