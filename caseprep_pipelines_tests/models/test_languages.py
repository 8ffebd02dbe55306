"""Which languages a model knows, before anything of it is loaded."""

import json
from pathlib import Path

import pytest

from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.models.identity import ModelDirectory, ModelIdentity
from caseprep_pipelines.models.languages import check_languages, known_languages
from caseprep_pipelines.models.pins import DEMO_MODELS


def model(folder: Path, *languages: str, tokens: int = 51_865) -> ModelDirectory:
    added = [{"content": f"<|{language}|>"} for language in (*languages, "startoftranscript", "0.00")]
    (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": added}))
    (folder / "vocabulary.txt").write_text("\n".join(map(str, range(tokens))) + "\n")
    return ModelDirectory(folder, ModelIdentity(name="base", digest="0" * 64))


def test_the_languages_are_those_that_it_has_a_token_for(tmp_path: Path) -> None:
    assert known_languages(model(tmp_path, "en", "es", "th").path) == {"en", "es", "th"}
    assert known_languages(model(tmp_path, "en", "es", tokens=51_864).path) == {"en"}
    assert known_languages(DEMO_MODELS / "whisper") == {"en"}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("Spanish", "does not know the language 'Spanish'; write 'es'"),
        ("EN", "'EN'; write 'en'"),
        ("es-MX", "'es-MX'; write 'es'"),
        ("yue", "'yue'; name a language by its code, such as 'en' or 'es', or another model"),
        ("xx", "'xx'; name a language by its code"),
        ("Haitian Creole", "'Haitian Creole'; write 'ht'"),
    ],
)
def test_a_language_that_it_does_not_know_is_told_with_what_to_do(tmp_path: Path, asked: str, said: str) -> None:
    known = model(tmp_path, "en", "es", "th", "zh", "ht", "fr")
    check_languages(["en", "th"], known)
    with pytest.raises(ConfigurationError) as told:
        check_languages(["en", asked], known)
    assert said in str(told.value)
    assert "\n" not in str(told.value)


def test_where_a_model_s_files_do_not_say_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    check_languages(["tlh"], ModelDirectory(tmp_path, ModelIdentity(name="base", digest="0" * 64)))
