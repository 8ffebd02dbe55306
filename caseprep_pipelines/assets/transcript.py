"""Stage 5, `transcript`: the canonical document, from words and turns."""

from caseprep_pipelines.assets.raw_transcript import speech_has_words
from caseprep_pipelines.assets.stage import Made, Recording, Stage
from caseprep_pipelines.audio.documents import NormalizedAudio, SourceRecording
from caseprep_pipelines.checks.models import REAL_MODELS, real_models
from caseprep_pipelines.checks.outcome import Outcome
from caseprep_pipelines.speech.documents import RawTranscript, SpeakerTurns
from caseprep_pipelines.transcript.document import Transcript, WordFlag

#: Above this share of words without a certain speaker a person should look.
UNCERTAIN_SPEAKER_RATIO = 0.2


def make(recording: Recording) -> Made:
    from caseprep_pipelines.transcript.assembly import assemble

    source = recording.document("source_recording", SourceRecording)
    audio = recording.document("normalized_audio", NormalizedAudio)
    raw = recording.document("raw_transcript", RawTranscript)
    turns = recording.document("speaker_turns", SpeakerTurns)
    transcript = assemble(source, audio, raw, turns)
    words = [word for utterance in transcript.utterances for word in utterance.words]
    return Made(
        transcript,
        metadata={
            "speakers": len(transcript.speakers),
            "utterances": len(transcript.utterances),
            "words": len(words),
            **{f"words_{flag.value.replace('-', '_')}": sum(flag in w.flags for w in words) for flag in WordFlag},
            "spans_without_words": len(transcript.unspoken),
            "demo_models": transcript.demo,
        },
        notes=speech_without_words(transcript),
        outcomes=(
            speakers_certain(transcript),
            speech_has_words(len(transcript.unspoken)),
            real_models(transcript.matter, transcript.transcription_model, transcript.diarization_model),
        ),
        audio_seconds=transcript.duration_seconds,
    )


def speech_without_words(transcript: Transcript) -> tuple[str, ...]:
    """What `status` says of stretches in which somebody was heard and that have no words."""
    from caseprep_pipelines.renditions.content import clock

    places = transcript.unspoken
    if not places:
        return ()
    seconds = sum(place.end - place.start for place in places)
    where = "1 place" if len(places) == 1 else f"{len(places)} places, the first"
    return (f"Speech without words: {seconds:.0f} s in {where} at {clock(places[0].start)}. Listen there.",)


def speakers_certain(transcript: Transcript) -> Outcome:
    words = [word for utterance in transcript.utterances for word in utterance.words]
    uncertain = sum(WordFlag.UNCERTAIN_SPEAKER in word.flags for word in words)
    ratio = uncertain / len(words) if words else 0.0
    return Outcome("speakers_certain", ratio <= UNCERTAIN_SPEAKER_RATIO, {"uncertain_ratio": round(ratio, 4)})


STAGE = Stage(
    name="transcript",
    upstream=("source_recording", "normalized_audio", "raw_transcript", "speaker_turns"),
    make=make,
    description=(
        "The canonical document: utterances of words with speaker, times, probabilities and flags. Every later thing "
        "is made from it. A machine draft, never a certified transcript."
    ),
    kinds=frozenset({"json", "python"}),
    batch=500,
    checks=(
        ("speakers_certain", "At most a fifth of the words have an uncertain speaker."),
        ("speech_has_words", "Wherever speech or a speaker was heard for a second or more, there are words."),
        REAL_MODELS,
    ),
    revision=2,  # turns without words are gaps; utterances have one language
)
