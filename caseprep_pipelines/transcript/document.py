"""The canonical transcript: utterances of words with speaker, times and flags. Every later thing is made from it."""

from enum import StrEnum
from typing import Literal

from caseprep_pipelines.models.identity import ModelIdentity
from caseprep_pipelines.speech.documents import Suspicion
from caseprep_pipelines.storage.document import Document, Part
from caseprep_pipelines.transcript.joining import join

#: What every transcript says of itself. Machine output is never called verbatim, certified or compliant.
MACHINE_DRAFT_NOTICE = "Uncertified machine draft. The recording is the evidence; check every quotation against it."
DEMO_NOTICE = "Made with demo models that know only the demo's own small language. Not for real recordings."


class WordFlag(StrEnum):
    OVERLAP = "overlap"
    """Somebody else spoke at the same time."""
    UNCERTAIN_SPEAKER = "uncertain-speaker"
    """No turn covers the word, or two speakers claim it nearly equally."""
    SMOOTHED_SPEAKER = "smoothed-speaker"
    """The island rule gave the word to its neighbours' speaker."""
    LOW_PROBABILITY = "low-probability"
    POSSIBLE_BLEED = "possible-bleed"
    """Another channel was louder: the word may be somebody else's, heard through this microphone."""


class TranscriptWord(Part):
    text: str
    """With its punctuation. It has no surrounding space, but the one before it where the language has none between
    words and the recognizer wrote one."""
    start: float
    end: float
    probability: float
    speaker_confidence: float | None = None
    """Share of the word's time that its speaker's exclusive turns cover, 0 to 1; None where there are no turns."""
    flags: tuple[WordFlag, ...] = ()


class Utterance(Part):
    """Consecutive words of one speaker."""

    index: int
    speaker: str | None
    channel: int
    start: float
    end: float
    words: tuple[TranscriptWord, ...]
    flags: tuple[Suspicion, ...] = ()
    language: str | None = None
    """As in `Transcript.languages`; None where nobody knows it."""

    @property
    def text(self) -> str:
        return join((word.text for word in self.words), self.language)


class Speaker(Part):
    label: str
    """`SPEAKER_00`, …: stable within one transcript version."""
    channel: int | None = None
    """Set where the channel is the speaker."""
    speech_seconds: float
    words: int


class Unspoken(Part):
    """A stretch that a listener should check though no words stand there."""

    channel: int
    start: float
    end: float
    flag: Suspicion


class Sources(Part):
    """Digests of what the transcript was made from."""

    original_sha256: str
    raw_transcript_sha256: str
    speaker_turns_sha256: str


class Transcript(Document):
    document: Literal["transcript"] = "transcript"
    schema_version: Literal[1] = 1
    partition: str
    matter: str
    duration_seconds: float
    languages: tuple[str, ...]
    notices: tuple[str, ...]
    transcription_model: ModelIdentity
    diarization_model: ModelIdentity | None
    sources: Sources
    speakers: tuple[Speaker, ...]
    utterances: tuple[Utterance, ...]
    other_hearings: tuple[Utterance, ...] = ()
    """What other channels made of words that stand in `utterances`: the same words at the same time, or what a second
    microphone in the room heard. Not part of the text, but kept so that nothing vanishes unseen."""
    unspoken: tuple[Unspoken, ...] = ()

    @property
    def main_language(self) -> str | None:
        """The one that was spoken longest."""
        seconds: dict[str, float] = {}
        for utterance in self.utterances:
            if utterance.language:
                length = utterance.end - utterance.start
                seconds[utterance.language] = seconds.get(utterance.language, 0.0) + length
        return max(seconds, key=lambda language: seconds[language]) if seconds else next(iter(self.languages), None)

    def language_of(self, utterance: Utterance) -> str | None:
        """The language of an utterance, which is the transcript's where it has only one."""
        return utterance.language or (self.languages[0] if len(self.languages) == 1 else None)

    def text_of(self, utterance: Utterance) -> str:
        """What was said in an utterance, as a reader of its language writes it."""
        return join((word.text for word in utterance.words), self.language_of(utterance))

    @property
    def demo(self) -> bool:
        return self.transcription_model.demo or bool(self.diarization_model and self.diarization_model.demo)
