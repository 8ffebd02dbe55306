"""`transcript.ctm`: one word a line with times and probability, as word-error scorers read it. It names no speaker.

Columns as in NIST's SCTK (`ctm` format): file, channel, start, duration, word, confidence; `;;` starts a comment.
"""

from caseprep_pipelines.renditions.content import Inputs, milliseconds, notices, spoken, token


def transcript_ctm(inputs: Inputs) -> str:
    """Words by channel (counted from 1) and start; seconds with three decimals. White space in a word becomes `_`."""
    transcript = inputs.transcript
    rows = []
    for utterance in transcript.utterances:
        for word in spoken(utterance):
            start, end = milliseconds(word.start), milliseconds(word.end)
            rows.append((utterance.channel + 1, start, end - start, token(word.text), word.probability))
    # sorting is stable: words that start together keep their order
    rows.sort(key=lambda row: row[:2])
    recording = token(transcript.partition)
    lines = [f";; {notice}" for notice in notices(transcript)]
    lines += [
        f"{recording} {channel} {start / 1000:.3f} {duration / 1000:.3f} {text} {probability:.3f}"
        for channel, start, duration, text, probability in rows
    ]
    return "\n".join(lines) + "\n"
