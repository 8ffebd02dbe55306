"""S3 that breaks a tenth of all calls: everything ends done, the same as on one that breaks none, and nothing half."""

import hashlib
import json
from pathlib import Path
from urllib.parse import unquote, urlsplit

import dagster as dg
import pytest

from caseprep_pipelines.assets import STAGES
from caseprep_pipelines.catalog import progress, registry
from caseprep_pipelines.resources.pipeline import Pipeline
from caseprep_pipelines.settings import read_settings
from caseprep_pipelines_tests.end_to_end.driving import finish, job_of, mixed_archive
from caseprep_pipelines_tests.s3_server import HOW, FaultyProxy, S3Server

NAMES = [stage.name for stage in STAGES]
SEED = 5
SHARE = 0.1
PREFIX = "some/prefix"


class Watch:
    """Looks, whenever a manifest or a head was written, whether all that it names is there."""

    def __init__(self, s3: S3Server, proxy: FaultyProxy) -> None:
        self.client, self.bucket = s3.client(), s3.bucket
        self.seen = 0
        self.half: list[str] = []
        proxy.served = self.look

    def look(self, method: str, path: str) -> None:
        name = unquote(urlsplit(path).path).removeprefix(f"/{self.bucket}/")
        folder, _, file = name.rpartition("/")
        if method != "PUT" or file not in ("manifest.json", "HEAD.json"):
            return
        self.seen += 1
        told = json.loads(self._read(name))
        if file == "HEAD.json":
            self._read(f"{folder}/{told['version']}/manifest.json")
            return
        for each in told["files"]:
            if hashlib.sha256(self._read(f"{folder}/{each['name']}")).hexdigest() != each["sha256"]:
                self.half.append(name)

    def _read(self, name: str) -> bytes:
        try:
            return self.client.get_object(Bucket=self.bucket, Key=name)["Body"].read()
        except self.client.exceptions.NoSuchKey:
            self.half.append(name)
            return b"{}"


def objects(s3: S3Server, prefix: str) -> dict[str, bytes]:
    client = s3.client()
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=s3.bucket, Prefix=prefix)
    names = [found["Key"] for page in pages for found in page.get("Contents", ())]
    return {n.removeprefix(prefix): client.get_object(Bucket=s3.bucket, Key=n)["Body"].read() for n in names}


def products(s3: S3Server) -> dict[str, bytes]:
    """What products consist of, but for what says when it was or what was made from that."""
    return {
        name: data
        for name, data in objects(s3, f"{PREFIX}/derived/").items()
        if not name.startswith("source_recording/") and not name.endswith(("run.json", "manifest.json"))
    }


def taken_through(s3: S3Server, folder: Path) -> Pipeline:
    """All that lies under `incoming/`, by sensor and runs, with a new catalog and a new Dagster."""
    pipeline = Pipeline(
        read_settings(
            storage=f"s3://{s3.bucket}/{PREFIX}", s3_endpoint_url=s3.endpoint_url, s3_region="us-east-1",
            dagster_home=folder / "dagster", database_url=f"sqlite:///{folder}/catalog.sqlite", model="demo",
            diarization="demo", language="en",
        )
    )  # fmt: skip
    with dg.DagsterInstance.ephemeral() as instance:
        assert all(finish(pipeline, job_of(pipeline), instance))
    return pipeline


def test_a_tenth_of_all_calls_broken_changes_nothing(
    tmp_path: Path, s3: S3Server, faulty_s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = [path for path in mixed_archive(tmp_path / "inputs").iterdir() if path.stem not in ("hearing", "empty")]
    for path in inputs:
        s3.client().upload_file(str(path), s3.bucket, f"{PREFIX}/incoming/2024-cv-1/{path.name}")
    taken_through(s3, tmp_path / "faultless")
    faultless, exports = products(s3), objects(s3, f"{PREFIX}/exports/")
    for folder in ("derived", "originals", "exports", "checkpoints", "results"):
        for name in objects(s3, f"{PREFIX}/{folder}/"):
            s3.client().delete_object(Bucket=s3.bucket, Key=f"{PREFIX}/{folder}/{name}")

    assert faulty_s3.proxy is not None
    monkeypatch.setattr("caseprep_pipelines.storage.s3.READ_TIMEOUT", 0.5)
    watch = Watch(s3, faulty_s3.proxy)
    faulty_s3.proxy.break_now_and_then(SEED, SHARE)
    pipeline = taken_through(faulty_s3, tmp_path / "faulty")

    assert set(faulty_s3.proxy.broken) == set(HOW), "every way was met"
    assert products(s3) == faultless
    assert objects(s3, f"{PREFIX}/exports/") == exports
    assert watch.half == []
    keys = registry.all_partitions(pipeline.catalog)
    assert watch.seen >= 2 * len(keys) * len(STAGES)
    done = progress.products(pipeline.catalog, keys)
    assert {key: sorted(stages) for key, stages in done.items()} == {key: sorted(NAMES) for key in keys}
    assert len(keys) == len(inputs)
    assert progress.faults(pipeline.catalog, keys) == {}
    assert {len(pipeline.products.versions(name, key)) for key in keys for name in NAMES} == {1}
    assert objects(s3, f"{PREFIX}/checkpoints/") == {}
