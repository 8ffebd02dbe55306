"""The check that real recordings were heard by real models."""

from caseprep_pipelines.checks.outcome import Outcome
from caseprep_pipelines.demo import is_demo_matter
from caseprep_pipelines.models.identity import ModelIdentity

#: Name and description, for the stages whose products models make.
REAL_MODELS = ("real_models", "Made by real models; the small demo models are for the demo's own matters.")


def real_models(matter: str, *models: ModelIdentity | None) -> Outcome:
    """Fails where a demo model, which knows only the demo's own small language, was let loose on a real matter."""
    demo = sorted(model.name for model in models if model is not None and model.demo)
    return Outcome(REAL_MODELS[0], not demo or is_demo_matter(matter), {"demo_models": ", ".join(demo)} if demo else {})
