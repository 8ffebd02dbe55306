"""The graph on a cluster: uploads go through it as pods, and what befalls pods and nodes ends as a person expects.

One deployment, as it ships. First an upload of two recordings, during which the GPU node of one step is emptied and
that of its second attempt is lost; then the rest of the demo archive, during which the other GPU stage loses its node;
then one run that a person cancels; and one in which everything goes wrong. The tests look at what became of them.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import dagster as dg
import jiwer
import kubernetes_validate
import pytest

from caseprep_pipelines.assets import STAGES
from caseprep_pipelines.catalog import loading, progress, registry
from caseprep_pipelines.catalog.database import open_catalog
from caseprep_pipelines.demo import demo_recordings
from caseprep_pipelines_tests.cluster.deployment import GPU, Deployment, running_deployment
from caseprep_pipelines_tests.cluster.kubernetes_server import Json, until
from caseprep_pipelines_tests.postgres_server import PostgresServer
from caseprep_pipelines_tests.s3_server import ENVIRONMENT, S3Server
from caseprep_pipelines_tests.spoken import bare

#: The last four.
VERSIONS = ("1.34", "1.35", "1.36", "1.37")

pytestmark = pytest.mark.postgres

GPU_STAGES = ("raw_transcript", "speaker_turns")
TWO_CHANNELS, REJECTED = "jail-call.mp3", "hallway-camera-without-sound.mp4"


@pytest.fixture(scope="module")
def deployment(postgres_server: PostgresServer, s3_address: tuple[str, int]) -> Iterator[Deployment]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        for name in [name for name in os.environ if name.startswith(("CASEPREP_", "DAGSTER_"))]:
            patch.delenv(name)
        s3 = S3Server(f"http://{s3_address[0]}:{s3_address[1]}", "cluster")
        s3.client().create_bucket(Bucket=s3.bucket)
        with running_deployment(postgres_server, s3) as running:
            running.migrate()
            running.start("caseprep-code", "code-server.yaml")
            running.start("caseprep-daemon", "daemon.yaml")
            until(running.serving, "the code server answers", 120)
            until(lambda: running.cluster.images[GPU].ready, "the GPU nodes have their image", 180)
            yield running
            assert running.cluster.refused == []


@dataclass
class Uploaded:
    runs: dict[str, str]
    """Of each recording."""
    partitions: dict[str, str]
    saved: list[int]
    """How much the step had put away when it left its first node, and when it lost its second."""


@pytest.fixture(scope="module")
def uploaded(deployment: Deployment) -> Uploaded:
    cluster, hold = deployment.cluster, deployment.holds / "raw_transcript"
    hold.touch()
    deployment.upload(TWO_CHANNELS, REJECTED)
    deployment.turn_on("upload_sensor")
    runs = until(lambda: (found := deployment.runs()) and len(found) == 2 and found, "both recordings have a run", 60)
    catalog = open_catalog(deployment.catalog_url)
    rows = registry.recordings(catalog, [run.tags["dagster/partition"] for run in runs])
    catalog.close()
    partitions = {row.name: partition for partition, row in rows.items()}
    by_name = {name: next(r.run_id for r in runs if r.tags["dagster/partition"] == p) for name, p in partitions.items()}
    run = by_name[TWO_CHANNELS]

    until(lambda: deployment.saved("raw_transcript"), "the step has put something away", 120)
    cluster.add_node("gpu-2", pool="gpu", gpus=1)
    cluster.drain_node("gpu-1")
    hold.unlink()
    until(lambda: not running(deployment, run, "raw_transcript"), "the step has left the node", 60)
    first = len(deployment.saved("raw_transcript"))

    hold.touch()
    until(lambda: len(deployment.saved("raw_transcript")) > first, "the step has gone on in another pod", 120)
    second = len(deployment.saved("raw_transcript"))
    cluster.add_node("gpu-3", pool="gpu", gpus=1)
    cluster.lose_node("gpu-2")
    hold.unlink()
    for each in by_name.values():
        deployment.ended(each, 180)
    return Uploaded(by_name, partitions, [first, second])


@dataclass
class WholeArchive:
    partitions: dict[str, str]
    """Of every recording that ships."""
    runs: list[str]
    """Those that took up the second upload."""
    lost: str
    """The one whose speakers were being told apart when the node was lost."""


@pytest.fixture(scope="module")
def archive(deployment: Deployment, uploaded: Uploaded) -> WholeArchive:
    """Everything else that ships, in the same bucket."""
    cluster, hold = deployment.cluster, deployment.holds / "speaker_turns"
    before = {run.run_id for run in deployment.runs()}
    hold.touch()
    deployment.upload(*(demo.path.name for demo in demo_recordings() if demo.path.name not in uploaded.partitions))

    def telling_apart() -> list[Json]:
        pods = cluster.pods(dagster__op="speaker_turns")
        return deployment.saved("speaker_turns") and [pod for pod in pods if pod["status"]["phase"] == "Running"]

    (pod,) = until(telling_apart, "speakers are being told apart", 180)
    cluster.add_node("gpu-4", pool="gpu", gpus=1)
    cluster.lose_node(pod["spec"]["nodeName"])
    hold.unlink()
    catalog = open_catalog(deployment.catalog_url)
    last, count = STAGES[-1].name, len(list(demo_recordings()))

    def catalogued() -> bool:
        keys = deployment.instance.get_dynamic_partitions("recordings")
        return sum(last in stages for stages in progress.products(catalog, keys).values()) == count

    until(catalogued, "all recordings are in the catalog", 300)
    rows = registry.recordings(catalog, deployment.instance.get_dynamic_partitions("recordings"))
    catalog.close()
    runs = [run.run_id for run in deployment.runs() if run.run_id not in before]
    for run in runs:
        deployment.ended(run)
    lost = pod["metadata"]["labels"]["dagster/run-id"]
    return WholeArchive({row.name: partition for partition, row in rows.items()}, runs, lost)


def running(deployment: Deployment, run: str, step: str) -> list[Json]:
    pods = deployment.cluster.pods(dagster__run_id=run, dagster__op=step)
    return [pod for pod in pods if pod["status"]["phase"] == "Running"]


def placed(deployment: Deployment) -> list[SimpleNamespace]:
    """Every step's every pod: its run, step and node, in the order in which they were placed."""
    jobs = {job["metadata"]["name"]: job["metadata"]["labels"] for job in deployment.cluster.created}
    found = []
    for node, pod, total in deployment.cluster.history:
        labels = jobs.get(pod.rpartition("-")[0], {})
        if "dagster/op" in labels:
            found.append(
                SimpleNamespace(run=labels["dagster/run-id"], step=labels["dagster/op"], node=node, total=total)
            )
    return found


def test_uploads_go_through_the_whole_graph_on_the_cluster(deployment: Deployment, uploaded: Uploaded) -> None:
    for name, run in uploaded.runs.items():
        assert deployment.ended(run).status == dg.DagsterRunStatus.SUCCESS, f"{name}\n{deployment.said(run)}"
    listed = deployment.s3.client().list_objects_v2(Bucket=deployment.s3.bucket, Prefix="some/prefix/exports/")
    names = [each["Key"] for each in listed["Contents"]]
    assert any(name.endswith("transcript.json") and uploaded.partitions[TWO_CHANNELS] in name for name in names)
    catalog = open_catalog(deployment.catalog_url)
    rejected = loading.rejections(catalog, list(uploaded.partitions.values()))
    catalog.close()
    assert set(rejected) == {uploaded.partitions[REJECTED]}


def test_the_whole_demo_archive_ends_on_the_cluster_as_it_should(deployment: Deployment, archive: WholeArchive) -> None:
    partitions, expected = archive.partitions, {demo.path.name: demo for demo in demo_recordings()}
    assert partitions.keys() == expected.keys()
    for run in archive.runs:
        assert deployment.ended(run).status == dg.DagsterRunStatus.SUCCESS, deployment.said(run)
    catalog = open_catalog(deployment.catalog_url)
    rejected = loading.rejections(catalog, list(partitions.values()))
    made = progress.products(catalog, list(partitions.values()))
    catalog.close()
    assert {name: set(made[partition]) for name, partition in partitions.items()} == {
        name: {stage.name for stage in STAGES} for name in expected
    }
    assert {name for name, partition in partitions.items() if partition in rejected} == {
        name for name, demo in expected.items() if demo.status == "rejected"
    }
    client, prefix = deployment.s3.client(), "some/prefix/exports/"
    keys = [each["Key"] for each in client.list_objects_v2(Bucket=deployment.s3.bucket, Prefix=prefix)["Contents"]]
    for name, demo in expected.items():
        if demo.reference is None:
            continue
        (document,) = [key for key in keys if key.endswith("transcript.json") and f"/{partitions[name]}/" in key]
        transcript = json.loads(client.get_object(Bucket=deployment.s3.bucket, Key=document)["Body"].read())
        heard = " ".join(word["text"] for each in transcript["utterances"] for word in each["words"])
        spoken = " ".join(said["words"] for said in json.loads(demo.reference.read_text()))
        # those who speak at once may be told in another order
        assert jiwer.wer(bare(spoken), bare(heard)) < 0.2, name


def test_speakers_too_are_told_apart_on_another_node_when_theirs_is_lost(
    deployment: Deployment, archive: WholeArchive
) -> None:
    nodes = [pod.node for pod in placed(deployment) if (pod.run, pod.step) == (archive.lost, "speaker_turns")]
    assert nodes == ["gpu-3", "gpu-4"]
    assert "its pod is gone, as when its node is taken away" in deployment.said(archive.lost)


def test_gpu_steps_run_on_gpu_nodes_and_no_others_do(deployment: Deployment, archive: WholeArchive) -> None:
    for pod in placed(deployment):
        assert pod.node.startswith("gpu" if pod.step in GPU_STAGES else "cpu"), pod


def test_no_node_is_given_more_than_it_has(deployment: Deployment, archive: WholeArchive) -> None:
    """All recordings want the one GPU at once."""
    assert all(total.get("nvidia.com/gpu", 0) <= 1 for _, _, total in deployment.cluster.history)


def test_a_step_goes_on_in_another_pod_when_its_node_is_emptied_and_when_it_is_lost(
    deployment: Deployment, uploaded: Uploaded
) -> None:
    run = uploaded.runs[TWO_CHANNELS]
    nodes = [pod.node for pod in placed(deployment) if (pod.run, pod.step) == (run, "raw_transcript")]
    assert nodes == ["gpu-1", "gpu-2", "gpu-3"]
    assert "The step was told to stop with its pod; it goes on in another one." in deployment.said(run)
    assert "its pod is gone, as when its node is taken away" in deployment.said(run)
    # what the first attempt put away was there for the second, and so on
    assert 0 < uploaded.saved[0] < uploaded.saved[1]


def test_every_job_is_one_that_kubernetes_takes(deployment: Deployment, uploaded: Uploaded) -> None:
    assert deployment.cluster.created
    for job in deployment.cluster.created:
        for version in VERSIONS:
            kubernetes_validate.validate(job, version, strict=True)


def test_steps_may_not_ask_kubernetes_for_anything(deployment: Deployment, uploaded: Uploaded) -> None:
    jobs = [job for job in deployment.cluster.created if "dagster/op" in job["metadata"]["labels"]]
    assert jobs
    for job in jobs:
        spec = job["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        assert spec["automountServiceAccountToken"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
    # and what the others ask is what their roles say: nothing was refused
    assert {caller for caller, *_ in deployment.cluster.requests} <= {"caseprep-run", "caseprep-daemon"}
    assert deployment.cluster.refused == []


@dataclass
class Canceled:
    run: str
    partition: str
    saved: int
    """How much the step had put away when a person canceled its run."""


@pytest.fixture(scope="module")
def canceled(deployment: Deployment, archive: WholeArchive) -> Canceled:
    """A run that a person stops from the webserver's page while its transcription is under way."""
    deployment.start("caseprep-webserver", "web/webserver.yaml")
    until(lambda: deployment.serving("caseprep-webserver"), "the webserver answers", 120)
    hold, known = deployment.holds / "raw_transcript", {run.run_id for run in deployment.runs()}
    hold.touch()
    deployment.upload(TWO_CHANNELS, matter="2026-cv-00777")
    (run,) = until(lambda: [run for run in deployment.runs() if run.run_id not in known], "the upload has a run", 60)
    saved = until(lambda: deployment.saved("raw_transcript"), "the step has put something away", 120)
    deployment.cancel(run.run_id)
    deployment.ended(run.run_id)
    hold.unlink()
    return Canceled(run.run_id, run.tags["dagster/partition"], len(saved))


def test_a_run_that_a_person_cancels_ends_with_its_pods(deployment: Deployment, canceled: Canceled) -> None:
    assert deployment.ended(canceled.run).status == dg.DagsterRunStatus.CANCELED
    until(lambda: not unfinished(deployment, canceled.run), "none of its pods is left", 60)
    callers = {caller for caller, verb, _ in deployment.cluster.requests if verb == "delete"}
    assert "caseprep-webserver" in callers


def test_the_next_run_goes_on_where_a_canceled_one_was(deployment: Deployment, canceled: Canceled) -> None:
    until(lambda: not unfinished(deployment, canceled.run), "none of its pods is left", 60)
    hold = deployment.holds / "raw_transcript"
    hold.touch()
    assert len(deployment.saved("raw_transcript")) >= canceled.saved
    run = deployment.launch(canceled.partition, {"raw_transcript": {}})
    until(lambda: len(deployment.saved("raw_transcript")) > canceled.saved, "the step has gone on", 120)
    hold.unlink()
    assert deployment.ended(run).status == dg.DagsterRunStatus.SUCCESS, deployment.said(run)


def unfinished(deployment: Deployment, *runs: str) -> list[str]:
    return [
        pod["metadata"]["name"]
        for run in runs
        for pod in deployment.cluster.pods(dagster__run_id=run)
        if pod["status"]["phase"] in ("Pending", "Running")
    ]


@dataclass
class Troubled:
    evicted: str
    """The run whose worker was evicted."""
    again: str
    """The run that took its place."""


@pytest.fixture(scope="module")
def troubled(deployment: Deployment, uploaded: Uploaded, archive: WholeArchive) -> Troubled:
    settings = deployment.cluster.objects["configmaps", "caseprep", "caseprep-settings"]["data"]
    settings["CASEPREP_PENDING_MINUTES"] = "0.3"
    little = {"memory": "20Mi"}
    run = deployment.launch(
        uploaded.partitions[TWO_CHANNELS],
        {
            "normalized_audio": {"container_config": {"resources": {"requests": little, "limits": little}}},
            "transcript_exports": {"pod_spec_config": {"node_selector": {"caseprep.io/pool": "nowhere"}}},
            "transcript_catalog": {"container_config": {"image": "nobody/has-this:1"}},
        },
        priority=10,
    )
    until(lambda: len(deployment.cluster.pods(dagster__run_id=run)) == 4, "the run and its steps have pods", 60)
    pods = deployment.cluster.pods(dagster__run_id=run)
    (worker,) = [pod for pod in pods if "dagster/op" not in pod["metadata"]["labels"]]
    deployment.cluster.evict(worker)
    deployment.ended(run, 60)
    again = until(lambda: deployment.runs(tags={"dagster/parent_run_id": run}), "the run is started again", 90)
    deployment.ended(again[0].run_id, 150)
    return Troubled(run, again[0].run_id)


def test_a_run_whose_worker_is_evicted_says_so_and_is_started_again(deployment: Deployment, troubled: Troubled) -> None:
    assert deployment.ended(troubled.evicted).status == dg.DagsterRunStatus.FAILURE
    assert "The node was low on resource: memory" in deployment.said(troubled.evicted)


@pytest.mark.parametrize(
    "why",
    [
        "normalized_audio: .*needed more memory than its limit of 20Mi and was killed",
        "transcript_exports: .*no node that takes pods carries caseprep.io/pool=nowhere",
        "transcript_catalog: .*its image nobody/has-this:1 cannot be pulled",
    ],
)
def test_a_step_that_cannot_run_fails_with_a_reason(deployment: Deployment, troubled: Troubled, why: str) -> None:
    assert deployment.ended(troubled.again).status == dg.DagsterRunStatus.FAILURE
    assert re.search(why, deployment.said(troubled.again)), deployment.said(troubled.again)


def test_a_step_that_was_given_up_waits_like_any_fault(
    deployment: Deployment, uploaded: Uploaded, troubled: Troubled
) -> None:
    deployment.ended(troubled.again)
    catalog = open_catalog(deployment.catalog_url)
    found = progress.faults(catalog, [uploaded.partitions[TWO_CHANNELS]])[uploaded.partitions[TWO_CHANNELS]]
    catalog.close()
    assert set(found) == {"normalized_audio", "transcript_exports", "transcript_catalog"}


def test_what_goes_first_in_the_queue_goes_first_on_the_nodes(
    deployment: Deployment, uploaded: Uploaded, troubled: Troubled
) -> None:
    def classes(run: str) -> set[str]:
        return {
            job["spec"]["template"]["spec"]["priorityClassName"]
            for job in deployment.cluster.created
            if job["metadata"]["labels"].get("dagster/run-id") == run and "dagster/op" in job["metadata"]["labels"]
        }

    assert classes(uploaded.runs[TWO_CHANNELS]) == {"caseprep-normal"}
    assert classes(troubled.again) == {"caseprep-rush"}


def test_nothing_is_left_that_could_still_begin(deployment: Deployment, troubled: Troubled) -> None:
    runs = (troubled.evicted, troubled.again)
    until(lambda: not unfinished(deployment, *runs), "no pod of the failed runs is left", 30)


def test_no_word_of_a_transcript_is_in_a_log(deployment: Deployment, archive: WholeArchive) -> None:
    client, prefix = deployment.s3.client(), "some/prefix/exports/"
    keys = [each["Key"] for each in client.list_objects_v2(Bucket=deployment.s3.bucket, Prefix=prefix)["Contents"]]
    documents = [key for key in keys if key.endswith("transcript.json")]
    said = []
    for document in documents:
        transcript = json.loads(client.get_object(Bucket=deployment.s3.bucket, Key=document)["Body"].read())
        said += [" ".join(word["text"] for word in each["words"][:4]) for each in transcript["utterances"]]
    logs = "\n".join(path.read_text(errors="replace") for path in deployment.cluster.folder.glob("pods/*/log"))
    assert said
    assert logs
    assert not [line for line in said if line in logs]
