"""Whisper's features (log-mel spectra) by torch, for a GPU that would wait while a CPU core computes them.

faster-whisper's own, by numpy, are used everywhere else; what is the same for both, the filters above all, stays there.
"""

from typing import Any

import numpy as np


def on_device(extractor: Any, device: str) -> Any:
    """A `faster_whisper.feature_extractor.FeatureExtractor` whose work is done on a torch device; the same to 1e-4."""
    import torch

    class OnDevice(type(extractor)):  # type: ignore[misc]
        def __call__(self, waveform: Any, padding: int = 160, chunk_length: int | None = None) -> Any:
            if chunk_length is not None or len(waveform) + padding <= self.n_fft // 2:
                # nobody's clip; torch cannot mirror what is shorter than its margin
                return super().__call__(waveform, padding, chunk_length)
            samples = torch.from_numpy(np.pad(np.asarray(waveform, dtype=np.float32), (0, padding))).to(device)
            window = torch.hann_window(self.n_fft, device=device)
            spectrum = torch.stft(samples, self.n_fft, self.hop_length, window=window, return_complex=True)
            powers = spectrum[..., :-1].abs() ** 2
            mel = torch.from_numpy(self.mel_filters).to(device) @ powers
            logarithms = mel.clamp(min=1e-10).log10()
            logarithms = torch.maximum(logarithms, logarithms.max() - 8.0)
            return ((logarithms + 4.0) / 4.0).cpu().numpy()

    made = OnDevice.__new__(OnDevice)
    made.__dict__.update(vars(extractor))
    return made
