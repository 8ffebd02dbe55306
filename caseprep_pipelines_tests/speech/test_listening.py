"""What is asked of a recognizer, and what is made of its answers, with one that errs as a test wants it to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from caseprep_pipelines.speech.documents import ChannelTranscript, DecodeSettings, Segment, Span, Suspicion, Word
from caseprep_pipelines.speech.listening import Question, listen
from caseprep_pipelines.speech.transcriber import Heard
from caseprep_pipelines.speech.voice_activity import FRAME_SECONDS, VoiceActivity

SETTINGS = DecodeSettings(
    language=None,
    languages=(),
    preferred_languages=("en", "es"),
    beam_size=5,
    second_beam_size=1,
    temperature=0.0,
    hotwords=(),
    hotwords_left_out=(),
    word_timestamps=True,
    without_timestamps=True,
    max_new_tokens=None,
    compute_type="int8",
    clip_seconds=30.0,
    speech_threshold=0.35,
    silence_threshold=0.2,
    min_silence_seconds=0.16,
    speech_pad_seconds=0.4,
    max_pause_seconds=10.0,
)


@dataclass(frozen=True)
class Said:
    start: float
    end: float
    language: str = "en"

    @property
    def text(self) -> str:
        return f"{self.language}{round(self.start * 10)}"


def talk(start: float, end: float, language: str = "en") -> list[Said]:
    """A word every half second."""
    count = int((end - start) / 0.5)
    return [Said(start + 0.5 * at, start + 0.5 * at + 0.45, language) for at in range(count)]


@dataclass
class Recognizer:
    """Hears the words that begin in a clip, in their language or, where it was told another, in gibberish."""

    words: Sequence[Said]
    deaf: Callable[[Question, Said], bool] = lambda _question, _said: False
    change: Callable[[Question, Segment], Segment] = lambda _question, segment: segment
    asked: list[Question] = field(default_factory=list)

    def __call__(self, question: Question) -> Heard:
        self.asked.append(question)
        inside = [said for said in self.words if question.span.start <= said.start < question.span.end]
        seconds: dict[str, float] = {}
        for said in inside:
            seconds[said.language] = seconds.get(said.language, 0.0) + 1.0
        likely = {name: round(0.97 * share / len(inside), 4) for name, share in seconds.items()} if inside else {}
        if not question.words:
            return Heard(None, likely)
        language = question.languages[0] if len(question.languages) == 1 else max(likely, key=likely.__getitem__)
        words = [
            Word(
                text=said.text if said.language == language else f"eh{round(said.start * 10)}",
                start=said.start,
                end=min(said.end, question.span.end),
                probability=0.9 if said.language == language else 0.3,
            )
            for said in inside
            if not self.deaf(question, said)
        ]
        if not words:
            return Heard(None, {} if len(question.languages) == 1 else likely)
        segment = Segment(
            clip=0,
            language=language,
            start=words[0].start,
            end=words[-1].end,
            words=tuple(words),
            average_log_probability=-0.1 if all(word.probability > 0.5 for word in words) else -1.2,
            compression_ratio=1.2,
        )
        return Heard(self.change(question, segment), {} if len(question.languages) == 1 else likely)


def heard(recognizer: Recognizer, seconds: float = 60.0, settings: DecodeSettings = SETTINGS) -> ChannelTranscript:
    probabilities = np.zeros(round(seconds / FRAME_SECONDS), dtype=np.float32)
    for said in recognizer.words:
        probabilities[int(said.start / FRAME_SECONDS) : int((said.end + 0.05) / FRAME_SECONDS) + 1] = 0.9
    activity = VoiceActivity(seconds, probabilities, np.full(len(probabilities), 0.01, dtype=np.float32))
    listening = listen(0, activity, (), activity.speech, settings)
    known: dict[Question, Heard] = {}
    answers = None
    while True:
        try:
            questions = listening.send(answers)  # type: ignore[arg-type]
        except StopIteration as ended:
            transcript: ChannelTranscript = ended.value
            return transcript
        for question in questions:
            if question not in known:
                known[question] = recognizer(question)
        answers = {question: known[question] for question in questions}


def texts(channel: ChannelTranscript) -> list[str]:
    words = [word for segment in channel.segments for word in segment.words]
    return [word.text for word in sorted(words, key=lambda word: word.start)]


def flags(channel: ChannelTranscript) -> set[Suspicion]:
    return {flag for segment in channel.segments for flag in segment.flags}


def test_what_is_said_clearly_is_asked_once() -> None:
    recognizer = Recognizer(talk(1.0, 20.0))
    channel = heard(recognizer)
    assert len(recognizer.asked) == 1
    assert texts(channel) == [said.text for said in recognizer.words]
    assert (channel.language, flags(channel), channel.flagged) == ("en", set(), ())


def test_a_stretch_that_was_passed_over_is_won_back_and_marked() -> None:
    def skips(question: Question, said: Said) -> bool:
        return 8.0 <= said.start < 14.0 and question.span.end - question.span.start > 8.0

    recognizer = Recognizer(talk(1.0, 20.0), deaf=skips)
    channel = heard(recognizer)
    assert texts(channel) == [said.text for said in recognizer.words]
    (recovered,) = (segment for segment in channel.segments if Suspicion.RECOVERED in segment.flags)
    assert 7.5 <= recovered.start < recovered.end <= 14.5
    assert not channel.flagged


def test_a_stretch_that_hides_behind_a_long_word_is_won_back_too() -> None:
    def skips(question: Question, said: Said) -> bool:
        return 8.0 <= said.start < 14.0 and question.span.end - question.span.start > 8.0

    def stretches(question: Question, segment: Segment) -> Segment:
        words = tuple(
            word.model_copy(update={"end": 14.0}) if word.text == "en75" and len(segment.words) > 15 else word
            for word in segment.words
        )
        return segment.model_copy(update={"words": words})

    recognizer = Recognizer(talk(1.0, 20.0), deaf=skips, change=stretches)
    channel = heard(recognizer)
    assert texts(channel) == [said.text for said in recognizer.words]
    (long,) = (word for segment in channel.segments for word in segment.words if word.text == "en75")
    assert long.end - long.start <= 1.5


def test_fast_speech_that_is_passed_over_again_is_won_in_shorter_parts() -> None:
    def skips(question: Question, said: Said) -> bool:
        return 4.0 <= said.start < 20.0 and question.span.end - question.span.start > 9.0

    recognizer = Recognizer(talk(1.0, 24.0), deaf=skips)
    channel = heard(recognizer)
    assert texts(channel) == [said.text for said in recognizer.words]
    assert not channel.flagged


def test_what_stays_without_words_is_marked_where_it_is() -> None:
    recognizer = Recognizer(talk(1.0, 20.0), deaf=lambda _question, said: 8.0 <= said.start < 12.0)
    channel = heard(recognizer)
    (gap,) = channel.flagged
    assert gap.flag is Suspicion.SPEECH_WITHOUT_WORDS
    assert 7.5 <= gap.start <= 8.5
    assert 11.5 <= gap.end <= 12.5
    # its clip, by itself, and with what is around it by another search
    assert [question.again for question in recognizer.asked] == [False, False, True]


def test_a_clip_that_fills_the_decoder_is_decoded_in_parts() -> None:
    def full(question: Question, segment: Segment) -> Segment:
        if question.span.end - question.span.start < 10.0:
            return segment
        return segment.model_copy(update={"words": segment.words[:10], "flags": (Suspicion.TOKEN_LIMIT,)})

    recognizer = Recognizer(talk(1.0, 29.0), change=full)
    channel = heard(recognizer)
    assert texts(channel) == [said.text for said in recognizer.words]
    assert flags(channel) == set()


def test_a_suspicious_clip_is_decoded_again_and_the_better_stays() -> None:
    def unsure(question: Question, segment: Segment) -> Segment:
        if question.again:
            return segment
        words = tuple(word.model_copy(update={"text": "well", "probability": 0.2}) for word in segment.words)
        return segment.model_copy(update={"words": words, "average_log_probability": -1.6})

    recognizer = Recognizer(talk(1.0, 9.0), change=unsure)
    channel = heard(recognizer)
    assert texts(channel) == [said.text for said in recognizer.words]
    assert flags(channel) == {Suspicion.DECODINGS_DIFFER}


def test_two_decodings_that_agree_say_so() -> None:
    def unsure(_question: Question, segment: Segment) -> Segment:
        words = tuple(word.model_copy(update={"probability": 0.2}) for word in segment.words)
        return segment.model_copy(update={"words": words, "average_log_probability": -1.6})

    channel = heard(Recognizer(talk(1.0, 9.0), change=unsure))
    assert flags(channel) == {Suspicion.DECODINGS_AGREE, Suspicion.LOW_PROBABILITY}


def test_interpreted_testimony_comes_out_in_both_languages() -> None:
    words = [*talk(1.0, 6.0), *talk(6.8, 12.0, "es"), *talk(12.8, 16.0), *talk(16.8, 22.0, "es"), *talk(30.0, 36.0)]
    recognizer = Recognizer(words)
    channel = heard(recognizer)
    assert texts(channel) == [said.text for said in words]
    assert {segment.language for segment in channel.segments} == {"en", "es"}
    assert channel.language == "en"
    for segment in channel.segments:
        assert all(word.text.startswith(str(segment.language)) for word in segment.words)


def test_a_matter_of_one_language_is_never_asked_for_another() -> None:
    words = [*talk(1.0, 6.0), *talk(6.8, 12.0, "es")]
    recognizer = Recognizer(words)
    channel = heard(recognizer, settings=SETTINGS.model_copy(update={"languages": ("en",)}))
    assert {question.languages for question in recognizer.asked} == {("en",)}
    assert channel.language == "en"


def test_silence_is_not_asked_about() -> None:
    recognizer = Recognizer([])
    channel = heard(recognizer, settings=SETTINGS.model_copy(update={"languages": ("en",)}))
    assert recognizer.asked == []
    assert (channel.language, channel.segments, channel.flagged) == ("en", (), ())


stretch = st.tuples(st.floats(0, 50), st.floats(1, 9), st.sampled_from(["en", "es"]))


@given(st.lists(stretch, max_size=6), st.integers(0, 6), st.integers(0, 10))
def test_every_word_comes_out_or_is_marked(parts: list[tuple[float, float, str]], modulus: int, rest: int) -> None:
    """Whatever some decodings leave out: what another one heard is there, and what none heard is marked."""
    words: list[Said] = []
    for start, length, language in sorted(parts):
        start = round(max(start, words[-1].end + 0.5 if words else 0.0), 1)
        words += talk(start, min(start + length, 59.0), language)

    def leaves_out(question: Question, said: Said) -> bool:
        return modulus > 0 and (round(said.start * 10) // 40 + len(str(question.span.end))) % modulus == rest

    recognizer = Recognizer(words, deaf=leaves_out)
    channel = heard(recognizer)
    found = set(texts(channel)) | {text.replace("eh", "en") for text in texts(channel)}
    found |= {text.replace("eh", "es") for text in texts(channel)}
    run: list[Said] = []
    for said in [*words, replace(Said(0, 0), start=1e6, end=1e6)]:
        if said.text not in found and (not run or said.start - run[-1].end < 0.3):
            run.append(said)
            continue
        if len(run) >= 4:
            assert any(gap.start < run[-1].end and run[0].start < gap.end for gap in channel.flagged)
        run = [said] if said.text not in found else []
    assert all(Span(start=0.0, end=60.0).start <= word.start <= word.end for s in channel.segments for word in s.words)
