"""Transcripts with the worst words and times a recogniser could hand over, for hypothesis."""

from hypothesis import strategies as st

from caseprep_pipelines.renditions.content import Inputs
from caseprep_pipelines.transcript.document import Transcript, TranscriptWord, Utterance
from caseprep_pipelines_tests.samples import DURATION, sample_raw, sample_transcript, sample_turns

_traps = st.sampled_from(
    (
        *("-->", "00:00:01,000 --> 00:00:02,000", "<i>", "</v>", "&amp;", "&", "{\\an8}", "\\N", "\\h", ";;", "42"),
        *("NOTE", "WEBVTT", "STYLE", "[00:00:01.0] SPEAKER_01", "<v SPEAKER_09>x", "é" * 60, "-" * 50),
        *("a\nb", "a\r\n\r\n1\r\n", "", " ", "\u200b", "\x00", "\u2028", "\x85", "a\u00a0b", "\ufeff"),
        *("שלום", "مرحبا", "\u202eabc", "\u2067", "𝒳"),
        *("สวัสดี", "ครับ", " ผม", "\u0e35", "你好", "。", "「", "ﾌｧｲﾙ", "２５", "မင်္ဂလာပါ", "ជំរាបសួរ" * 9, "好" * 50),
    )
)
_texts = _traps | st.text(max_size=12)
_times = st.floats(0, DURATION) | st.sampled_from([0.0, 1.0, 1.0004, DURATION])


@st.composite
def _utterances(draw: st.DrawFn, index: int) -> Utterance:
    words = tuple(
        TranscriptWord(
            text=draw(_texts),
            start=draw(_times),
            end=draw(_times),
            probability=draw(st.floats(0, 1)),
        )
        for _ in range(draw(st.integers(0, 12)))
    )
    speaker = draw(st.sampled_from(["SPEAKER_00", "SPEAKER_01", "A B", "<v x>", "-->", None, "", "{\\an8}"]))
    start, end = sorted((draw(_times), draw(_times)))
    return Utterance(
        index=index,
        speaker=speaker,
        channel=draw(st.integers(0, 1)),
        start=start,
        end=end,
        words=words,
        language=draw(st.sampled_from([None, "en", "es", "th", "zh", "km", "<b>", "a\nb", ""])),
    )


@st.composite
def hostile_transcripts(draw: st.DrawFn) -> Transcript:
    count = draw(st.integers(0, 4))
    return sample_transcript(utterances=tuple(draw(_utterances(index)) for index in range(count)))


def letters(text: str) -> str:
    """A text without its white space: where that stands depends on the language and on the width of a line."""
    return "".join(text.split())


def inputs(transcript: Transcript | None = None) -> Inputs:
    """The sample's inputs, with another transcript where one is given."""
    return Inputs(transcript or sample_transcript(), sample_turns(), sample_raw(), "v1")
