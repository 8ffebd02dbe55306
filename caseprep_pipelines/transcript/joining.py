"""How words become text: where a space stands between two of them, and where a line may end.

Most languages part words by spaces. Some don't, and a recognizer hands those over in pieces of a few letters. Whoever
shows words to a person joins them here and nowhere else. How long a line is and what a format does with it belongs in
`renditions`; what people search for is folded in `catalog.search`, which takes its letters from here.
"""

import re
import unicodedata
from collections.abc import Iterable

UNSPACED_LANGUAGES = frozenset({"zh", "yue", "ja", "th", "lo", "my"})
"""Written without spaces between words, and told apart by characters and not by spaces by Whisper. Khmer and Tibetan
aren't among them: there Whisper's words are what stands between two spaces."""

SENTENCE_ENDS = (".", "?", "!", "。", "？", "！", "｡", "።", "។", "။", "།", "؟", "۔", "।")

_CHINESE_AND_JAPANESE = (
    "\u2e80-\u2fdf\u3000-\u30ff\u3100-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\ufe30-\ufe4f"
    "\uff00-\uffef\U00020000-\U0003ffff"
)
_THAI_LAO_BURMESE = "\u0e00-\u0eff\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"
_TIBETAN_KHMER = "\u0f00-\u0fff\u1780-\u17ff\u19e0-\u19ff"

UNSPACED_LETTERS = _CHINESE_AND_JAPANESE + _THAI_LAO_BURMESE + _TIBETAN_KHMER
"""Ranges for a character class of `re`: scripts in which words follow each other without a space."""

# wide punctuation brings its own space with it
_wide = re.compile(f"[{_CHINESE_AND_JAPANESE}]")
_kana = re.compile("[\u3040-\u30ff]")
_joined = re.compile(f"[{_CHINESE_AND_JAPANESE}{_THAI_LAO_BURMESE}]")
_unspaced = re.compile(f"[{UNSPACED_LETTERS}]")
_other_script_before = re.compile(f"[^\\s{UNSPACED_LETTERS}]+$")
_other_script_after = re.compile(f"^[^\\s{UNSPACED_LETTERS}]+")

# These stand after the character that they belong to, or before it, in writing: no line begins or ends with them.
_NEVER_FIRST = frozenset(
    "\u200b\u0e2f\u0e30\u0e32\u0e33\u0e45\u0e46\u0eb0\u0eb2\u0eb3\u0eaf\u0ebd\u0ec6"
    "々〻ゝゞヽヾーぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ"
)
SYLLABLE_BEGINS = frozenset("\u0e40\u0e41\u0e42\u0e43\u0e44\u0ec0\u0ec1\u0ec2\u0ec3\u0ec4")
"""Vowels of Thai and Lao that are written before their consonant."""
_NEVER_LAST = SYLLABLE_BEGINS | frozenset("\u1039\u17d2")
_BURMESE_SYLLABLE_ENDS = frozenset("\u1039\u103a")
_TIBETAN_SYLLABLE_ENDS = frozenset("\u0f0b\u0f0d\u0f0e")
_JOINERS = frozenset("\u200c\u200d\u2060")


def join(words: Iterable[str], language: str | None) -> str:
    """The words as a reader of the language writes them, in one line.

    Where words are written without spaces, a space stands where the recognizer wrote one (a word may begin with it),
    between two words of another script, around Latin words in Chinese, and around these and numbers in Thai, Lao and
    Burmese. `None` is a language that nobody knows: there the script alone decides.
    """
    if language is not None and language not in UNSPACED_LANGUAGES:
        return " ".join(words)
    pieces: list[str] = []
    for word in words:
        said = word.strip()
        if said and pieces and _spaced(pieces[-1], said, language, written=word[0].isspace()):
            pieces.append(" ")
        if said:
            pieces.append(said)
    return "".join(pieces)


def _spaced(before: str, after: str, language: str | None, *, written: bool) -> bool:
    last, first = before[-1], after[0]
    if (_wide.match(last) and _is_punctuation(last)) or (_wide.match(first) and _is_punctuation(first)):
        return False
    joined = bool(_joined.match(last)), bool(_joined.match(first))
    if written or not any(joined):
        return True
    if all(joined):
        return False
    found = _other_script_before.search(before) if joined[1] else _other_script_after.search(after)
    other = found[0] if found else ""
    edge = other[-1:] if joined[1] else other[:1]
    if _wide.match(last) or _wide.match(first):
        if language == "ja" or _kana.match(last) or _kana.match(first):
            return False
        # a single letter is a part of a word there: Tシャツ
        a_word = sum(letter.isalpha() for letter in other) > 1
        return a_word and (joined[1] or edge.isalnum() or edge in "([$€")
    return edge.isalnum() or edge in ("%", "$", "€", "°")


def with_their_spaces(pieces: Iterable[str], language: str | None) -> list[str]:
    """A recognizer's pieces, one for each, those without letters empty. Where words are written without spaces, a piece
    that is only a space went over to the one after it."""
    if language not in UNSPACED_LANGUAGES:
        return [piece if piece.strip() else "" for piece in pieces]
    found: list[str] = []
    space = ""
    for piece in pieces:
        blank = not piece.strip()
        found.append("" if blank else space + piece)
        space = " " if blank and piece else "" if not blank else space
    return found


def continues(before: str, said: str, language: str | None) -> bool:
    """Whether what a recognizer said next, with the space it wrote before it or without, belongs to the word before.

    "-known" belongs to "well". In a language without spaces "ohn" belongs to "J", a vowel sign to its consonant, and
    any other piece is a word of its own.
    """
    if said[:1].isspace():
        return False
    return language not in UNSPACED_LANGUAGES or not may_break(before[-1:], said[:1])


def word_text(said: str, language: str | None) -> str:
    """A piece as the text of a word: without the spaces around it, but where words are written without spaces with the
    one before it, which then means something."""
    text = said.strip()
    return f" {text}" if text and said[0].isspace() and language in UNSPACED_LANGUAGES else text


def may_break(before: str, after: str) -> bool:
    """Whether a line may end between two characters that no space parts."""
    if not before or not after or not (_unspaced.match(before) or _unspaced.match(after)):
        return False
    kind_before, kind_after = unicodedata.category(before), unicodedata.category(after)
    if kind_after[0] == "M" or after in _NEVER_FIRST or before in _NEVER_LAST or {before, after} & _JOINERS:
        return False
    if kind_after in ("Pe", "Pf", "Po") or kind_before in ("Ps", "Pi", "Sc"):
        return False
    if "\u0f00" <= before <= "\u0fff":
        return before in _TIBETAN_SYLLABLE_ENDS
    # a number in wide or Thai digits stays whole
    return not (kind_before == kind_after == "Nd")


def unbreakable(text: str) -> list[str]:
    """The text without spaces, cut wherever a line may end."""
    cuts = [
        at
        for at in range(1, len(text))
        if may_break(text[at - 1], text[at]) and text[at + 1 : at + 2] not in _BURMESE_SYLLABLE_ENDS
    ]
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True) if end > start]


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character)[0] in "PZ"
