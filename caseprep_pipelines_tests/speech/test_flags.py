import pytest

from caseprep_pipelines.speech.documents import Segment, Span, Suspicion, Word
from caseprep_pipelines.speech.flags import (
    compression_ratio,
    flag_segment,
    same_words,
)
from caseprep_pipelines.transcript.joining import unbreakable


def spoken(text: str, start: float = 0.0, each: float = 0.3, probability: float = 0.9) -> tuple[Word, ...]:
    return tuple(
        Word(text=word, start=start + each * at, end=start + each * (at + 1), probability=probability)
        for at, word in enumerate(text.split())
    )


def segment(words: tuple[Word, ...], log_probability: float = -0.2) -> Segment:
    return Segment(
        clip=0,
        start=words[0].start,
        end=words[-1].end,
        words=words,
        average_log_probability=log_probability,
        compression_ratio=compression_ratio(" ".join(word.text for word in words)),
    )


EVERYWHERE = (Span(start=0.0, end=1000.0),)


def flags(words: tuple[Word, ...], speech: tuple[Span, ...] = EVERYWHERE, **changes: float) -> tuple[Suspicion, ...]:
    return flag_segment(segment(words, **changes), speech).flags


def test_ordinary_speech_is_not_suspicious() -> None:
    assert flags(spoken("I signed the letter on the fourth of March, and nobody else was there.")) == ()


@pytest.mark.parametrize("text", ["thank you " * 4, "no " * 6, "I did not sign the letter. " * 3, "he said so " * 60])
def test_loops_are_flagged(text: str) -> None:
    assert flags(spoken(text)) == (Suspicion.REPETITION,)


@pytest.mark.parametrize("text", ["No, no, no.", "Yes. Yes. I did.", "I saw it, I saw it clearly."])
def test_people_repeat_themselves(text: str) -> None:
    assert flags(spoken(text)) == ()


def test_improbable_words_are_flagged() -> None:
    assert flags(spoken("I signed it", probability=0.2)) == (Suspicion.LOW_PROBABILITY,)
    assert flags(spoken("I signed it"), log_probability=-1.4) == (Suspicion.LOW_PROBABILITY,)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        (
            "th",
            "วันนี้ศาลได้เริ่มการพิจารณาคดีและพยานได้ให้การว่าในคืนวันที่สี่มีนาคมเขาอยู่ที่บ้านกับน้องสาวและไม่เห็นรถสีแดงที่จอดอยู่หน้าบ้านหลังนั้น"
            "ทนายความของจำเลยได้ถามพยานว่ารู้จักกับผู้เสียหายหรือไม่พยานตอบว่าไม่เคยรู้จักกันมาก่อน",
        ),
        ("zh", "今天法庭开始审理此案，证人作证说三月四日晚上他和妹妹在家，没有看到停在那栋房子前面的红色汽车。"),
        ("km", "ថ្ងៃនេះតុលាការបានចាប់ផ្តើមជំនុំជម្រះក្តីនេះ ហើយសាក្សីបានផ្តល់សក្ខីកម្ម ថានៅយប់ថ្ងៃទីបួនខែមីនា គាត់នៅផ្ទះជាមួយប្អូនស្រី"),
    ],
)
def test_ordinary_speech_without_spaces_is_not_suspicious(language: str, text: str) -> None:
    pieces = " ".join(unbreakable(text)) if language != "km" else text
    said = segment(spoken(pieces, each=0.09 if language != "km" else 1.0))
    plain = said.model_copy(update={"language": language, "compression_ratio": compression_ratio(text)})
    assert flag_segment(plain, EVERYWHERE).flags == ()
    loop = plain.model_copy(update={"compression_ratio": compression_ratio(text[:20] * 15)})
    assert flag_segment(loop, EVERYWHERE).flags == (Suspicion.REPETITION,)


def test_more_words_than_anybody_can_say_are_flagged() -> None:
    text = "did you see Mister Carter before the tenth of August"
    assert flags(spoken(text, each=0.05)) == (Suspicion.TOO_FAST,)
    assert flags(spoken(text, each=0.2)) == ()


def test_words_where_nobody_speaks_are_flagged() -> None:
    speech = (Span(start=0.0, end=1.0), Span(start=60.0, end=61.0))
    assert flags(spoken("Thank you for watching", start=30.0), speech) == (Suspicion.NO_SPEECH_DETECTED,)
    assert flags(spoken("Yes", start=30.0), speech) == (Suspicion.NO_SPEECH_DETECTED,)
    assert flags(spoken("Yes, I did", start=60.0), speech) == ()
    assert flags(spoken("Yes, I did"), ()) == (Suspicion.NO_SPEECH_DETECTED,)


def test_what_the_recogniser_itself_flagged_stays() -> None:
    cut_off = segment(spoken("I signed it")).model_copy(update={"flags": (Suspicion.TOKEN_LIMIT,)})
    assert flag_segment(cut_off, EVERYWHERE).flags == (Suspicion.TOKEN_LIMIT,)


def test_two_decodings_agree_where_nearly_all_their_words_do() -> None:
    first = segment(spoken("I never saw the knife before that day."))
    assert same_words(first, segment(spoken("i never saw that knife before that day")))
    assert not same_words(first, segment(spoken("I need to design")))
    assert not same_words(first, None)
    assert same_words(None, None)
