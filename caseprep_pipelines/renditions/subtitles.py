"""`transcript.srt` and `transcript.vtt`: captions to play beside the recording.

Both hold the same captions. A caption is at most two lines of 42 characters and about seven seconds long, and stays
on the screen until it can be read at 20 characters a second, if the next one leaves it the time (the figures are those
of Netflix' timed text style guide for English). A longer word has a line to itself; no word is cut or left out. Room
for the speaker's name is kept in every caption, because who is named in SRT depends on who spoke before.
"""

import html
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace

from caseprep_pipelines.renditions.content import Inputs, SpokenWord, milliseconds, notices, speaker_id, spoken
from caseprep_pipelines.transcript.document import Transcript, Utterance

LINE_CHARACTERS = 42
LINES = 2
LONGEST_SECONDS = 7.0
CHARACTERS_PER_SECOND = 20.0
PAUSE_SECONDS = 1.5
"""A pause this long starts a new caption: nobody should read what is said seconds later."""

# SRT has no way to escape: players take <…> and {\…} for tags and --> for a time line. These look alike.
_SRT_SAFE = str.maketrans({"<": "‹", ">": "›", "\\": "＼", "{": "(", "}": ")"})


@dataclass(frozen=True)
class Caption:
    speaker: str
    utterance: int
    start: int
    """Milliseconds."""
    end: int
    """Milliseconds, after `start`."""
    words: tuple[str, ...]


def captions(transcript: Transcript) -> list[Caption]:
    """All captions, by start; those of people who speak at the same time overlap."""
    found = sorted((c for u in transcript.utterances for c in _split(u)), key=lambda caption: caption.start)
    next_starts = [*(caption.start for caption in found[1:]), milliseconds(transcript.duration_seconds)]
    # without captions there is still the recording's end
    return [_readable(caption, next_start) for caption, next_start in zip(found, next_starts, strict=False)]


def transcript_srt(inputs: Inputs) -> str:
    """SubRip through pysubs2; the speaker is named wherever the caption before belongs to another utterance."""
    import pysubs2

    subtitles = pysubs2.SSAFile()
    utterance = None
    for caption in captions(inputs.transcript):
        continues = caption.utterance == utterance
        lines = _wrap(caption.words if continues else _named(caption.speaker, caption.words))
        utterance = caption.utterance
        subtitles.append(
            pysubs2.SSAEvent(caption.start, caption.end, text=r"\N".join(line.translate(_SRT_SAFE) for line in lines))
        )
    text: str = subtitles.to_string("srt", apply_styles=False, keep_ssa_tags=True)
    return text


def transcript_vtt(inputs: Inputs) -> str:
    """WebVTT through webvtt-py: notices as comments, voices as tags, cues numbered from 1."""
    from webvtt import Caption as Cue
    from webvtt import WebVTT

    cues = []
    for number, caption in enumerate(captions(inputs.transcript), 1):
        voice, text = (html.escape(part, quote=False) for part in (caption.speaker, "\n".join(_wrap(caption.words))))
        cues.append(
            Cue(
                _vtt_time(caption.start),
                _vtt_time(caption.end),
                f"<v {voice}>{text}",
                # a plain number: simple readers take any other name for text
                identifier=str(number),
            )
        )
    comments = [notice.replace("-->", "—") for notice in notices(inputs.transcript)]
    content: str = WebVTT(captions=cues, header_comments=comments).content
    return content.rstrip("\n") + "\n"


def _split(utterance: Utterance) -> Iterator[Caption]:
    speaker = speaker_id(utterance.speaker)
    pending: list[SpokenWord] = []

    def caption() -> Caption:
        start = milliseconds(pending[0].start)
        # a cue must last: players refuse or hide one that ends as it starts
        end = max(start + 1, milliseconds(max(word.end for word in pending)))
        return Caption(speaker, utterance.index, start, end, tuple(word.text for word in pending))

    for word in spoken(utterance):
        if pending and _breaks(speaker, pending, word):
            yield caption()
            pending = []
        pending.append(word)
    if pending:
        yield caption()


def _breaks(speaker: str, pending: list[SpokenWord], word: SpokenWord) -> bool:
    """Whether a new caption has to start with this word."""
    words = tuple(w.text for w in (*pending, word))
    sentence_ended = pending[-1].text.endswith((".", "?", "!")) and len(" ".join(words)) > LINE_CHARACTERS
    return (
        sentence_ended
        or word.start - pending[-1].end >= PAUSE_SECONDS
        or word.end - pending[0].start > LONGEST_SECONDS
        or len(_wrap(_named(speaker, words))) > LINES
    )


def _named(speaker: str, words: tuple[str, ...]) -> tuple[str, ...]:
    return (f"{speaker}:", *words)


def _wrap(words: tuple[str, ...]) -> list[str]:
    return textwrap.wrap(" ".join(words), LINE_CHARACTERS, break_long_words=False, break_on_hyphens=False)


def _readable(caption: Caption, next_start: int) -> Caption:
    wanted = caption.start + round(1000 * len(" ".join(caption.words)) / CHARACTERS_PER_SECOND)
    end = max(caption.end, min(wanted, next_start))
    return replace(caption, end=end)


def _vtt_time(time: int) -> str:
    return f"{time // 3_600_000:02d}:{time // 60_000 % 60:02d}:{time // 1000 % 60:02d}.{time % 1000:03d}"
