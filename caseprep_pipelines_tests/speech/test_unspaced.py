"""What a real Whisper's tokenizer cuts texts without spaces into, put together again."""

import pytest

from caseprep_pipelines.speech.documents import Span
from caseprep_pipelines.speech.whisper import to_segment
from caseprep_pipelines.transcript.joining import join, unbreakable
from caseprep_pipelines_tests.conftest import starter_models

TEXTS = [
    ("th", "สวัสดีครับ ผมชื่อสมชาย ทำงานที่ Google มา 25 ปีแล้ว"),
    ("th", "น้ำท่วม 3,500 บาท วันที่ 12/5/2567 iPhone 15 Pro Max ครับ"),
    ("zh", "你好 我是 John Smith 先生。价格是 3.5 美元，2024年3月15日。"),
    ("ja", "昨日の夜、ホテルのロビーで彼に会いました。Tシャツは2,500円です。COVID-19について。"),
    ("my", "ကျွန်တော် တရားရုံးကို သွားတယ်။ ၂၅ နှစ်"),
    ("lo", "ຂ້ອຍຢູ່ເຮືອນ ນຳແມ່ 25 ປີ"),
    ("km", "ខ្ញុំនៅផ្ទះ ជាមួយម្តាយ ២៥ ឆ្នាំ"),
    ("en", "Well-known, isn't it? $1,000.50 at 9 o'clock."),
]


@pytest.mark.parametrize(("language", "text"), TEXTS)
def test_a_text_comes_back_as_it_was(language: str, text: str) -> None:
    import tokenizers
    from faster_whisper.tokenizer import Tokenizer

    inner = tokenizers.Tokenizer.from_file(str(starter_models() / "starter" / "whisper" / "tokenizer.json"))
    tokenizer = Tokenizer(inner, True, "transcribe", language)
    tokens = inner.encode(f" {text}", add_special_tokens=False).ids
    pieces, _ = tokenizer.split_to_word_tokens([*tokens, tokenizer.eot])
    said = [
        {"word": piece, "start": at / 10, "end": at / 10 + 0.1, "probability": 0.9}
        for at, piece in enumerate(pieces[:-1])
    ]
    segment = to_segment(said, Span(start=0, end=60), language)
    assert segment is not None
    assert join((word.text for word in segment.words), language) == text
    # no word begins with a mark, and no number or name fell apart
    assert all(word.text.strip() in text for word in segment.words)
    assert len(segment.words) <= len(unbreakable(text)) + text.count(" ")
