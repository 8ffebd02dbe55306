"""Words as a reader of their language writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caseprep_pipelines.transcript.joining import (
    UNSPACED_LANGUAGES,
    continues,
    join,
    may_break,
    unbreakable,
    with_their_spaces,
    word_text,
)
from caseprep_pipelines.transcript.languages import NAMES, language_name

_letters = st.sampled_from(list("กเแาิ่นครับ你好、。「」ァーﾌပ်္မကខ្ញុང་ཀ๑２ab9-., \u200b"))
_said = st.text(_letters, min_size=1, max_size=6).filter(lambda said: "  " not in said)


@pytest.mark.parametrize(
    ("language", "words", "text"),
    [
        ("th", "ส วัส ดี ค รับ", "สวัสดีครับ"),
        ("th", "ผม อายุ 25 ปี", "ผมอายุ 25 ปี"),
        ("th", "ผม ใช้ iPhone 15 ครับ", "ผมใช้ iPhone 15 ครับ"),
        ("th", "ลด 5% แล้ว", "ลด 5% แล้ว"),
        ("zh", "我 在 Google 工 作", "我在 Google 工作"),
        ("zh", "2024 年 3 月 ， 你 好 。 再 见", "2024年3月，你好。再见"),
        ("zh", "Hello, world", "Hello, world"),
        ("yue", "我 哋 ok 啦", "我哋 ok 啦"),
        ("ja", "JR 東 日 本 で T シャツ を 25 枚", "JR東日本でTシャツを25枚"),
        ("ja", "今 日 は 。 Python です", "今日は。Pythonです"),
        ("lo", "ສະບາຍ ດີ", "ສະບາຍດີ"),
        ("my", "မင်္ဂ လာ ပါ", "မင်္ဂလာပါ"),
        # these are parted by what is said, as Whisper has it
        ("km", "ជំរាបសួរ ខ្ញុំ", "ជំរាបសួរ ខ្ញុំ"),
        ("bo", "བཀྲ་ཤིས། བདེ་ལེགས།", "བཀྲ་ཤིས། བདེ་ལེགས།"),
        ("ko", "안녕 하세요", "안녕 하세요"),
        ("en", "Good morning , 你 好", "Good morning , 你 好"),
        # of a language that nobody knows the script decides
        (None, "Good morning, Mr. 田 中 さん", "Good morning, Mr. 田中さん"),
        (None, "สวัส ดี", "สวัสดี"),
    ],
)
def test_words_are_joined_as_their_language_is_written(language, words, text):
    assert join(words.split(), language) == text


def test_a_space_that_the_recognizer_wrote_stays_where_there_are_few():
    assert join(["ครับ", " ผม", "ชื่อ", " John"], "th") == "ครับ ผมชื่อ John"
    assert join([" ครับ", "ผม"], "th") == "ครับผม"
    assert join(["好。", " 再", "见"], "zh") == "好。再见"


@given(st.lists(st.text(st.characters(categories=["Lu", "Ll", "Nd", "Po"], max_codepoint=0x24F), min_size=1)))
def test_words_of_an_alphabet_always_have_a_space_between_them(words):
    for language in (None, "en", *UNSPACED_LANGUAGES):
        assert join(words, language) == " ".join(words)


@given(st.lists(_said), st.sampled_from([None, "en", *sorted(UNSPACED_LANGUAGES)]))
def test_no_letter_is_lost_or_moved_and_no_space_doubled(words, language):
    text = join([word_text(word, language) for word in words], language)
    assert "".join(text.split()) == "".join("".join(words).split())
    if language in UNSPACED_LANGUAGES:
        assert "  " not in text or any("  " in word.strip() for word in words)
        assert text == text.strip()


@pytest.mark.parametrize(
    ("language", "pieces", "words"),
    [
        ("en", [" well", "-known", " ", ",", " man"], ["well-known,", "man"]),
        ("th", ["ส", "วั", "ส", "ดี", " John", "ny", " 2", "5", "ปี"], ["ส", "วั", "ส", "ดี", " Johnny", " 25", "ปี"]),
        ("th", ["เ", "ก", "่", "า"], ["เก่า"]),
        ("th", ["บ", "าท", " ", "", "วั", "น", " "], ["บาท", " วั", "น"]),
        ("my", ["မ", "င", "်", "္", "ဂ"], ["မ", "င်္ဂ"]),
        ("ja", ["き", "ょう", "は", "P", "ython"], ["きょう", "は", "Python"]),
        (None, [" a", "b"], ["ab"]),
    ],
)
def test_pieces_of_a_recognizer_become_words(language, pieces, words):
    made = []
    spaced = with_their_spaces(pieces, language)
    assert len(spaced) == len(pieces)
    for piece in filter(None, spaced):
        if made and continues(made[-1], piece, language):
            made[-1] += piece.strip()
        else:
            made.append(word_text(piece, language))
    assert made == words


def test_no_line_ends_between_a_letter_and_what_stands_on_it_or_belongs_to_it():
    assert unbreakable("กินข้าว") == ["กิ", "น", "ข้า", "ว"]
    assert unbreakable("「你好」。") == ["「你", "好」。"]
    assert unbreakable("キャットー") == ["キャッ", "トー"]
    assert unbreakable("မင်္ဂလာပါ") == ["မင်္ဂ", "လာ", "ပါ"]
    assert unbreakable("ខ្ញុំជា") == ["ខ្ញុំ", "ជា"]
    assert unbreakable("བཀྲ་ཤིས།") == ["བཀྲ་", "ཤིས།"]
    assert unbreakable("well-known") == ["well-known"]
    assert unbreakable("２５歳") == ["２５", "歳"]


@given(_said)
def test_pieces_of_a_line_make_up_the_text(text):
    pieces = unbreakable(text)
    assert "".join(pieces) == text
    assert all(pieces)
    assert not may_break("", text)
    assert not may_break(text, "")


def test_every_language_of_whisper_has_a_name():
    from faster_whisper.tokenizer import _LANGUAGE_CODES

    assert set(_LANGUAGE_CODES) == set(NAMES)
    assert len(set(NAMES.values())) == len(NAMES)
    assert (language_name("es"), language_name("ht"), language_name("tlh")) == ("Spanish", "Haitian Creole", "tlh")
    assert set(NAMES) > UNSPACED_LANGUAGES


def test_the_languages_without_spaces_are_those_that_the_recognizer_cuts_by_characters():
    import inspect

    from faster_whisper.tokenizer import Tokenizer

    listed = inspect.getsource(Tokenizer.split_to_word_tokens).partition("{")[2].partition("}")[0]
    assert {code.strip(' "') for code in listed.split(",")} == UNSPACED_LANGUAGES
