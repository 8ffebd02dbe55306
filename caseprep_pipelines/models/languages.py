"""Which languages a Whisper directory knows, told from its files before anything is loaded. Which one was spoken is
decided in `speech`."""

import json
from collections.abc import Iterable
from pathlib import Path

from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.models.identity import ModelDirectory
from caseprep_pipelines.transcript.languages import NAMES

_MULTILINGUAL_TOKENS = 51_865
"""CTranslate2 takes a Whisper with fewer tokens for one that knows English only."""
_FEW = 5


def known_languages(path: Path) -> frozenset[str]:
    """Codes of the languages that a model has a token for; nothing where its files do not say."""
    try:
        tokens = {token["content"] for token in json.loads((path / "tokenizer.json").read_bytes())["added_tokens"]}
        size = _vocabulary_size(path)
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()
    if size < _MULTILINGUAL_TOKENS:
        return frozenset({"en"})
    return frozenset(code for code in NAMES if f"<|{code}|>" in tokens)


def check_languages(asked: Iterable[str], model: ModelDirectory, asker: str = "") -> None:
    """Raises `ConfigurationError` for the first language that the model does not know; it begins with `asker`."""
    known = known_languages(model.path)
    for language in asked:
        if known and language not in known:
            what = f"the model {model.identity.name} does not know the language {language!r}"
            raise ConfigurationError(f"{asker}{what}; {_remedy(language, known)}")


def _remedy(language: str, known: frozenset[str]) -> str:
    plain = language.strip().lower().replace("_", "-")
    names = {name.replace("_", " ").lower(): code for code, name in NAMES.items()}
    meant = names.get(plain.replace("-", " "), plain.partition("-")[0])
    if meant in known:
        return f"write {meant!r}"
    if len(known) <= _FEW:
        return f"it knows only {', '.join(map(repr, sorted(known)))}; name another model"
    return "name a language by its code, such as 'en' or 'es', or another model"


def _vocabulary_size(path: Path) -> int:
    if (path / "vocabulary.json").is_file():
        return len(json.loads((path / "vocabulary.json").read_bytes()))
    return (path / "vocabulary.txt").read_bytes().rstrip(b"\n").count(b"\n") + 1
