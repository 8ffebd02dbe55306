"""How words are made alike before they are compared, so that "Mr. Smith, 21" and "mister smith twenty-one" are one.

The rules follow Whisper's own normalizer of English, with two differences: they work word by word, so that each word
keeps its time, and numbers become words and not digits. What is heard the same is written the same; nothing that
changes a meaning is taken away ("not" stays, "uh-huh" stays).

1. Letters lose their case, and Latin, Greek and Cyrillic letters their accents.
2. What stands in square or angle brackets is a remark and no word; so is a bracketed word of its own ("(laughs)").
3. Hesitations go: "uh", "um", "er", "hmm", "mm", "mhm".
4. English contractions are written out ("didn't" is "did not"), other apostrophes and hyphens part words.
5. Titles, "versus", "okay" and a few British spellings have one form.
6. English numbers in digits are spelled out ("21st" is "twenty first", "1961" "nineteen sixty one", "$5" "five
   dollars"); long rows of digits are read digit by digit.
7. Text of scripts without spaces is compared letter by letter.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

HESITATIONS = frozenset({"uh", "um", "hm", "hmm", "hmmm", "mm", "mmm", "mhm", "er", "erm"})

CONTRACTIONS = (
    ("won't", "will not"),
    ("can't", "can not"),
    ("cannot", "can not"),
    ("shan't", "shall not"),
    ("ain't", "is not"),
    ("let's", "let us"),
    ("ma'am", "madam"),
    ("y'all", "you all"),
    ("n't", " not"),
    ("'re", " are"),
    ("'s", " is"),
    ("'d", " would"),
    ("'ll", " will"),
    ("'ve", " have"),
    ("'m", " am"),
    ("'em", "them"),
)

SAME = {
    "mr": "mister",
    "mrs": "missus",
    "dr": "doctor",
    "prof": "professor",
    "st": "saint",
    "sgt": "sergeant",
    "lt": "lieutenant",
    "capt": "captain",
    "jr": "junior",
    "sr": "senior",
    "hon": "honorable",
    "vs": "versus",
    "v": "versus",
    "okay": "ok",
    "etc": "et cetera",
    "gonna": "going to",
    "wanna": "want to",
    "gotta": "got to",
    "alright": "all right",
    "&": "and",
    "%": "percent",
    "+": "plus",
    "@": "at",
    "colour": "color",
    "favour": "favor",
    "honour": "honor",
    "honourable": "honorable",
    "labour": "labor",
    "neighbour": "neighbor",
    "behaviour": "behavior",
    "judgement": "judgment",
    "defence": "defense",
    "offence": "offense",
    "licence": "license",
    "centre": "center",
    "cheque": "check",
    "grey": "gray",
    "programme": "program",
}

ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
SCALES = ((10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))
ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
CURRENCIES = {"$": "dollars", "€": "euros", "£": "pounds"}

_REMARKS = re.compile(r"\[[^\[\]]*\]|<[^<>]*>|(?<!\S)\([^()]*\)(?=[\s.,;:!?]|$)")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
# vowels and tones of Indian and Southeast Asian scripts are no letters to `re`
_PIECE = re.compile(
    r"[$€£]?\d[\d,]*(?:\.\d+)?(?:st|nd|rd|th|s)?%?|[^\W\d_]+(?:[\u0900-\u109f\u1780-\u17ff]|[^\W\d_])*|[&%+@]"
)
_NUMBER = re.compile(r"([$€£]?)(\d[\d,]*)(?:\.(\d+))?(st|nd|rd|th|s)?(%?)")


@dataclass(frozen=True)
class Token:
    """A word as it is compared. `index` is its place among the words that were given; times are None where nobody
    knows them."""

    text: str
    index: int
    start: float | None = None
    end: float | None = None


def normalized(text: str) -> list[str]:
    """The words of a text as they are compared."""
    return [part for word in without_remarks(text).split() for part in normalized_word(word)]


def verbatim(text: str) -> list[str]:
    """The words as they are written, case and punctuation included."""
    return without_remarks(text).split()


def without_remarks(text: str) -> str:
    return _REMARKS.sub(" ", text)


def tokens(words: Sequence[tuple[str, float | None, float | None]]) -> list[Token]:
    """Words with their times as tokens; a word may be several, or none."""
    return [
        Token(part, index, start, end)
        for index, (text, start, end) in enumerate(words)
        for part in normalized_word(without_remarks(text))
    ]


def normalized_word(word: str) -> list[str]:
    plain = _plain(word)
    if plain.strip(".,;:!?…-\"'") in HESITATIONS:
        return []
    return list(_parts(plain))


def _plain(word: str) -> str:
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", word).casefold())
    accents = "".join(letter for letter in folded if not "\u0300" <= letter <= "\u036f")
    return unicodedata.normalize("NFC", accents).translate({0x2019: "'", 0x2018: "'", 0x02BC: "'", 0xAD: None})


def _parts(plain: str) -> Iterator[str]:
    plain = plain.strip('.,;:!?…"“”«»¿¡—–()')
    if not plain:
        return
    for short, long in CONTRACTIONS:
        if plain.endswith(short) and (short[0] not in "n'" or len(plain) > len(short) or short == "'em"):
            yield from _parts(plain[: len(plain) - len(short)])
            yield from long.split()
            return
    clock = re.fullmatch(r"(\d{1,2}):(\d\d)", plain)
    if clock:
        yield from _cardinal(int(clock[1]))
        if clock[2] != "00":
            yield from (["oh"] if clock[2][0] == "0" else [])
            yield from _cardinal(int(clock[2]))
        return
    initials = re.fullmatch(r"(?:[a-z]\.)+[a-z]?", plain)
    if initials:
        yield plain.replace(".", "")
        return
    for piece in _PIECE.findall(plain):
        number = _NUMBER.fullmatch(piece)
        if number:
            yield from _spelled(*number.groups())
        elif _UNSPACED.search(piece):
            yield from piece
        else:
            yield from SAME.get(piece, piece).split()


def _spelled(sign: str, digits: str, decimals: str | None, ending: str | None, percent: str) -> Iterator[str]:
    whole = digits.replace(",", "")
    grouped = "," in digits.strip(",")
    if not grouped and decimals is None and not ending and not sign and (len(whole) > 4 or whole[0] == "0" < whole):
        yield from (ONES[int(digit)] for digit in whole)
    elif not grouped and decimals is None and not sign and len(whole) == 4 and _is_year(int(whole)):
        words = [*_cardinal(int(whole[:2])), *(_cardinal(int(whole[2:])) if whole[2:] != "00" else ["hundred"])]
        yield from _ended(words, ending)
    elif len(whole) > 12:
        yield from (ONES[int(digit)] for digit in whole)
    else:
        yield from _ended(list(_cardinal(int(whole))), ending)
    if decimals is not None:
        if sign and len(decimals) == 2:
            yield CURRENCIES[sign]
            if decimals != "00":
                yield from _cardinal(int(decimals))
                yield "cents"
            sign = ""
        else:
            yield "point"
            yield from (ONES[int(digit)] for digit in decimals)
    if sign:
        yield CURRENCIES[sign]
    if percent:
        yield "percent"


def _is_year(number: int) -> bool:
    return 1100 <= number <= 1999 or 2010 <= number <= 2099


def _cardinal(number: int) -> Iterator[str]:
    if number < 20:
        yield ONES[number]
    elif number < 100:
        yield TENS[number // 10 - 2]
        if number % 10:
            yield ONES[number % 10]
    else:
        size, name = next(scale for scale in SCALES if number >= scale[0])
        yield from _cardinal(number // size)
        yield name
        if number % size:
            yield from _cardinal(number % size)


def _ended(words: list[str], ending: str | None) -> list[str]:
    if ending is None:
        return words
    last = words[-1]
    if ending == "s":
        words[-1] = last[:-1] + "ies" if last.endswith("y") else last + "s"
    elif last.endswith("y"):
        words[-1] = last[:-1] + "ieth"
    else:
        words[-1] = ORDINALS.get(last, last + "th")
    return words
