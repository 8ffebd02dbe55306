import numpy as np
import pytest
import soundfile

from caseprep_pipelines.speech.features import on_device
from caseprep_pipelines.speech.whisper import WhisperTranscriber
from caseprep_pipelines_tests.speech.conftest import DemoRecording


@pytest.mark.parametrize("mels", [80, 128])
@pytest.mark.parametrize("seconds", [0.002, 0.1, 7.3])
def test_torch_computes_what_faster_whisper_does(deposition: DemoRecording, mels: int, seconds: float) -> None:
    from faster_whisper.feature_extractor import FeatureExtractor

    samples, _ = soundfile.read(deposition.folder / "0.flac", dtype="float32", frames=round(seconds * 16_000))
    own = FeatureExtractor(feature_size=mels)
    features = on_device(own, "cpu")(samples)
    assert features.dtype == np.float32
    assert features.shape == own(samples).shape
    assert np.abs(features - own(samples)).max() < 1e-4
    assert on_device(own, "cpu").nb_max_frames == own.nb_max_frames


def test_silence_has_features_too() -> None:
    from faster_whisper.feature_extractor import FeatureExtractor

    own = FeatureExtractor()
    silence = np.zeros(16_000, dtype=np.float32)
    assert np.abs(on_device(own, "cpu")(silence) - own(silence)).max() < 1e-6


def test_a_cpu_keeps_to_faster_whispers_own(transcriber: WhisperTranscriber) -> None:
    from faster_whisper.feature_extractor import FeatureExtractor

    assert type(transcriber.engine.feature_extractor) is FeatureExtractor
