"""The shipped demo models are as good as is said of them, on people and sentences that they never heard.

The sample in `data/` is made by `python -m models.demo.held_out`; the synthesizer's own times are the truth. Figures on
more stand in `models/demo/`.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate

from caseprep_pipelines.audio.limits import Limits
from caseprep_pipelines.audio.normalize import normalize
from caseprep_pipelines.speech import diarization
from caseprep_pipelines.speech.diarizer import Diarizer
from caseprep_pipelines.speech.documents import RawTranscript, Span, SpeakerTurns, Word
from caseprep_pipelines.speech.flags import doubts, improbable
from caseprep_pipelines.speech.transcriber import TranscribeOptions
from caseprep_pipelines.speech.transcription import Job, recognise_channel, transcribe
from caseprep_pipelines.speech.whisper import WhisperTranscriber
from caseprep_pipelines_tests.audio.conftest import registered
from caseprep_pipelines_tests.speech.conftest import normalized
from caseprep_pipelines_tests.spoken import bare

DATA = Path(__file__).parent / "data"
RATE = 16_000

#: What is promised. The shipped models reach 0.019 and 0.041 s in the worse of the two conversations, and 0.058 on
#: average over both; what is left is for int8, which differs between processors.
WORD_ERROR_RATE = 0.05
WORD_START_SECONDS = 0.120
DIARIZATION_ERROR_RATE = 0.10


@dataclass(frozen=True)
class Conversation:
    """What was said, and what the pipeline made of the recording."""

    reference: list[dict[str, Any]]
    raw: RawTranscript
    turns: SpeakerTurns

    @property
    def spoken(self) -> list[tuple[str, float]]:
        return [
            (bare(word), start)
            for said in self.reference
            for word, (start, _) in zip(said["words"].split(), said["word_times"], strict=True)
        ]

    @property
    def heard(self) -> list[tuple[str, float]]:
        return [(bare(word.text), word.start) for word in words(self.raw)]


def words(raw: RawTranscript) -> list[Word]:
    return [word for channel in raw.channels for segment in channel.segments for word in segment.words]


@pytest.fixture(scope="module")
def conversations(
    tmp_path_factory: pytest.TempPathFactory, transcriber: WhisperTranscriber, diarizer: Diarizer
) -> list[Conversation]:
    made = []
    for path in sorted(DATA.glob("*.ogg")):
        folder = tmp_path_factory.mktemp(path.stem)
        audio = normalize(path, registered(path), folder, Limits())
        raw = transcribe(Job(audio, folder, transcriber))
        reference = json.loads(path.with_suffix(".json").read_text())
        made.append(
            Conversation(reference, raw, diarization.diarize(diarization.Job(audio, folder, raw, lambda: diarizer)))
        )
    assert len(made) == 2
    return made


def aligned(conversation: Conversation) -> jiwer.WordOutput:
    spoken, heard = (" ".join(word for word, _ in side) for side in (conversation.spoken, conversation.heard))
    return jiwer.process_words(spoken, heard)


def test_few_words_are_wrong(conversations: list[Conversation]) -> None:
    assert max(aligned(conversation).wer for conversation in conversations) <= WORD_ERROR_RATE


def test_words_begin_where_they_are_said(conversations: list[Conversation]) -> None:
    for conversation in conversations:
        off = [
            abs(conversation.spoken[chunk.ref_start_idx + k][1] - conversation.heard[chunk.hyp_start_idx + k][1])
            for chunk in aligned(conversation).alignments[0]
            if chunk.type == "equal"
            for k in range(chunk.ref_end_idx - chunk.ref_start_idx)
        ]
        assert np.median(off) <= WORD_START_SECONDS


def test_it_is_known_who_speaks_when(conversations: list[Conversation]) -> None:
    """No collar, and nobody said how many speak."""
    errors = []
    for conversation in conversations:
        spoken, heard = Annotation(), Annotation()
        for number, said in enumerate(conversation.reference):
            for part, (start, end) in enumerate(said["turns"]):
                spoken[Segment(start, end), f"{number}.{part}"] = said["speaker"]
        for number, turn in enumerate(conversation.turns.turns):
            heard[Segment(turn.start, turn.end), number] = turn.speaker
        whole = Timeline([Segment(0, conversation.turns.duration_seconds)])
        errors.append(DiarizationErrorRate()(spoken, heard, uem=whole))
    assert np.mean(errors) <= DIARIZATION_ERROR_RATE


def hum(mains: float) -> np.ndarray:
    time = np.arange(60 * RATE) / RATE
    return 0.05 * sum(np.sin(2 * np.pi * mains * harmonic * time) / harmonic for harmonic in (1, 2, 3, 5, 7))


def noise(tilt: float) -> np.ndarray:
    """A minute, whose level falls with frequency as `tilt` says: none is hiss, one is the rumble of a building."""
    spectrum = np.fft.rfft(np.random.default_rng(7).standard_normal(60 * RATE))
    sound = np.fft.irfft(spectrum / np.maximum(np.fft.rfftfreq(60 * RATE, 1 / RATE), 40) ** tilt)
    return 0.03 * sound / np.std(sound)


@pytest.mark.parametrize(
    "sound",
    [
        pytest.param(np.zeros(60 * RATE), id="silence"),
        pytest.param(hum(50), id="hum of 50 Hz mains"),
        pytest.param(hum(60), id="hum of 60 Hz mains"),
        pytest.param(noise(0), id="hiss"),
        pytest.param(noise(1), id="rumble"),
    ],
)
def test_there_are_no_words_where_nobody_speaks(
    sound: np.ndarray, tmp_path: Path, transcriber: WhisperTranscriber
) -> None:
    audio = normalized(tmp_path, sound.astype(np.float32))
    assert words(transcribe(Job(audio, tmp_path, transcriber))) == []
    # nor, by the search that the model's figures are of, where the detector is mistaken; a wider one finds words,
    # which are marked. Silence and hum are the same in every clip
    limit = transcriber.identity.clip_seconds
    clips = [Span(start=number * limit, end=(number + 1) * limit) for number in range(4)]
    greedy = replace(transcriber, beam_size=1)
    assert not any(recognise_channel(greedy, tmp_path / "0.flac", clips, TranscribeOptions()))
    found = recognise_channel(transcriber, tmp_path / "0.flac", clips, TranscribeOptions())
    assert all(doubts(segment, ()) and improbable(segment) for segment in found)
