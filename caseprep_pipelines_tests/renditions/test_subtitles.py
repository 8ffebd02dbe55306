"""SRT and WebVTT, read back by parsers other than the ones that wrote them."""

import html
import re
from datetime import timedelta

import pysubs2
import srt
from hypothesis import given, settings

from caseprep_pipelines.renditions.content import clean, milliseconds, speaker_id, spoken
from caseprep_pipelines.renditions.lines import columns
from caseprep_pipelines.renditions.subtitles import (
    _SRT_SAFE,
    LINE_CHARACTERS,
    LINES,
    LONGEST_SECONDS,
    captions,
    transcript_srt,
    transcript_vtt,
)
from caseprep_pipelines.transcript.document import DEMO_NOTICE, MACHINE_DRAFT_NOTICE, TranscriptWord, Utterance
from caseprep_pipelines_tests.renditions.hostile import hostile_transcripts, inputs, letters
from caseprep_pipelines_tests.samples import DURATION, sample_transcript, sample_utterance

_TIME = re.compile(r"(\d\d+):(\d\d):(\d\d)\.(\d{3})")


def read_vtt(text):
    """(start, end, name, voice, lines) of each cue, by the rules of the WebVTT recommendation, strictly."""
    header, *blocks = re.split(r"\n\n+", text.rstrip("\n"))
    assert header == "WEBVTT"
    cues = []
    for block in blocks:
        name, *rest = block.split("\n")
        if name.startswith("NOTE"):
            assert "-->" not in block
            continue
        timing, *payload = rest
        assert block.count("-->") == 1
        start, end = (((int(h) * 60 + int(m)) * 60 + int(s)) * 1000 + int(ms) for h, m, s, ms in _TIME.findall(timing))
        voice, first = re.fullmatch(r"<v ([^<>&]+(?:&\w+;[^<>&]*)*|(?:&\w+;[^<>&]*)+)>(.*)", payload[0]).groups()
        lines = "\n".join([first, *payload[1:]])
        if language := re.fullmatch(r"<lang ([\w-]+)>(.*)</lang>", lines, re.DOTALL):
            lines = language[2]
        lines = lines.split("\n")
        assert all("<" not in line and not re.search(r"&(?!amp;|lt;|gt;)", line) for line in lines)
        cues.append((start, end, name, html.unescape(voice), [html.unescape(line) for line in lines]))
    return cues


def words_of(transcript):
    """What a reader must find, by utterance; utterances without any words are left out."""
    said = {u.index: letters("".join(word.text for word in spoken(u))) for u in transcript.utterances}
    return {index: words for index, words in said.items() if words}


def test_srt_names_speakers_and_keeps_times():
    first, second, *_ = srt.parse(transcript_srt(inputs()))
    assert (first.index, first.start, first.end) == (1, timedelta(seconds=0.5), timedelta(seconds=2.6))
    assert " ".join(first.content.split()) == "SPEAKER_00: Please state your name for the record."
    assert second.content == "SPEAKER_01: My name is on the exhibit."


def test_srt_names_the_speaker_again_after_somebody_else_was_heard():
    interrupted = [cue for cue in srt.parse(transcript_srt(inputs())) if cue.start >= timedelta(seconds=8)]
    assert interrupted[0].content.startswith("SPEAKER_02: Objection")
    assert interrupted[1].content.startswith("SPEAKER_00: ")


def test_vtt_carries_voices_and_notices_and_another_library_reads_it():
    text = transcript_vtt(inputs())
    assert MACHINE_DRAFT_NOTICE in text
    assert DEMO_NOTICE in text
    assert {voice for *_, voice, _ in read_vtt(text)} == {"SPEAKER_00", "SPEAKER_01", "SPEAKER_02"}
    other = pysubs2.SSAFile.from_string(text, format_="vtt")
    assert [(cue.start, cue.end) for cue in other] == [(start, end) for start, end, *_ in read_vtt(text)]
    assert "My name is on the exhibit." in [cue.plaintext for cue in other]


def test_captions_can_be_read():
    spread = tuple(
        TranscriptWord(text="word", start=second / 4, end=(second + 1) / 4, probability=1) for second in range(80)
    )
    utterance = Utterance(index=0, speaker="SPEAKER_00", channel=0, start=0, end=20, words=spread)
    for cue in read_vtt(transcript_vtt(inputs(sample_transcript(utterances=(utterance,))))):
        start, end, *_, lines = cue
        assert len(lines) <= LINES
        assert all(len(line) <= LINE_CHARACTERS for line in lines)
        assert end - start <= LONGEST_SECONDS * 1000


def test_a_caption_stays_until_it_can_be_read_but_not_into_the_next():
    def utterance(index, start, text):
        word = TranscriptWord(text=text, start=start, end=start + 0.1, probability=1)
        return Utterance(index=index, speaker="S", channel=0, start=start, end=start + 0.1, words=(word,))

    transcript = sample_transcript(utterances=(utterance(0, 1, "x" * 40), utterance(1, 2, "y" * 40)))
    assert [(c.start, c.end) for c in captions(transcript)] == [(1000, 2000), (2000, 4000)]


def test_a_pause_starts_a_new_caption():
    words = tuple(TranscriptWord(text="Yes", start=t, end=t + 0.3, probability=1) for t in (1.0, 1.4, 4.0))
    transcript = sample_transcript(
        utterances=(Utterance(index=0, speaker="S", channel=0, start=1, end=4.3, words=words),)
    )
    assert [c.words for c in captions(transcript)] == [("Yes", "Yes"), ("Yes",)]


def test_captions_of_a_language_without_spaces_fit_their_lines_and_times():
    said = "今 日 の 法 廷 で は 証 人 が 話 し ま す 。 " * 12
    transcript = sample_transcript(
        utterances=(sample_utterance(0, 0, said, "ja"),), languages=("ja",), duration_seconds=60
    )
    cues = read_vtt(transcript_vtt(inputs(transcript)))
    assert "".join("".join(lines) for *_, lines in cues) == "".join(said.split())
    for start, end, _, _, lines in cues:
        assert len(lines) <= LINES
        assert all(columns(line) <= LINE_CHARACTERS and " " not in line for line in lines)
        assert end - start <= LONGEST_SECONDS * 1000
    named = [cue.content for cue in srt.parse(transcript_srt(inputs(transcript)))]
    assert named[0].startswith("SPEAKER_00: 今日の")
    assert all(columns(line) <= LINE_CHARACTERS for content in named for line in content.splitlines())


def test_captions_name_another_language_than_the_main_one():
    said = (
        sample_utterance(0, 0, "Where were you that whole night, and who can tell us that, sir?", "en"),
        sample_utterance(1, 5, "Yo estaba en mi casa con mi hermana.", "es", "SPEAKER_01"),
    )
    transcript = sample_transcript(utterances=said, languages=("en", "es"))
    *_, spanish = srt.parse(transcript_srt(inputs(transcript)))
    assert spanish.content == "SPEAKER_01 (Spanish): Yo estaba en mi casa\ncon mi hermana."
    text = transcript_vtt(inputs(transcript))
    assert "<v SPEAKER_00>Where were you" in text
    assert "<v SPEAKER_01><lang es>Yo estaba en mi casa con mi hermana.</lang>\n" in text
    cues = [cue.plaintext for cue in pysubs2.SSAFile.from_string(text, format_="vtt")]
    assert cues[-1] == "Yo estaba en mi casa con mi hermana."


def test_nothing_said_gives_empty_but_valid_files():
    silent = inputs(sample_transcript(utterances=()))
    assert list(srt.parse(transcript_srt(silent))) == []
    assert read_vtt(transcript_vtt(silent)) == []


@settings(deadline=None)
@given(hostile_transcripts())
def test_vtt_holds_every_word_in_order_under_its_speaker(transcript):
    found, voices = {}, {}
    cues = read_vtt(transcript_vtt(inputs(transcript)))
    assert [name for _, _, name, _, _ in cues] == [str(number) for number in range(1, len(cues) + 1)]
    for (start, end, _, voice, lines), caption in zip(cues, captions(transcript), strict=True):
        index = caption.utterance
        found[index] = found.get(index, "") + letters("".join(lines))
        assert voices.setdefault(index, voice) == voice
        assert 0 <= start < end <= milliseconds(DURATION) + 1
    assert found == words_of(transcript)
    assert voices == {u.index: speaker_id(u.speaker) for u in transcript.utterances if u.index in found}
    assert [start for start, *_ in cues] == sorted(start for start, *_ in cues)


@settings(deadline=None)
@given(hostile_transcripts())
def test_srt_holds_every_word_in_order_with_lookalikes_for_what_it_cannot_escape(transcript):
    cues = list(srt.parse(transcript_srt(inputs(transcript))))
    expected, utterance = [], None
    for caption in captions(transcript):
        shown = caption.text if caption.utterance == utterance else caption.named
        utterance = caption.utterance
        assert letters("".join(caption.words)) in letters(shown)
        expected.append(letters(shown.translate(_SRT_SAFE)))
    assert [letters(cue.content) for cue in cues] == expected
    assert [cue.index for cue in cues] == list(range(1, len(cues) + 1))
    assert all(cue.start < cue.end for cue in cues)


@settings(deadline=None)
@given(hostile_transcripts())
def test_captions_leave_no_word_out(transcript):
    found = {}
    for caption in captions(transcript):
        found.setdefault(caption.utterance, []).extend(word.strip() for word in caption.words)
    expected = {u.index: [text for word in u.words if (text := clean(word.text))] for u in transcript.utterances}
    assert found == {index: words for index, words in expected.items() if words}
