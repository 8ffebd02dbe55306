"""The same graph over real services: an S3 API over HTTP that fails now and then, and PostgreSQL."""

import json
from pathlib import Path

import dagster as dg
import pytest

from caseprep_pipelines.definitions import build_defs
from caseprep_pipelines.demo import demo_recordings
from caseprep_pipelines.settings import read_settings
from caseprep_pipelines.transcript.document import Transcript
from caseprep_pipelines_tests.conftest import caseprep, environment
from caseprep_pipelines_tests.s3_server import ENVIRONMENT, Break, S3Server

SHORT = next(demo.path for demo in demo_recordings() if demo.path.name == "roadside-camera.mp4")


def test_the_whole_graph_on_s3_that_breaks_and_on_postgresql(
    tmp_path: Path, faulty_s3: S3Server, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert faulty_s3.proxy is not None
    faulty_s3.proxy.breaks += [
        Break("503 SlowDown", "PUT", 2), Break("reset", "PUT", 1), Break("500 InternalError", "GET", 2),
        Break("cut", "GET", 1),
    ]  # fmt: skip
    settings = {
        "CASEPREP_STORAGE": faulty_s3.root,
        "CASEPREP_S3_ENDPOINT_URL": faulty_s3.endpoint_url,
        "CASEPREP_DATABASE_URL": postgres_url,
        **ENVIRONMENT,
    }
    own = environment(tmp_path, **settings)
    finished = caseprep(["transcribe", SHORT, "--out", tmp_path / "out", "--json"], own)
    assert finished.returncode == 0, finished.stderr
    (entry,) = json.loads(finished.stdout)
    assert (tmp_path / "out" / entry["folder"] / "transcript.txt").exists()
    assert caseprep(["verify"], own).returncode == 0
    assert json.loads(caseprep(["search", "the", "--json"], own).stdout)

    names = {item["Key"] for item in faulty_s3.client().list_objects_v2(Bucket=faulty_s3.bucket)["Contents"]}
    assert any(name.startswith("some/prefix/originals/") for name in names)
    assert not any(name.endswith((".pkl", ".pickle")) for name in names)

    for name, value in own.items():
        if name.startswith(("CASEPREP_", "AWS_")):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("DAGSTER_HOME", own["CASEPREP_DAGSTER_HOME"])
    with dg.DagsterInstance.get() as instance:
        loaded = build_defs(read_settings()).load_asset_value(
            "transcript", partition_key=entry["recording"], instance=instance
        )
    assert isinstance(loaded, Transcript)
    assert sum(len(utterance.words) for utterance in loaded.utterances) == entry["words"]
