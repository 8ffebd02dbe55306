import pytest

from caseprep_pipelines.speech.languages import Stretch, admitted, likeliest, mixed, runner_up, scores, sequence

PREFERRED = ("en", "es")
ENGLISH = {"en": 0.97, "nn": 0.01}
SPANISH = {"es": 0.8, "pt": 0.1, "la": 0.05}
SPANISH_BY_TELEPHONE = {"hi": 0.5, "la": 0.2, "en": 0.08, "es": 0.05}
FAR_AWAY = {"cy": 0.3, "en": 0.25, "nn": 0.1, "ja": 0.05}
"""English meetings heard by a distant microphone."""


def stretches(*likely: dict[str, float], seconds: float = 4.0) -> list[Stretch]:
    return [Stretch(seconds, 1.0, heard) for heard in likely]


def languages_of(given: list[Stretch], allowed: tuple[str, ...] = ()) -> list[str]:
    languages = admitted(given, allowed, PREFERRED)
    return sequence(scores(given, languages), languages)


def test_distant_english_is_not_welsh() -> None:
    assert likeliest(FAR_AWAY, (), PREFERRED) == "en"
    assert mixed(FAR_AWAY, ())
    assert languages_of(stretches(*[FAR_AWAY] * 6)) == ["en"] * 6


@pytest.mark.parametrize("language", ["cy", "de", "vi"])
def test_what_is_clearly_another_language_is(language: str) -> None:
    clear = {language: 0.93, "en": 0.02, "es": 0.01}
    assert likeliest(clear, (), PREFERRED) == language
    assert languages_of(stretches(*[clear] * 4)) == [language] * 4


def test_interpreted_testimony_is_in_both_and_never_in_a_third() -> None:
    heard = [ENGLISH, SPANISH, SPANISH, ENGLISH, ENGLISH, SPANISH_BY_TELEPHONE, SPANISH, ENGLISH]
    assert languages_of(stretches(*heard)) == ["en", "es", "es", "en", "en", "es", "es", "en"]


def test_a_word_or_two_do_not_change_the_language() -> None:
    heard = stretches(ENGLISH, ENGLISH, ENGLISH)
    heard[1] = Stretch(0.5, 1.0, SPANISH)
    assert languages_of([*heard, *stretches(SPANISH, SPANISH)]) == ["en", "en", "en", "es", "es"]


def test_a_recording_is_held_to_its_matters_languages() -> None:
    assert likeliest({"cy": 0.9, "de": 0.01}, ("en", "de"), PREFERRED) == "de"
    assert set(languages_of(stretches(FAR_AWAY, SPANISH, ENGLISH), ("en", "fr"))) <= {"en", "fr"}
    assert not mixed({"en": 0.5, "cy": 0.49}, ("en",))


def test_another_language_needs_enough_speech_that_is_surely_in_it() -> None:
    german = {"de": 0.95}
    assert admitted(stretches(*[ENGLISH] * 10, german), (), PREFERRED) == ("en",)
    assert admitted(stretches(*[ENGLISH] * 10, *[german] * 3), (), PREFERRED) == ("en", "de")
    assert admitted(stretches(*[ENGLISH] * 10, SPANISH), (), PREFERRED) == ("en", "es")


def test_doubt_names_the_other_language() -> None:
    either = stretches({"en": 0.45, "es": 0.4}, ENGLISH)
    languages = ("en", "es")
    scored = scores(either, languages)
    assert runner_up(scored[:1], "en", languages) == "es"
    assert runner_up(scored[1:], "en", languages) is None
    assert runner_up(scored, "en", ("en",)) is None


def test_nothing_heard_is_the_first_that_is_allowed_or_preferred() -> None:
    assert likeliest({}, (), PREFERRED) == "en"
    assert likeliest({}, ("fr", "de"), PREFERRED) == "fr"
    assert admitted([], (), PREFERRED) == ("en",)
    assert sequence([], ("en",)) == []
