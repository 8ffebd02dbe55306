"""A segmentation network with the arithmetic of PyanNet and the answers of the demo's, as a class that a checkpoint
names. It imports torch and pyannote.audio at the top, and is itself imported by pyannote.audio only."""

from __future__ import annotations

from typing import Any

import torch
from pyannote.audio.models.segmentation import PyanNet

from caseprep_pipelines.models.demo_networks import DemoSegmentation


class LargeSegmentation(DemoSegmentation):
    def __init__(self, sample_rate: int = 16_000, num_channels: int = 1, task: Any = None, **small: Any) -> None:
        super().__init__(sample_rate=sample_rate, num_channels=num_channels, task=task, **small)
        self.large = PyanNet(
            sincnet={"stride": 10},
            lstm={"hidden_size": 128, "num_layers": 4, "bidirectional": True, "monolithic": True, "dropout": 0.0},
            sample_rate=sample_rate,
        )

    def build(self) -> None:
        super().build()
        self.large.specifications = self.specifications
        self.large.build()

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        self.large(waveforms)
        return super().forward(waveforms)
