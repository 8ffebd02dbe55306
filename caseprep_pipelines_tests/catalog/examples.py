"""Recordings and transcripts to put into catalogs."""

import hashlib

from caseprep_pipelines.catalog.registry import NewRecording
from caseprep_pipelines.models.identity import ModelIdentity
from caseprep_pipelines.speech.documents import Suspicion
from caseprep_pipelines.storage.keys import origin_digest_of_file
from caseprep_pipelines.transcript.document import Sources, Speaker, Transcript, TranscriptWord, Utterance


def sha(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def recording(name: str = "smith deposition.mp3", matter: str = "2024-cv-00123", content: str = "") -> NewRecording:
    sha256 = sha(content or name)
    return NewRecording(matter, name, f"/evidence/{name}", origin_digest_of_file(sha256), sha256, 1000)


def transcript(
    partition: str, *said: str, matter: str = "2024-cv-00123", languages: tuple[str, ...] = ("en",)
) -> Transcript:
    """One utterance for each text, five seconds each; an utterance with a question mark carries a flag. Of several
    languages each utterance has its own."""
    model = ModelIdentity(name="some-whisper", digest=sha("model"))
    return Transcript(
        partition=partition,
        matter=matter,
        duration_seconds=5.0 * len(said),
        languages=tuple(dict.fromkeys(languages)),
        notices=(),
        transcription_model=model,
        diarization_model=None,
        sources=Sources(original_sha256=sha("o"), raw_transcript_sha256=sha("r"), speaker_turns_sha256=sha("t")),
        speakers=(
            Speaker(label="SPEAKER_00", speech_seconds=5.0 * len(said), words=sum(len(s.split()) for s in said)),
        ),
        utterances=tuple(
            Utterance(
                index=index,
                speaker="SPEAKER_00",
                channel=0,
                start=5.0 * index,
                end=5.0 * index + 4,
                words=tuple(
                    TranscriptWord(text=word, start=5.0 * index, end=5.0 * index + 1, probability=0.9)
                    for word in text.split()
                ),
                flags=(Suspicion.REPETITION,) if "?" in text else (),
                language=languages[index] if len(languages) > 1 else None,
            )
            for index, text in enumerate(said)
        ),
    )
