"""What the images hold and how soon they work: size, the code location, a CPU step's start against bare imports.

The speech images are installed too, which takes 9 GB of disk for a while, and take a recording through the whole graph.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import yaml

from benchmarks import Result
from caseprep_pipelines.demo import demo_recordings
from caseprep_pipelines_tests.deploy.image_steps import TMP, Image, build, python_bytes, size, variables_of
from caseprep_pipelines_tests.deploy.rendering import ROOT

RUNS = 5
IMPORTS = "import dagster, dagster_aws.s3, dagster_k8s"

#: Makes a run of one CPU step and prints its id, and the command that a step pod of it would execute.
PREPARE = """
import json, sys
import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._grpc.types import ExecuteStepArgs

repository = ReconstructableRepository.for_module("caseprep_pipelines.definitions", "defs")
job = repository.get_reconstructable_job("__ASSET_JOB")
stage = dg.AssetKey("source_recording")
with dg.DagsterInstance.get() as instance:
    instance.add_dynamic_partitions("recordings", ["nobody-000000000000"])
    run = instance.create_run_for_job(
        job.get_definition().get_subset(asset_selection={stage}), asset_selection={stage},
        tags={"dagster/partition": "nobody-000000000000"}, job_code_origin=job.get_python_origin(),
    )
    step = ExecuteStepArgs(job.get_python_origin(), run.run_id, ["source_recording"], instance.get_ref())
    print(json.dumps([run.run_id, list(step.get_command_args())]))
"""

#: Prints when the step's body began.
BEGAN = """
import sys
import dagster as dg

with dg.DagsterInstance.get() as instance:
    (record,) = instance.get_records_for_run(sys.argv[1], of_type=dg.DagsterEventType.STEP_START).records
    print(record.timestamp)
"""

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: u, user: {}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
"""


def run() -> Result:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "image").mkdir()
        image = build("slim", folder / "image")
        ready = []
        for _ in range(RUNS):
            served = image.serve(folder / "log")
            ready.append(served.seconds)
            served.stop()
        environment = _home(folder)
        (folder / "speech").mkdir()
        speech = build("speech", folder / "speech")
        _transcribe(speech)
        # by turns: the disk is still busy with what was installed when the first ones run
        pairs = [(_seconds(image, environment), _step_start(image, environment)) for _ in range(RUNS)]
        imports, steps = zip(*pairs, strict=True)
        return Result(
            ratios={"step_start_vs_imports": round(median(steps) / median(imports), 2)},
            figures={
                "slim_installed_mb": round(size(image.prefix) / 1e6),
                "python_mb": round(python_bytes() / 1e6),
                "speech_installed_mb": round(size(speech.prefix) / 1e6),
                "code_location_ready_seconds": round(median(ready), 2),
                "imports_seconds": round(median(imports), 2),
                "step_start_seconds": round(median(steps), 2),
            },
        )


def _transcribe(speech: Image) -> None:
    """A recording from the package's own, on a read-only root, by another user."""
    recording = speech.installed(next(demo.path for demo in demo_recordings() if demo.status == "done"))
    command = ["caseprep", "transcribe", str(recording), "--out", f"{TMP}/out", "--json"]
    done = speech.run([*command, "--model", "demo", "--diarization", "demo"], **variables_of("cpu-speech"))
    if done.returncode or json.loads(done.stdout)[0]["status"] != "done":
        sys.exit(f"the speech image transcribes nothing: {done.stdout[-3000:]}{done.stderr[-3000:]}")


def _home(folder: Path) -> dict[str, str]:
    """A DAGSTER_HOME as in a cluster but for its database, a file: the same packages are imported."""
    home = folder / "home"
    home.mkdir()
    configuration = yaml.safe_load((ROOT / "deploy/kubernetes/base/dagster.yaml").read_text())
    del configuration["storage"]
    (home / "kubeconfig").write_text(KUBECONFIG)
    launcher = configuration["run_launcher"]["config"]
    launcher |= {"load_incluster_config": False, "kubeconfig_file": str(home / "kubeconfig")}
    configuration["compute_logs"]["config"]["local_dir"] = str(home)
    configuration["local_artifact_storage"]["config"]["base_dir"] = str(home)
    (home / "dagster.yaml").write_text(yaml.safe_dump(configuration))
    return {
        "PATH": os.environ["PATH"], "HOME": str(folder), "DAGSTER_HOME": str(home), "CASEPREP_DAGSTER_HOME": str(home),
        "CASEPREP_STORAGE": str(folder / "storage"), "DAGSTER_COMPUTE_LOG_BUCKET": "bucket",
        "CASEPREP_KUBERNETES_NAMESPACE": "caseprep", "CASEPREP_EXECUTOR": "kubernetes", "CASEPREP_GPU_IMAGE": "gpu",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1", "DAGSTER_DISABLE_TELEMETRY": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip


def _python(image: Image, code: str, environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [str(image.prefix / "bin/python"), "-c", code, *arguments],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return done.stdout


def _seconds(image: Image, environment: dict[str, str]) -> float:
    started = time.perf_counter()
    _python(image, IMPORTS, environment)
    return time.perf_counter() - started


def _step_start(image: Image, environment: dict[str, str]) -> float:
    """Seconds from the start of a step pod's process until the step's body, by the event that marks it."""
    run_id, (program, *arguments) = json.loads(_python(image, PREPARE, environment))
    started = time.time()
    subprocess.run(
        [str(image.prefix / "bin" / Path(program).name), *arguments],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return float(_python(image, BEGAN, environment, run_id)) - started
