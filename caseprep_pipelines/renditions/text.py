"""`transcript.txt`: plain text to read, search and print. For page and line numbers another format is right."""

from collections.abc import Iterator

from caseprep_pipelines.renditions.content import (
    Inputs,
    clean,
    clock,
    notices,
    other_language_name,
    speaker_id,
    spoken_text,
)
from caseprep_pipelines.renditions.lines import wrap
from caseprep_pipelines.speech.documents import Suspicion
from caseprep_pipelines.transcript.document import Unspoken, Utterance, WordFlag

WIDTH = 80
_INDENT = "    "

#: What a reader is told about a suspicion: a phrase that names what to listen for.
SUSPICIONS: dict[Suspicion, str] = {
    Suspicion.REPETITION: "check: repeats itself",
    Suspicion.LOW_PROBABILITY: "check: the machine was not sure",
    Suspicion.TOO_FAST: "check: more words than the time allows",
    Suspicion.NO_SPEECH_DETECTED: "check: words where hardly any speech was heard",
    Suspicion.SPEECH_WITHOUT_WORDS: "speech without words, listen here",
    Suspicion.TOKEN_LIMIT: "check: words may be missing",
    Suspicion.RECOVERED: "check: found on a second listening",
    Suspicion.DECODINGS_AGREE: "a second listening gave the same words",
    Suspicion.DECODINGS_DIFFER: "check: a second listening gave other words",
    Suspicion.LANGUAGE_IN_DOUBT: "check: may be in another language",
}


def transcript_txt(inputs: Inputs) -> str:
    """A header, then each utterance under its time and speaker.

    Doubts, and a language that is not the transcript's main one, stand beside the speaker and never among the words, so
    that what is quoted is what was written. Words are indented: nothing that was said can look like a heading.
    """
    blocks = [*_header(inputs), *_body(inputs)]
    return "\n\n".join(blocks) + "\n"


def _header(inputs: Inputs) -> Iterator[str]:
    transcript = inputs.transcript
    yield "TRANSCRIPT\n\n" + "\n".join(line for notice in notices(transcript) for line in wrap(notice, WIDTH))
    diarization = transcript.diarization_model
    facts = {
        "Recording": transcript.partition,
        "Matter": transcript.matter,
        "Version": inputs.version,
        "Length": clock(transcript.duration_seconds),
        "Languages": ", ".join(transcript.languages) or "not known",
        "Speakers": ", ".join(speaker_id(speaker.label) for speaker in transcript.speakers) or "none",
        "Words by": f"{transcript.transcription_model.name}, sha256 {transcript.transcription_model.digest}",
        "Turns by": f"{diarization.name}, sha256 {diarization.digest}" if diarization else "one speaker per channel",
        "Original": f"sha256 {transcript.sources.original_sha256}",
    }
    yield "\n".join(f"{name:<11}{clean(value)}" for name, value in facts.items())


def _body(inputs: Inputs) -> Iterator[str]:
    main_language = inputs.transcript.main_language
    entries: list[Utterance | Unspoken] = [*inputs.transcript.utterances, *inputs.transcript.unspoken]
    for entry in sorted(entries, key=lambda entry: entry.start):
        if isinstance(entry, Unspoken):
            yield f"[{clock(entry.start)}] ({SUSPICIONS[entry.flag]}, until {clock(entry.end)})"
            continue
        beside = ", ".join(_beside_the_speaker(entry, main_language))
        heading = f"[{clock(entry.start)}] {speaker_id(entry.speaker)}" + (f" ({beside})" if beside else "")
        words = wrap(spoken_text(inputs.transcript, entry), WIDTH - len(_INDENT))
        yield "\n".join([heading, *(_INDENT + line for line in words)])


def _beside_the_speaker(utterance: Utterance, main_language: str | None) -> Iterator[str]:
    language = other_language_name(utterance, main_language)
    if language:
        yield language
    flags = [flag for word in utterance.words for flag in word.flags]
    if WordFlag.OVERLAP in flags:
        yield "overlap"
    if WordFlag.UNCERTAIN_SPEAKER in flags:
        yield "speaker uncertain"
    doubtful = flags.count(WordFlag.LOW_PROBABILITY)
    if doubtful:
        yield f"{doubtful} of {len(utterance.words)} words doubtful"
    yield from (SUSPICIONS[flag] for flag in utterance.flags)
