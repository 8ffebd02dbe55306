"""The two small networks of the demo diarization pipeline, as classes that a pyannote.audio checkpoint names.

A checkpoint stores module and class, so this file must stay importable under its name for as long as the shipped
demo models are loaded. It belongs here and not beside the training scripts because loading needs it and training
is never installed. Nothing but the networks' shapes belongs here: how they are trained is in `models/demo/`.
It imports torch and pyannote.audio at the top, and is itself imported by pyannote.audio only.

Both networks hear nothing above 3.7 kHz, so a telephone line takes nothing away that they were trained on, and both
bring every chunk to one level first, so they do not depend on the gain of the recording.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F  # noqa: N812
import torchaudio
from pyannote.audio.core.model import Model
from pyannote.audio.models.blocks.pooling import StatsPool

FRAME = 320
"""Samples of 16 kHz audio that one output frame stands for: 20 ms."""
_HOP = 160
_FLOOR = 1e-3
_QUIETEST = 1e-4


class LogMel(nn.Module):
    """Log-mel energies of the telephone band, at a chunk level of one.

    (batch, 1, samples at 16 kHz) -> (batch, mels, 1 + samples // 160)
    """

    def __init__(self, mels: int) -> None:
        super().__init__()
        self.mel = torchaudio.transforms.MelSpectrogram(
            16_000, n_fft=512, hop_length=_HOP, f_min=80.0, f_max=3_700.0, n_mels=mels, mel_scale="slaney"
        )

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        level = waveforms.square().mean(dim=-1, keepdim=True).sqrt().clamp_min(_QUIETEST)
        energies: torch.Tensor = self.mel(waveforms / level).squeeze(1)
        return torch.log(energies + _FLOOR)


class _Framed(Model):
    """What both networks tell pyannote.audio of their frames: cells of 20 ms, the first one starting at zero."""

    @lru_cache  # noqa: B019 - pyannote.audio's own models do the same; two models live as long as the process
    def num_frames(self, num_samples: int) -> int:
        return 2 * (num_samples // (2 * FRAME))

    def receptive_field_size(self, num_frames: int = 1) -> int:
        return num_frames * FRAME

    def receptive_field_center(self, frame: int = 0) -> int:
        return frame * FRAME + FRAME // 2


def _front(mels: int, channels: int, second_stride: int) -> nn.Sequential:
    """Two convolutions over log-mel; the first halves the number of frames."""
    return nn.Sequential(
        nn.Conv1d(mels, channels, 5, stride=2, padding=2),
        nn.BatchNorm1d(channels),
        nn.ReLU(),
        nn.Conv1d(channels, channels, 3, stride=second_stride, padding=1),
        nn.BatchNorm1d(channels),
        nn.ReLU(),
    )


class DemoSegmentation(_Framed):
    """Who of up to three speakers talks in each frame of a chunk; PyanNet with a mel front end in SincNet's place.

    (batch, 1, samples) -> (batch, 2 × (samples // 640), 7) log probabilities of the sets of at most two of three
    speakers. The recurrent layers take steps of 40 ms and answer for two frames at each: half the work.
    """

    def __init__(
        self,
        sample_rate: int = 16_000,
        num_channels: int = 1,
        mels: int = 48,
        channels: int = 64,
        hidden: int = 64,
        layers: int = 2,
        task: Any = None,
    ) -> None:
        super().__init__(sample_rate=sample_rate, num_channels=num_channels, task=task)
        self.save_hyperparameters("mels", "channels", "hidden", "layers")
        self.features = LogMel(mels)
        self.front = _front(mels, channels, second_stride=2)
        self.lstm = nn.LSTM(channels, hidden, num_layers=layers, bidirectional=True, batch_first=True)
        self.linear = nn.Linear(2 * hidden, hidden)

    @property
    def dimension(self) -> int:
        return int(self.specifications.num_powerset_classes)

    def build(self) -> None:
        self.classifier = nn.Linear(self.linear.out_features, 2 * self.dimension)
        self.activation = self.default_activation()

    def hear(self, features: torch.Tensor) -> torch.Tensor:
        """Log-mel (batch, mels, 10 ms frames) -> (batch, 40 ms steps, 2 × hidden); training adds a loss here."""
        frames = self.front(features)[..., : features.shape[-1] // 4]
        outputs: torch.Tensor = self.lstm(frames.transpose(1, 2))[0]
        return outputs

    def decide(self, heard: torch.Tensor) -> torch.Tensor:
        scores = self.classifier(F.leaky_relu(self.linear(heard)))
        outputs: torch.Tensor = self.activation(scores.unflatten(-1, (2, -1)).flatten(1, 2))
        return outputs

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        return self.decide(self.hear(self.features(waveforms)))


class DemoEmbedding(_Framed):
    """A small x-vector: whose voice it is, over the frames that `weights` choose.

    (batch, 1, samples), weights (batch, frames) or (batch, speakers, frames) or None -> (batch[, speakers], dimension)
    """

    def __init__(
        self,
        sample_rate: int = 16_000,
        num_channels: int = 1,
        mels: int = 48,
        channels: int = 96,
        pooled: int = 192,
        dimension: int = 64,
        task: Any = None,
    ) -> None:
        super().__init__(sample_rate=sample_rate, num_channels=num_channels, task=task)
        self.save_hyperparameters("mels", "channels", "pooled", "dimension")
        self.features = LogMel(mels)
        self.front = _front(mels, channels, second_stride=1)
        self.tdnn = nn.Sequential(
            nn.Conv1d(channels, channels, 3, padding=2, dilation=2),
            nn.BatchNorm1d(channels),
            nn.ReLU(),
            nn.Conv1d(channels, pooled, 1),
            nn.BatchNorm1d(pooled),
            nn.LeakyReLU(),  # a plain one can be zero in every frame, and the deviation of that has no gradient
        )
        self.pool = StatsPool()
        self.embedding = nn.Linear(2 * pooled, dimension)

    @property
    def dimension(self) -> int:
        return int(self.hparams.dimension)

    def embed(self, features: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        """Log-mel (batch, mels, 10 ms frames) -> embeddings. Each frame's mean is taken out: loudness is no voice."""
        frames = self.front(features - features.mean(dim=1, keepdim=True))[..., : features.shape[-1] // 2]
        embeddings: torch.Tensor = self.embedding(self.pool(self.tdnn(frames), weights=weights))
        return embeddings

    def forward(self, waveforms: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        return self.embed(self.features(waveforms), weights)
