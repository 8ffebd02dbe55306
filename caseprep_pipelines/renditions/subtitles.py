"""`transcript.srt` and `transcript.vtt`: captions to play beside the recording.

Both hold the same captions. A caption is at most two lines of 42 characters and about seven seconds long, and stays
on the screen until it can be read at 20 characters a second, if the next one leaves it the time (the figures are those
of Netflix' timed text style guide for English). A wide East Asian character counts as two, as it takes a reader twice
the time. A longer word has a line to itself; no word is left out, and none is cut where words have spaces between them.
Room for the speaker's name is kept in every caption, because who is named in SRT depends on who spoke before.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from caseprep_pipelines.renditions.content import (
    Inputs,
    SpokenWord,
    milliseconds,
    notices,
    other_language_name,
    own_notices,
    speaker_id,
    spoken,
)
from caseprep_pipelines.renditions.lines import columns, wrap
from caseprep_pipelines.transcript.document import Transcript, Utterance
from caseprep_pipelines.transcript.joining import SENTENCE_ENDS, join

LINE_CHARACTERS = 42
LINES = 2
LONGEST_SECONDS = 7.0
CHARACTERS_PER_SECOND = 20.0
NOTICE_MILLISECONDS = 5000
"""How long a notice about the recording stands at its beginning."""
PAUSE_SECONDS = 1.5
"""A pause this long starts a new caption: nobody should read what is said seconds later."""

_LANGUAGE_TAG = re.compile("[A-Za-z0-9-]+")

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
    language: str | None = None
    other_language: str | None = None
    """The language's name, where it is not the transcript's main one."""

    @property
    def text(self) -> str:
        return join(self.words, self.language)

    @property
    def named(self) -> str:
        """With its speaker before it."""
        language = f" ({self.other_language})" if self.other_language else ""
        return f"{self.speaker}{language}: {self.text}"


def captions(transcript: Transcript) -> list[Caption]:
    """All captions, by start; those of people who speak at the same time overlap."""
    main_language = transcript.main_language
    split = (
        caption
        for utterance in transcript.utterances
        for caption in _split(
            utterance, transcript.language_of(utterance), other_language_name(utterance, main_language)
        )
    )
    found = sorted(split, key=lambda caption: caption.start)
    next_starts = [*(caption.start for caption in found[1:]), milliseconds(transcript.duration_seconds)]
    # without captions there is still the recording's end
    return [_readable(caption, next_start) for caption, next_start in zip(found, next_starts, strict=False)]


def transcript_srt(inputs: Inputs) -> str:
    """SubRip through pysubs2; the speaker is named wherever the caption before belongs to another utterance."""
    import pysubs2

    subtitles = pysubs2.SSAFile()
    for number, notice in enumerate(own_notices(inputs.transcript)):
        # the format has no comments
        said = r"\N".join(line.translate(_SRT_SAFE) for line in wrap(notice, LINE_CHARACTERS))
        start = number * NOTICE_MILLISECONDS
        subtitles.append(pysubs2.SSAEvent(start, start + NOTICE_MILLISECONDS, text=f"[{said}]"))
    utterance = None
    for caption in captions(inputs.transcript):
        continues = caption.utterance == utterance
        lines = wrap(caption.text if continues else caption.named, LINE_CHARACTERS)
        utterance = caption.utterance
        subtitles.append(
            pysubs2.SSAEvent(caption.start, caption.end, text=r"\N".join(line.translate(_SRT_SAFE) for line in lines))
        )
    text: str = subtitles.to_string("srt", apply_styles=False, keep_ssa_tags=True)
    return text


def transcript_vtt(inputs: Inputs) -> str:
    """WebVTT through webvtt-py: notices as comments, voices and other languages as tags, cues numbered from 1."""
    from webvtt import Caption as Cue
    from webvtt import WebVTT

    cues = []
    for number, caption in enumerate(captions(inputs.transcript), 1):
        lines = "\n".join(wrap(caption.text, LINE_CHARACTERS))
        voice, text = (html.escape(part, quote=False) for part in (caption.speaker, lines))
        if caption.other_language and _LANGUAGE_TAG.fullmatch(caption.language or ""):
            text = f"<lang {caption.language}>{text}</lang>"
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


def _split(utterance: Utterance, language: str | None, other_language: str | None) -> Iterator[Caption]:
    speaker = speaker_id(utterance.speaker)
    pending: list[SpokenWord] = []

    def caption(words: list[SpokenWord]) -> Caption:
        start = milliseconds(words[0].start)
        # a cue must last: players refuse or hide one that ends as it starts
        end = max(start + 1, milliseconds(max(word.end for word in words)))
        texts = tuple(word.text for word in words)
        return Caption(speaker, utterance.index, start, end, texts, language, other_language)

    for word in spoken(utterance):
        if pending and _breaks(pending, word, caption([*pending, word])):
            yield caption(pending)
            pending = []
        pending.append(word)
    if pending:
        yield caption(pending)


def _breaks(pending: list[SpokenWord], word: SpokenWord, longer: Caption) -> bool:
    """Whether a new caption has to start with this word; `longer` is the one that it would stand in otherwise."""
    sentence_ended = pending[-1].text.endswith(SENTENCE_ENDS) and columns(longer.text) > LINE_CHARACTERS
    return (
        sentence_ended
        or word.start - pending[-1].end >= PAUSE_SECONDS
        or word.end - pending[0].start > LONGEST_SECONDS
        or len(wrap(longer.named, LINE_CHARACTERS)) > LINES
    )


def _readable(caption: Caption, next_start: int) -> Caption:
    wanted = caption.start + round(1000 * columns(caption.text) / CHARACTERS_PER_SECOND)
    end = max(caption.end, min(wanted, next_start))
    return replace(caption, end=end)


def _vtt_time(time: int) -> str:
    return f"{time // 3_600_000:02d}:{time // 60_000 % 60:02d}:{time // 1000 % 60:02d}.{time % 1000:03d}"
