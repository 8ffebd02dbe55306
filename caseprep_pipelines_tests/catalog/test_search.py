"""Searching as a person would, and as nobody should; the same on both databases."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caseprep_pipelines.catalog import loading, registry
from caseprep_pipelines.catalog.database import Catalog, open_catalog
from caseprep_pipelines.catalog.search import MAX_QUERY_WORDS, Hit, parse_query, search, snippet, words_of
from caseprep_pipelines.transcript.joining import unbreakable
from caseprep_pipelines_tests.catalog.examples import recording, sha, transcript

SAID = [
    "Good morning, Mr. Peréz-Müller.",
    "I didn't see the red car.",
    "Did you see the car that was red?",
    "The contract is dated May 3rd, 2021; it's worth $1,000.50.",
    "Objection! Counsel is testifying.",
    "STRASSE or Straße, “quoted”",
    "你好世界 and ファイル",
    "नमस्ते दुनिया",
    "see http://example.com/a?b=c&d or e-mail a.b@example.com",
    "one -2 3.5e10 x86 1e5 <tag> &amp; /path/to/file 4.5.6",
]


# Cut into pieces as a recognizer does.
UNSPACED = [
    ("th", "ส วัส ดี ค รับ  ผม ชื่อ สม ชาย อายุ 25 ปี ทำ งาน ที่ Google แล้ว เอ า น้ำ ไป"),
    ("zh", "我 在 法 庭 上 看 见 了 那 辆 红 色 的 Toyota 汽 车 ， 是 2024 年 3 月 。"),
    ("ja", "昨 日 の 夜 、 ホ テ ル の ロ ビ ー で 彼 に 会 い ま し た 。"),
    ("my", "ကျွန် တော် တ ရား ရုံး သွား တယ်"),
    ("lo", "ຂ້ອຍ ຢູ່ ເຮືອນ ນຳ ແມ່"),
    ("km", "ខ្ញុំនៅផ្ទះ ជាមួយម្តាយរបស់ខ្ញុំ"),
    ("bo", "ང་ཁྱིམ་ལ་ཡོད། ཨ་མ་དང་མཉམ་དུ།"),
    ("en", "The witness said 你好 twice."),
]


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def archive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    """Two matters; the second has one recording, with the first's second utterance. Only read."""
    if request.param == "sqlite":
        catalog = open_catalog(f"sqlite:///{tmp_path_factory.mktemp('archive') / 'catalog.sqlite'}")
    else:
        catalog = open_catalog(request.getfixturevalue("postgres_server").new_database())
    rows = registry.register(
        catalog, [recording("smith.mp3", "a"), recording("jones.wav", "b"), recording("smith 2.mp3", "a")], "test"
    )
    for row, said, matter in zip(rows, [SAID, [SAID[1]], ["The red car again."]], "aba", strict=True):
        document = transcript(row.partition, *said, matter=matter)
        loading.load_transcript(catalog, document, "000001-aaaaaaaaaaaa", sha(row.partition))
    [row] = registry.register(catalog, [recording("abroad.mp3", "u")], "test")
    languages, said = zip(*UNSPACED, strict=True)
    document = transcript(row.partition, *said, matter="u", languages=languages)
    loading.load_transcript(catalog, document, "000001-aaaaaaaaaaaa", sha(row.partition))
    [row] = registry.register(catalog, [recording("monologue.mp3", "m")], "test")
    document = transcript(row.partition, *MONOLOGUES, matter="m", languages=("en", "th"))
    loading.load_transcript(catalog, document, "000001-aaaaaaaaaaaa", sha(row.partition))
    yield catalog
    catalog.close()


# An hour without a pause: PostgreSQL keeps only the first 256 places of a word, and none behind 16,383.
MONOLOGUES = (
    "the bus was in the street " * 3000 + "at the very end the blue bus was sold",
    "ผม ไป บ้าน กับ แม่ " * 3000 + "ตอน จบ ผม ขาย รถ แล้ว",
)


def found(catalog: Catalog, query: str, matter: str | None = None) -> list[tuple[str, float]]:
    return [(hit.name, hit.start) for hit in search(catalog, query, matter)]


@pytest.mark.parametrize(
    ("query", "indexes"),
    [
        ("objection", [4]),
        ("OBJECTION", [4]),
        ("objection!", [4]),
        ("perez", [0]),
        ("PERÉZ", [0]),
        ("muller", [0]),
        ("Pere\u0301z", [0]),
        ("perez-müller", [0]),
        ("didn't", [1]),
        ("didn’t", [1]),
        ("did", [2]),
        ('"see the red car"', [1]),
        ('"the car that"', [2]),
        ("“the car that”", [2]),
        ('"the car', [2]),
        ("testif*", [4]),
        ("testif", []),
        ('"counsel is test"*', [4]),
        ("couns* testif*", [4]),
        ("counsel car", []),
        ("strasse", [5]),
        ("straße", [5]),
        ("2021", [3]),
        ("$1,000.50", [3]),
        ("3rd", [3]),
        ("世界", [6]),
        ("好世", [6]),
        ("界你", []),
        ("ﾌｧｲﾙ", [6]),
        ("नमस्ते", [7]),
        ("दुनिया", [7]),
        ("example.com", [8]),
        ("a.b@example.com", [8]),
        ("mail", [8]),
        ("1e5", [9]),
        ("3.5e10", [9]),
        ("-2", [9]),
        ("tag", [9]),
        ("amp", [9]),
        ("x86", [9]),
        ("4.5.6", [9]),
        ("or", [5, 8]),
        ("and", [6]),
        ("not", []),
        ("", []),
        ("   ", []),
        ("*", []),
        ('"', []),
        ('""', []),
        ('""*', []),
        ("...", []),
        ("%", []),
        ("'; DROP TABLE utterances; --", []),
        ("search_words:car", []),
        ("car NEAR contract", []),
        ("😀", []),
        ("\0", []),
        ("\udcff", []),
    ],
)
def test_what_a_query_finds(archive: Catalog, query: str, indexes: list[int]) -> None:
    hits = search(archive, query, matter="a")
    assert [hit.start / 5 for hit in hits if hit.name == "smith.mp3"] == indexes


def displayed(catalog: Catalog) -> dict[float, str]:
    """What a reader sees of the recording in many languages, by time."""
    document = transcript("u-0", *(said for _, said in UNSPACED), languages=tuple(language for language, _ in UNSPACED))
    return {utterance.start: document.text_of(utterance) for utterance in document.utterances}


def test_every_stretch_of_a_language_without_spaces_is_found_as_it_is_displayed(archive: Catalog) -> None:
    for start, text in displayed(archive).items():
        letters = unbreakable(text)
        for first in range(len(letters)):
            for last in (first + 3, first + 9):
                phrase = "".join(letters[first:last]).strip()
                for query in (phrase, f'"{phrase}"'):
                    if len(words_of(query)) > 1 and letters[first].strip() and not letters[first].isascii():
                        assert ("abroad.mp3", start) in found(archive, query, "u"), query
        assert ("abroad.mp3", start) in found(archive, f'"{text}"', "u")


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("สวัสดี", 0),
        ("สวัสดีครับ ผมชื่อสมชาย", 0),
        ("อายุ 25 ปี", 0),
        ("อายุ๒๕ปี", None),
        ("ทำงาน", 0),
        ("ที่Google", 0),
        ("google", 0),
        ("เเล้ว", 0),
        ("นํ้า", 0),
        ("สวัสดีชื่อ", None),
        ("ผมอายุ", None),
        ("红色的Toyota汽车", 1),
        ("红色的 toyota 汽车", 1),
        ("2024年3月", 1),
        ("法庭 汽车", 1),
        ('"法庭汽车"', None),
        ("ホテルのロビー", 2),
        ("ﾎﾃﾙ", 2),
        ("昨日の夜、", 2),
        ("တရားရုံး", 3),
        ("ເຮືອນ", 4),
        ("ນຳແມ່", 4),
        ("ផ្ទះ", 5),
        ("ម្តាយរបស់ខ្ញុំ", 5),
        ("ཁྱིམ", 6),
        ("你好", 7),
        ("said 你好", 7),
    ],
)
def test_a_language_without_spaces_is_searched_as_it_is_read(archive: Catalog, query: str, index: int | None) -> None:
    assert found(archive, query, "u") == ([] if index is None else [("abroad.mp3", 5.0 * index)])


def test_a_snippet_of_a_language_without_spaces_is_not_torn_apart(archive: Catalog) -> None:
    [hit] = search(archive, "红色的 toyota", "u")
    assert hit.snippet == "我在法庭上看见了那辆红色的 Toyota 汽车，是2024年3月。"
    [hit] = search(archive, "ขายรถ", "m")
    assert hit.snippet.startswith("… ")
    assert hit.snippet.endswith("ตอนจบผมขายรถแล้ว")
    assert len(hit.snippet) < 120


def test_a_phrase_is_found_at_the_end_of_an_hour_without_a_pause(archive: Catalog) -> None:
    assert found(archive, '"the blue bus was sold"') == [("monologue.mp3", 0.0)]
    assert found(archive, '"blue bus was so"*') == [("monologue.mp3", 0.0)]
    assert found(archive, '"the blue street"') == []
    assert found(archive, "ตอนจบผมขายรถ") == [("monologue.mp3", 5.0)]
    assert found(archive, "รถตอนจบ") == []


def test_a_word_of_any_length_is_searched_for(archive: Catalog) -> None:
    assert found(archive, "x" * 100_000) == []
    assert found(archive, f'"{"x" * 5000}"*') == []


def test_hits_come_in_order_of_matter_registration_and_time(archive: Catalog) -> None:
    expected = [("smith.mp3", 5.0), ("smith.mp3", 10.0), ("smith 2.mp3", 0.0), ("jones.wav", 0.0)]
    assert found(archive, "red car") == expected
    assert found(archive, "red car", "b") == expected[3:]
    assert found(archive, "red car", "c") == []
    assert found(archive, "red car", "\0") == []
    assert len(search(archive, "red car", limit=2)) == 2


def test_a_hit_says_who_when_and_where(archive: Catalog) -> None:
    [hit] = search(archive, "objection")
    assert hit == Hit(
        partition=registry.find(archive, "smith.mp3")[0].partition,
        matter="a",
        name="smith.mp3",
        speaker="SPEAKER_00",
        start=20.0,
        end=24.0,
        snippet="Objection! Counsel is testifying.",
        page_line=None,
    )


def test_every_utterance_is_found_by_each_of_its_words_and_as_a_phrase(archive: Catalog) -> None:
    for index, said in enumerate(SAID):
        for query in (*said.split(), '"' + said.replace("“", " ").replace("”", " ") + '"'):
            if words_of(query):
                assert ("smith.mp3", 5.0 * index) in found(archive, query, "a"), query


def test_a_very_long_query_is_cut_not_refused(archive: Catalog) -> None:
    assert found(archive, "red " * 100_000, "b") == [("jones.wav", 0.0)]
    assert found(archive, '"' + "red " * 10_000, "b") == []
    assert sum(len(term.words) for term in parse_query("a b " * 1000)) == MAX_QUERY_WORDS


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.text(st.characters(exclude_categories=[])),
        st.lists(st.sampled_from(['"', "*", "(", ")", "AND", "OR", "NOT", "NEAR(", ":", "^", "-", "'", "\\", "car", "|"
                                  "<->", "&", "!", "{", "}", "+", ",", "🚗", "\u0301", "ः"])).map("".join),
    )
)  # fmt: skip
def test_no_query_is_wrong(archive: Catalog, query: str) -> None:
    for hit in search(archive, query):
        assert hit.snippet


@given(st.text())
def test_words_fold_to_themselves(text: str) -> None:
    words = words_of(text)
    assert words_of(" ".join(words)) == words


@given(st.text())
def test_case_does_not_count(text: str) -> None:
    assert words_of(text.casefold()) == words_of(text)


def test_a_snippet_shows_the_match_in_its_own_spelling() -> None:
    text = " ".join(f"word{n}" for n in range(100)).replace("word50", "Müller,")
    shown = snippet(text, parse_query("muller"))
    assert shown.startswith("… word42 word43")
    assert "Müller," in shown
    assert shown.endswith("word71 …")
    assert snippet("short", parse_query("short")) == "short"
    assert "word99" in snippet(text, parse_query('"word98 word9"*'))
