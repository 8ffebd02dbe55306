"""`turns.rttm`: who spoke when, as diarization tools and scorers read it. It holds no words.

Columns as in NIST's Rich Transcription evaluation plan (RT-09, appendix A): type, file, channel, start, duration,
two unused, speaker, confidence, one unused. Written by hand: pyannote.core would bring the `speech` extra along.
"""

from caseprep_pipelines.renditions.content import Inputs, milliseconds, own_notices, speaker_id, token
from caseprep_pipelines.speech.documents import SpeakerTurns


def rendition(inputs: Inputs) -> str:
    """The turns of the stage `speaker_turns`, and what is missing after them as stretches that nobody may score."""
    return turns_rttm(inputs.turns) + "".join(
        f"NOSCORE {token(inputs.turns.partition)} 1 {milliseconds(inputs.turns.duration_seconds) / 1000:.3f} 0.000 "
        f"{token(notice)} <NA> <NA> <NA> <NA>\n"
        for notice in own_notices(inputs.transcript)
    )


def turns_rttm(turns: SpeakerTurns) -> str:
    """The turns as heard, which may overlap, by start; seconds with three decimals, channels counted from 1.

    A turn shorter than half a millisecond has no line: scorers refuse turns without duration.
    """
    lines = []
    for turn in sorted(turns.turns, key=lambda turn: (turn.start, turn.channel)):
        start = milliseconds(turn.start)
        duration = milliseconds(turn.end) - start
        if duration <= 0:
            continue
        confidence = "<NA>" if turn.confidence is None else f"{turn.confidence:.3f}"
        lines.append(
            f"SPEAKER {token(turns.partition)} {turn.channel + 1} {start / 1000:.3f} {duration / 1000:.3f} "
            f"<NA> <NA> {speaker_id(turn.speaker)} {confidence} <NA>\n"
        )
    return "".join(lines)
