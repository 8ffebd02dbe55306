"""pyannote.audio's speaker diarization with one pass of the embedding network for each chunk instead of one for each
of its speakers, as a class that a pipeline configuration names.

Stock `get_embeddings` runs the network once for every pair of chunk and speaker slot, silent ones included, although
only the pooling of its last layers differs between them, and pyannote.audio's networks take the masks of all speakers
of a chunk at once. The turns are the same (a test compares them). Reported to the makers with the same finding on
public data (pyannote-audio issue 2050).

It imports torch and pyannote.audio at the top, and is itself imported by pyannote.audio only.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pyannote.audio.pipelines import SpeakerDiarization
from pyannote.core import SlidingWindowFeature


class StackedSpeakerDiarization(SpeakerDiarization):
    """`pyannote.audio.pipelines.SpeakerDiarization`, faster. `embedding_batch_size` counts chunks here."""

    def get_embeddings(
        self,
        file: Any,
        binary_segmentations: SlidingWindowFeature,
        exclude_overlap: bool = False,
        hook: Callable[..., None] | None = None,
    ) -> np.ndarray:
        """Shape `(chunks, speakers, dimension)`. A speaker who is silent in a chunk has what the network says of no
        frames at all, as upstream."""
        masks = self._masks(binary_segmentations, exclude_overlap)
        chunks, speakers, _ = masks.shape
        speaking = np.flatnonzero(masks.any(axis=(1, 2)))
        batches = [
            speaking[at : at + self.embedding_batch_size] for at in range(0, len(speaking), self.embedding_batch_size)
        ]
        samples = round(binary_segmentations.sliding_window.duration * self._embedding.sample_rate)
        # of silence under an empty mask: no chunk's sound has a part in it
        silent = self._embed(torch.zeros(1, 1, samples), np.zeros((1, 1, masks.shape[2]), dtype=np.float32))[0, 0]
        embeddings = np.tile(silent, (chunks, speakers, 1))
        if hook is not None:
            hook("embeddings", None, total=len(batches), completed=0)
        for done, batch in enumerate(batches, 1):
            waveforms = torch.stack(
                [
                    self._audio.crop(file, binary_segmentations.sliding_window[int(chunk)], mode="pad")[0]
                    for chunk in batch
                ]
            )
            embeddings[batch] = self._embed(waveforms, masks[batch])
            if hook is not None:
                hook("embeddings", None, total=len(batches), completed=done)
        return embeddings

    def _masks(self, segmentations: SlidingWindowFeature, exclude_overlap: bool) -> np.ndarray:
        """Shape `(chunks, speakers, frames)`: where each speaker talks, alone where that is long enough."""
        active = np.nan_to_num(segmentations.data, nan=0.0).astype(np.float32)
        if exclude_overlap:
            frames = active.shape[1]
            samples = segmentations.sliding_window.duration * self._embedding.sample_rate
            fewest = math.ceil(frames * self._embedding.min_num_samples / samples)
            alone = active * (active.sum(axis=2, keepdims=True) < 2)
            active = np.where(alone.sum(axis=1, keepdims=True) > fewest, alone, active)
        return np.ascontiguousarray(active.transpose(0, 2, 1))

    def _embed(self, waveforms: torch.Tensor, masks: np.ndarray) -> np.ndarray:
        """One batch, filled up on a GPU: cuDNN picks another algorithm, with another appetite for memory, for a
        smaller last batch (pyannote-audio issue 1963)."""
        given, device = torch.from_numpy(masks), self._embedding.device
        missing = self.embedding_batch_size - len(waveforms)
        if device.type == "cuda" and missing > 0:
            waveforms = torch.cat([waveforms, waveforms[-1:].expand(missing, -1, -1)])
            given = torch.cat([given, given[-1:].expand(missing, -1, -1)])
        # half precision pays on a GPU's tensor cores; on a CPU the same bytes everywhere are worth more
        with torch.autocast(device.type, dtype=torch.float16, enabled=device.type == "cuda"):
            embeddings: np.ndarray = self._embedding(waveforms, masks=given)
        return embeddings[: len(masks)].astype(np.float32)
