"""Whoever is said to be unheard by the demo models is unheard: what training says of its synthetic voices is true."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("espeakng_loader", reason="the demo models' training brings the synthesizer")

from models.demo import synthesis
from models.demo.diarization_voices import TRAINING_VOICES, TUNING_VOICES, UNSEEN_VOICES
from models.demo.recordings import PEOPLE

HEARD = (*synthesis.TRAIN_VOICES, *TRAINING_VOICES, *TUNING_VOICES)
UNHEARD = (*synthesis.TEST_VOICES, *UNSEEN_VOICES, *(person.voice for person in PEOPLE))


def variants(voices: tuple[str, ...]) -> set[str]:
    return {voice.partition("+")[2] or voice for voice in voices}


def test_nobody_heard_speaks_in_an_evaluation_not_even_with_another_accent() -> None:
    assert variants(HEARD) & variants(UNHEARD) == set()
    assert variants(TRAINING_VOICES) & variants(TUNING_VOICES) == set()


def test_every_voice_exists() -> None:
    for voice in sorted({*HEARD, *UNHEARD}):
        assert len(synthesis.say("Yes.", voice).words) == 1


@pytest.mark.parametrize("voice", ["en-us+annie", "en-us+nobody", "en-us+", "nowhere", "nowhere+m1"])
def test_a_voice_that_does_not_exist_is_an_error_and_not_another_voice(voice: str) -> None:
    synthesis.say("Yes.", "en-us")
    with pytest.raises(ValueError, match="has no voice"):
        synthesis.say("Yes.", voice)


def test_another_process_says_the_same() -> None:
    program = (
        "from models.demo.synthesis import say\n"
        "for voice in ('en-us+f3', 'en-us+klatt2', 'en-us+Annie'):\n"
        "    print(say('Where were you that day?', voice, seed=3).samples.tobytes().hex())\n"
    )
    root = Path(synthesis.__file__).parents[2]
    runs = [
        subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, check=True).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1] != b""
