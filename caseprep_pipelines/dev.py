"""`make dev`: the Dagster UI over the same state as `caseprep`, with a demo archive waiting to be backfilled.

What is uploaded here is real, so it is never put through the small demo models unless somebody asks for them: models
that are configured or on this machine come first, then the starter models.
"""

import os
import sys
from pathlib import Path

#: A checkout's `workspace.yaml`; an installed package is served by its module.
WORKSPACE = Path(__file__).parent.parent / "workspace.yaml"


def prepare() -> str:
    """Sets defaults for what is not set, and registers the demo archive where the storage root holds nothing yet.
    Returns a line about the models.
    """
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"

    from caseprep_pipelines.automation.intake import sha256_of
    from caseprep_pipelines.catalog import registry
    from caseprep_pipelines.demo import demo_recordings, spoken_recordings, write_matters
    from caseprep_pipelines.embedded import open_instance
    from caseprep_pipelines.models.directories import DEMO
    from caseprep_pipelines.partitions import add_partitions
    from caseprep_pipelines.resources.pipeline import Pipeline
    from caseprep_pipelines.settings import read_settings
    from caseprep_pipelines.storage.keys import origin_digest_of_file

    about = _choose_models()
    settings = read_settings()
    small = settings.model == DEMO
    pipeline = Pipeline(settings)
    if not registry.recordings_in_order(pipeline.catalog, limit=1):
        if not settings.remote:
            write_matters(Path(settings.storage) / settings.incoming_prefix, "en" if small else None)
        new = []
        for demo in demo_recordings() if small else spoken_recordings(settings.dagster_home / "demo"):
            sha256 = sha256_of(demo.path)
            new.append(
                registry.NewRecording(
                    demo.matter, demo.path.name, str(demo.path), origin_digest_of_file(sha256), sha256,
                    demo.path.stat().st_size,
                )
            )  # fmt: skip
        registry.register(pipeline.catalog, new, "demo")
    add_partitions(pipeline, open_instance(settings.dagster_home))
    return about


def _choose_models() -> str:
    """Takes the starter models where nothing else is configured or here, for this process and its children."""
    from caseprep_pipelines.errors import ConfigurationError
    from caseprep_pipelines.models.directories import STARTER, resolve_diarization, resolve_whisper
    from caseprep_pipelines.settings import read_settings

    missing = []
    for variable, resolve in (("CASEPREP_MODEL", resolve_whisper), ("CASEPREP_DIARIZATION", resolve_diarization)):
        settings = read_settings()
        usual = settings.model if variable == "CASEPREP_MODEL" else settings.diarization
        names = (usual,) if os.environ.get(variable) else (usual, STARTER)
        for name in names:
            try:
                resolve(name, settings.models_directory)
            except ConfigurationError:
                continue
            os.environ[variable] = name
            break
        else:
            missing.append(usual)
    if missing:
        return (
            f"{' and '.join(missing)} not on this machine, so nothing can be transcribed yet: caseprep models fetch "
            f"{STARTER}, or CASEPREP_MODEL=demo CASEPREP_DIARIZATION=demo make dev to look around without"
        )
    return f"Words by {os.environ['CASEPREP_MODEL']}, speakers by {os.environ['CASEPREP_DIARIZATION']}"


def command(arguments: list[str]) -> list[str]:
    target = ["-w", str(WORKSPACE)] if WORKSPACE.exists() else ["-m", "caseprep_pipelines.definitions"]
    return [sys.executable, "-m", "dagster", "dev", *target, *arguments]


def main() -> None:
    print(f"==> {prepare()}")  # noqa: T201
    print("==> Starting the Dagster UI (http://localhost:3000 unless told otherwise); stop it with Ctrl-C", flush=True)  # noqa: T201
    os.execv(sys.executable, command(sys.argv[1:]))  # noqa: S606


if __name__ == "__main__":
    main()
