"""`make dev`: the Dagster UI over the same state as `caseprep`, with a demo archive waiting to be backfilled."""

import os
import sys
from pathlib import Path

#: A checkout's `workspace.yaml`; an installed package is served by its module.
WORKSPACE = Path(__file__).parent.parent / "workspace.yaml"


def prepare() -> None:
    """Sets defaults for what is not set, and registers the demo archive where the storage root holds nothing yet."""
    os.environ.setdefault("CASEPREP_MODEL", "demo")
    os.environ.setdefault("CASEPREP_DIARIZATION", "demo")
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"

    from caseprep_pipelines.automation.intake import sha256_of
    from caseprep_pipelines.catalog import registry
    from caseprep_pipelines.demo import demo_recordings, write_matters
    from caseprep_pipelines.embedded import open_instance
    from caseprep_pipelines.partitions import add_partitions
    from caseprep_pipelines.resources.pipeline import Pipeline
    from caseprep_pipelines.settings import read_settings
    from caseprep_pipelines.storage.keys import origin_digest_of_file

    settings = read_settings()
    pipeline = Pipeline(settings)
    if not registry.recordings_in_order(pipeline.catalog, limit=1):
        if not settings.remote:
            write_matters(Path(settings.storage) / settings.incoming_prefix)
        new = []
        for demo in demo_recordings():
            sha256 = sha256_of(demo.path)
            new.append(
                registry.NewRecording(
                    demo.matter, demo.path.name, str(demo.path), origin_digest_of_file(sha256), sha256,
                    demo.path.stat().st_size,
                )
            )  # fmt: skip
        registry.register(pipeline.catalog, new, "demo")
    add_partitions(pipeline, open_instance(settings.dagster_home))


def command(arguments: list[str]) -> list[str]:
    target = ["-w", str(WORKSPACE)] if WORKSPACE.exists() else ["-m", "caseprep_pipelines.definitions"]
    return [sys.executable, "-m", "dagster", "dev", *target, *arguments]


def main() -> None:
    prepare()
    print("==> Starting the Dagster UI (http://localhost:3000 unless told otherwise); stop it with Ctrl-C", flush=True)  # noqa: T201
    os.execv(sys.executable, command(sys.argv[1:]))  # noqa: S606


if __name__ == "__main__":
    main()
