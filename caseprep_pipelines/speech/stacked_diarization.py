"""pyannote.audio's speaker diarization with one pass of the embedding network for each chunk instead of one for each
of its speakers, and able to go on where it was interrupted, as a class that a pipeline configuration names.

Stock `get_embeddings` runs the network once for every pair of chunk and speaker slot, silent ones included, although
only the pooling of its last layers differs between them, and pyannote.audio's networks take the masks of all speakers
of a chunk at once. The turns are the same (a test compares them). Reported to the makers with the same finding on
public data (pyannote-audio issue 2050).

What the networks say of chunks is put away now and then where the file has a `savings` (`diarizer.Savings`).
Clustering begins anew after an interruption: it takes seconds.

It imports torch and pyannote.audio at the top, and is itself imported by pyannote.audio only.
"""

import math
import time
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from pyannote.audio.pipelines import SpeakerDiarization
from pyannote.audio.utils.signal import binarize
from pyannote.core import SlidingWindow, SlidingWindowFeature

from caseprep_pipelines.speech.diarizer import SAVE_SECONDS, Savings

_SEGMENTED, _EMBEDDED = "segmented", "embedded"
_RANGE_BATCHES = 4
"""Batches of chunks that are segmented between two looks at the clock."""
_SPEECH_STEP = 5.0
"""Seconds between chunks in which anybody's speech is looked for; speakers need far more of them."""


class StackedSpeakerDiarization(SpeakerDiarization):
    """`pyannote.audio.pipelines.SpeakerDiarization`, faster. `embedding_batch_size` counts chunks here, and is halved
    when the device's memory does not hold them."""

    def hear(self, file: Any, hook: Callable[..., None]) -> tuple[SlidingWindowFeature, np.ndarray]:
        """What the networks say: `apply` up to where clustering begins."""
        segmentations = self.get_segmentations(file, hook)
        heard = segmentations
        if not cast(Any, self._segmentation.model.specifications).powerset:
            heard = binarize(segmentations, onset=self.segmentation.threshold, initial_state=False)
        return segmentations, self.get_embeddings(file, heard, self.embedding_exclude_overlap, hook)

    def get_segmentations(self, file: Any, hook: Callable[..., None] | None = None) -> SlidingWindowFeature:
        """As upstream, in ranges of chunks."""
        waveform, rate = file["waveform"], file["sample_rate"]
        window = self._segmentation.model.audio.get_num_samples(self._segmentation.duration)
        step = round(self._segmentation.step * rate)
        samples = waveform.shape[1]
        whole = max(0, (samples - window) // step + 1)
        chunks = whole + (samples < window or (samples - window) % step > 0)
        kept = _Kept(file.get("savings"), _SEGMENTED)
        done = kept.values
        size = _RANGE_BATCHES * self._segmentation.batch_size
        for first in range(0, chunks, size):
            following = min(first + size, chunks)
            if not all(chunk in done for chunk in range(first, following)):
                end = samples if following == chunks else (following - 1) * step + window
                said = cast(
                    SlidingWindowFeature,
                    self._segmentation({"waveform": waveform[:, first * step : end], "sample_rate": rate}),
                )
                kept.add(range(first, following), np.asarray(said.data))
            if hook is not None:
                hook("segmentation", None, total=chunks, completed=following)
        kept.save()
        data = np.stack([done[chunk] for chunk in range(chunks)])
        # as upstream, also where no chunk was left to ask the network about
        return SlidingWindowFeature(
            data, SlidingWindow(start=0.0, duration=self._segmentation.duration, step=self._segmentation.step)
        )

    def speech_likelihood(self, waveform: torch.Tensor) -> np.ndarray:
        """How likely anybody at all is heard in each of the segmentation network's frames, shape `(frames,)`; for audio
        of shape `(1, samples)`."""
        model = cast(Any, self._segmentation.model)
        rate, device = model.audio.sample_rate, self._segmentation.device
        window = model.audio.get_num_samples(self._segmentation.duration)
        frame = round(model.receptive_field.step * rate)
        step = int(_SPEECH_STEP * rate) // frame * frame
        samples = waveform.shape[1]
        starts = list(range(0, max(1, samples - window + 1), step))
        if starts[-1] + window < samples:
            # a whole chunk up to the end hears more than what is left over, filled up with silence
            starts.append(-(-(samples - window) // frame) * frame)
        frames = max(1, min(starts[-1] // frame + model.num_frames(window), samples // frame))
        total, heard = np.zeros(frames, dtype=np.float32), np.zeros(frames, dtype=np.float32)
        size = self._segmentation.batch_size
        for first in range(0, len(starts), size):
            batch = starts[first : first + size]
            chunks = [waveform[:, start : start + window] for start in batch]
            stacked = torch.stack([F.pad(chunk, (0, window - chunk.shape[1])) for chunk in chunks])
            with torch.inference_mode():
                said = model(stacked.to(device))
                # of a powerset the first class is nobody; else the surest speaker counts
                anybody = 1 - said[..., 0].exp() if model.specifications.powerset else said.amax(dim=-1)
            for start, likelihood in zip(batch, anybody.float().cpu().numpy(), strict=True):
                at = start // frame
                held = likelihood[: frames - at]
                total[at : at + len(held)] += held
                heard[at : at + len(held)] += 1
        return total / np.maximum(heard, 1)

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
        kept = _Kept(file.get("savings"), _EMBEDDED)
        speaking = [int(chunk) for chunk in np.flatnonzero(masks.any(axis=(1, 2)))]
        missing = [chunk for chunk in speaking if chunk not in kept.values]
        samples = round(binary_segmentations.sliding_window.duration * self._embedding.sample_rate)
        # of silence under an empty mask: no chunk's sound has a part in it
        silent = self._embed(torch.zeros(1, 1, samples), np.zeros((1, 1, masks.shape[2]), dtype=np.float32))[0, 0]
        at = 0
        while at < len(missing):
            batch = missing[at : at + self.embedding_batch_size]
            waveforms = torch.stack(
                [self._audio.crop(file, binary_segmentations.sliding_window[chunk], mode="pad")[0] for chunk in batch]
            )
            try:
                said = self._embed(waveforms, masks[batch])
            except RuntimeError as error:
                if len(batch) == 1 or "out of memory" not in str(error).lower():
                    raise
                self.embedding_batch_size = len(batch) // 2
                continue
            kept.add(batch, said)
            at += len(batch)
            if hook is not None:
                hook("embeddings", None, total=len(speaking), completed=len(speaking) - len(missing) + at)
        kept.save()
        embeddings = np.tile(silent, (chunks, speakers, 1))
        for chunk in speaking:
            embeddings[chunk] = kept.values[chunk]
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


class _Kept:
    """What a network said of chunks, those of an earlier attempt included."""

    def __init__(self, savings: Savings | None, kind: str) -> None:
        self._savings, self._kind = savings, kind
        self.values: dict[int, np.ndarray] = dict(savings.load(kind)) if savings is not None else {}
        self._unsaved: list[int] = []
        self._saved_at = time.monotonic()

    def add(self, chunks: Any, said: np.ndarray) -> None:
        for chunk, value in zip(chunks, said, strict=True):
            self.values[chunk] = value
            self._unsaved.append(chunk)
        if time.monotonic() - self._saved_at >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        if self._savings is not None and self._unsaved:
            self._savings.save(self._kind, {chunk: self.values[chunk] for chunk in self._unsaved})
            self._unsaved = []
        self._saved_at = time.monotonic()
