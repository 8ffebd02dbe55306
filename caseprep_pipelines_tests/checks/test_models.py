import pytest

from caseprep_pipelines.checks.models import real_models
from caseprep_pipelines.demo import demo_recordings
from caseprep_pipelines.demo.calls import MATTERS
from caseprep_pipelines.models.identity import ModelIdentity

DEMO = ModelIdentity(name="caseprep-demo-whisper", digest="0" * 64, demo=True)
REAL = ModelIdentity(name="whisper-base", digest="1" * 64)


@pytest.mark.parametrize("models", [(DEMO, REAL), (REAL, DEMO), (DEMO, None)])
def test_a_demo_model_on_a_real_matter_fails_and_is_named(models: tuple[ModelIdentity | None, ...]) -> None:
    outcome = real_models("2024-cv-00123", *models)
    assert not outcome.passed
    assert outcome.metadata == {"demo_models": "caseprep-demo-whisper"}


def test_real_models_pass_everywhere() -> None:
    assert real_models("2024-cv-00123", REAL, None).passed


@pytest.mark.parametrize("matter", sorted({demo.matter for demo in demo_recordings()} | set(MATTERS)))
def test_the_demos_own_matters_are_for_demo_models(matter: str) -> None:
    assert real_models(matter, DEMO).passed
