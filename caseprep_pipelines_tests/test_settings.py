"""Settings: read once from the environment, never printing a secret, and documented as they are."""

from pathlib import Path

import pytest

from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.settings import Settings, read_settings, table

DOCUMENTED = Path(__file__).parent.parent / "docs" / "configuration.md"


def test_the_documented_table_is_the_codes() -> None:
    assert table() in DOCUMENTED.read_text(), "paste the output of settings.table() into docs/configuration.md"


def test_every_setting_says_what_it_sets() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_a_wrong_value_names_its_variable_and_not_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASEPREP_BEAM_SIZE", "hunter2")
    with pytest.raises(ConfigurationError, match="CASEPREP_BEAM_SIZE") as caught:
        read_settings()
    assert "hunter2" not in str(caught.value)


def test_secrets_are_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASEPREP_DATABASE_URL", "postgresql://user:hunter2@localhost/catalog")
    monkeypatch.setenv("HUGGINGFACE_ACCESS_TOKEN", "hunter3")
    settings = read_settings()
    assert "hunter" not in repr(settings)
    assert settings.hub_token == "hunter3"
    assert "hunter2" in str(settings.catalog_url)


def test_the_catalog_of_an_s3_root_is_kept_locally(tmp_path: Path) -> None:
    settings = read_settings(storage="s3://bucket/prefix", dagster_home=tmp_path / "dagster")
    assert str(settings.catalog_url) == f"sqlite:///{tmp_path / 'catalog.sqlite'}"


def test_formats_are_given_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASEPREP_FORMATS", "srt, vtt")
    assert read_settings().formats == ("srt", "vtt")
