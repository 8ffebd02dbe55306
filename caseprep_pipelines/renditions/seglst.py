"""`transcript.seglst.json`: one segment per utterance with its speaker, as MeetEval and CHiME tools read it."""

import json

from caseprep_pipelines.renditions.content import (
    Inputs,
    milliseconds,
    own_notices,
    speaker_id,
    spoken,
    spoken_text,
)


def transcript_seglst(inputs: Inputs) -> str:
    """A JSON array in the order of the utterances; seconds; utterances without visible words have no segment."""
    # readers of the format keep keys that they do not know
    said = {"notices": own} if (own := own_notices(inputs.transcript)) else {}
    segments = []
    for utterance in inputs.transcript.utterances:
        words = list(spoken(utterance))
        if not words:
            continue
        start = milliseconds(words[0].start)
        end = max(milliseconds(word.end) for word in words)
        segments.append(
            {
                "session_id": inputs.transcript.partition,
                "speaker": speaker_id(utterance.speaker),
                "channel": utterance.channel,
                "start_time": start / 1000,
                "end_time": end / 1000,
                "words": spoken_text(inputs.transcript, utterance),
                **({"language": utterance.language} if utterance.language else {}),
                **said,
            }
        )
    return json.dumps(segments, ensure_ascii=False, indent=2) + "\n"
