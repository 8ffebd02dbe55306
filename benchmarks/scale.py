"""How long the UI's pages, `caseprep status` and the catalog take with 100,000 recordings, on PostgreSQL and SQLite.

Every recording went through all stages, so that there are 700,000 materializations and as many run records; one in
fifty was rejected, one in a hundred failed since. Transcripts have five utterances each, fewer than real ones. The
UI's queries are those that its pages send, to a real web server with a code location of its own.
"""

import json
import socket
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks import Result
from benchmarks.common import clean_environment, registered, run_watched, running, stage_names, tool
from caseprep_pipelines_tests.postgres_server import running_server

RECORDINGS = 100_000
MATTERS = 500
UTTERANCES = 5
_AT_ONCE = 10_000


def run(recordings: int = RECORDINGS) -> Result:
    figures: dict[str, float | str] = {"recordings": recordings}
    with tempfile.TemporaryDirectory() as name, running_server() as server:
        for database in ("postgresql", "sqlite"):
            folder = Path(name) / database
            postgres = (server.new_database(), server.new_database()) if database == "postgresql" else None
            with clean_environment(folder) as environment:
                with registered(folder, environment, _new(recordings), postgres) as (pipeline, instance, keys):
                    _fill_catalog(pipeline.catalog, keys)
                    _fill_dagster(instance, keys)
                    found = _catalog(pipeline.catalog) | _commands(environment, keys)
                found |= _pages(folder, environment, keys)
            figures |= {f"{database}_{what}": value for what, value in found.items()}
    return Result(ratios={}, figures=figures)


def _new(count: int) -> list[Any]:
    from caseprep_pipelines.catalog.registry import NewRecording

    return [
        NewRecording(
            f"2019-cv-{n % MATTERS:05}", f"hearing {n:06}.mp3", f"s3://evidence/{n:06}.mp3",
            sha256(str(n).encode()).hexdigest(), size_bytes=10_000_000 + n,
        )
        for n in range(count)
    ]  # fmt: skip


def _commands(environment: dict[str, str], keys: list[str]) -> dict[str, float | str]:
    """What commands take, with the two or three seconds in which any of them starts."""
    middle = len(keys) // 2
    found: dict[str, float | str] = {}
    for name, arguments in {
        "status": ["status"],
        "status_failed": ["status", "--only", "failed"],
        "status_matter": ["status", "--matter", "2019-cv-00007"],
        "status_recording": ["status", keys[middle]],
        "status_name": ["status", f"hearing {middle:06}"],
        "status_json": ["status", "--json"],
        "search": ["search", '"exhibit four"'],
        "report": ["report"],
        "archive_plan": ["archive", "plan"],
    }.items():
        # status ends with 1 where something failed
        command = ["sh", "-c", '"$@"; test $? -le 1', "sh", tool("caseprep"), *arguments]
        seconds, largest, _ = run_watched(command, environment)
        found[f"{name}_seconds"] = round(seconds, 1)
        if name in ("status", "status_json", "report"):
            found[f"{name}_peak_mb"] = round(largest)
        print(name, found[f"{name}_seconds"], file=sys.stderr)
    return found


def _fill_catalog(catalog: Any, keys: list[str]) -> None:
    from sqlalchemy import insert, text

    from caseprep_pipelines.catalog import tables

    now, count = datetime.now(UTC), len(keys)
    matters = [f"2019-cv-{n % MATTERS:05}" for n in range(count)]

    def rows_of(make: Callable[[int], dict[str, Any]], numbers: range = range(count)) -> Iterator[list[dict[str, Any]]]:
        for start in range(numbers.start, numbers.stop, _AT_ONCE * numbers.step):
            yield [make(n) for n in range(start, min(numbers.stop, start + _AT_ONCE * numbers.step), numbers.step)]

    def product(stage: str) -> Callable[[int], dict[str, Any]]:
        return lambda n: {
            "partition": keys[n], "stage": stage, "version": "000001-0", "digest": "0" * 64, "code_version": "c",
            "inputs": '{"source_recording": "' + "0" * 64 + '"}', "rejected": n % 50 == 0, "run_id": "r", "at": now,
        }  # fmt: skip

    def stage_run(stage: str) -> Callable[[int], dict[str, Any]]:
        gpu = 60.0 if stage in ("raw_transcript", "speaker_turns") else 0.0
        return lambda n: {
            "partition": keys[n], "stage": stage, "version": "000001-0", "matter": matters[n], "run_id": "r",
            "started": now - timedelta(days=n % 90), "wall_seconds": gpu or 5.0, "cpu_seconds": 5.0,
            "gpu_seconds": gpu, "audio_seconds": None if stage == "source_recording" else 2400.0, "device": "cpu",
            "rejected": n % 50 == 0,
        }  # fmt: skip

    def transcript(n: int) -> dict[str, Any]:
        return {
            "partition": keys[n], "version": "000001-0", "matter": matters[n], "digest": "0" * 64, "current": True,
            "adopted": False, "demo": False, "duration_seconds": 2400.0, "languages": "en",
            "transcription_model": "m", "transcription_model_digest": "0" * 64, "speakers": 2,
            "utterances": UTTERANCES, "words": 50, "flagged_utterances": 0, "unspoken_spans": 0,
            "loaded_at": now - timedelta(days=n % 90) + timedelta(hours=3),
        }  # fmt: skip

    def utterance(index: int) -> Callable[[int], dict[str, Any]]:
        def made(n: int) -> dict[str, Any]:
            said = f"please look at exhibit {'four' if n % 1000 == 0 else 'two'} number {n} and {index}"
            return {
                "partition": keys[n], "version": "000001-0", "matter": matters[n], "index": index, "speaker": "S0",
                "channel": 0, "start": index * 5.0, "end": index * 5.0 + 4, "text": said, "flags": "",
                "search_words": said,
            }  # fmt: skip

        return made

    with catalog.writing() as session:
        for stage in stage_names():
            for rows in rows_of(product(stage)):
                session.execute(insert(tables.StageProduct), rows)
            for rows in rows_of(stage_run(stage)):
                session.execute(insert(tables.StageRun), rows)
        for rows in rows_of(transcript):
            session.execute(insert(tables.TranscriptVersion), rows)
        for index in range(UTTERANCES):
            for rows in rows_of(utterance(index)):
                session.execute(insert(tables.UtteranceRow), rows)
        for rows in rows_of(
            lambda n: {
                "partition": keys[n],
                "stage": "normalized_audio",
                "reason": "no-audio-stream",
                "detail": "",
                "at": now,
            },
            range(0, count, 50),
        ):
            session.execute(insert(tables.RejectionRow), rows)
        for rows in rows_of(
            lambda n: {"partition": keys[n], "stage": "transcript_exports", "kind": "Fault",
                       "message": "the disk is full", "attempts": 1, "first_at": now, "last_at": now},
            range(1, count, 100),
        ):  # fmt: skip
            session.execute(insert(tables.FaultRow), rows)
        if not catalog.is_sqlite:
            session.execute(text("ANALYZE"))


def _fill_dagster(instance: Any, keys: list[str]) -> None:
    """One materialization of each recording by every stage, copied from a first one that Dagster wrote."""
    import dagster as dg
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events
    from sqlalchemy import insert, select

    for stage in stage_names():
        metadata = {"version": "000001-0", "audio_duration_seconds": 2400.0}
        instance.report_runless_asset_event(
            dg.AssetMaterialization(dg.AssetKey(stage), partition=keys[0], metadata=metadata)
        )
        with instance.event_log_storage.index_connection() as connection:
            first = connection.execute(select(Events).order_by(Events.c.id.desc()).limit(1)).mappings().one()
            row = {name: value for name, value in first.items() if name != "id"}
            for start in range(1, len(keys), _AT_ONCE):
                rows = [
                    {**row, "event": row["event"].replace(keys[0], key), "partition": key}
                    for key in keys[start : start + _AT_ONCE]
                ]
                connection.execute(insert(Events), rows)
            connection.commit()


def _catalog(catalog: Any) -> dict[str, float | str]:
    from caseprep_pipelines.catalog import frames, progress, waiting
    from caseprep_pipelines.catalog.search import search

    calls: dict[str, Callable[[], object]] = {
        "search_rare": lambda: search(catalog, '"exhibit four"'),
        "search_in_every_transcript": lambda: search(catalog, "exhibit"),
        "search_in_a_matter": lambda: search(catalog, "exhibit", "2019-cv-00007"),
        "frame_of_recordings": lambda: frames.recordings(catalog),
        "frame_of_outcomes": lambda: frames.outcomes(catalog),
        "frame_of_a_matters_utterances": lambda: frames.utterances(catalog, "2019-cv-00007"),
        "waiting": lambda: waiting.waiting(catalog, "priority", limit=5000),
        "unfinished": lambda: progress.unfinished(catalog, "transcript_catalog", 5000),
    }
    found: dict[str, float | str] = {}
    for name, call in calls.items():
        started = time.perf_counter()
        call()
        found[f"{name}_seconds"] = round(time.perf_counter() - started, 2)
        print(name, found[f"{name}_seconds"], file=sys.stderr)
    return found


#: What the UI asks for, by page. The first time, Dagster reads all events of the asset into its own cache.
PAGES = {
    "asset_graph": """query AssetGraphLiveQuery($assetKeys: [AssetKeyInput!]!) {
        assetNodes(assetKeys: $assetKeys, loadMaterializations: true) {
          id opNames assetMaterializations(limit: 1) { timestamp runId }
          partitionStats { numMaterialized numMaterializing numPartitions numFailed }
          assetChecksOrError { ... on AssetChecks { checks { name executionForLatestMaterialization { id status } } } }
        }
        assetsLatestInfo(assetKeys: $assetKeys) { id unstartedRunIds inProgressRunIds latestRun { id } }
      }""",
    "asset_page": """query AssetViewDefinitionQuery($assetKey: AssetKeyInput!) {
        assetOrError(assetKey: $assetKey) { ... on Asset {
          id assetMaterializations(limit: 1) { timestamp runId }
          definition { id groupName partitionKeysByDimension { name } }
        } }
      }""",
    "partitions_tab": """query PartitionHealthQuery($assetKey: AssetKeyInput!) {
        assetNodeOrError(assetKey: $assetKey) { ... on AssetNode {
          id partitionKeysByDimension { name type partitionKeys }
          assetPartitionStatuses {
            ... on DefaultPartitionStatuses { materializedPartitions materializingPartitions failedPartitions }
          }
        } }
      }""",
    "partition": """query AssetPartitionDetailQuery($assetKey: AssetKeyInput!, $partitionKey: String!) {
        assetOrError(assetKey: $assetKey) { ... on Asset {
          id definition { id opNames latestRunForPartition(partition: $partitionKey) { id status endTime } }
          assetEventHistory(
            partitions: [$partitionKey] limit: 1000
            eventTypeSelectors: [MATERIALIZATION, OBSERVATION, FAILED_TO_MATERIALIZE]
          ) { results { ... on MaterializationEvent { runId timestamp metadataEntries { label } } } }
        } }
      }""",
}


def _pages(folder: Path, environment: dict[str, str], keys: list[str]) -> dict[str, float | str]:
    asked: dict[str, Any] = {
        "assetKeys": [{"path": [stage]} for stage in stage_names()],
        "assetKey": {"path": ["transcript"]},
        "partitionKey": keys[len(keys) // 2],
    }
    found: dict[str, float | str] = {}
    with _web_server(folder, environment) as address:
        for page, query in PAGES.items():
            variables = {name: value for name, value in asked.items() if f"${name}:" in query}
            body = json.dumps({"query": query, "variables": variables}).encode()
            for call in ("first", "again"):
                request = urllib.request.Request(f"{address}/graphql", body, {"Content-Type": "application/json"})  # noqa: S310
                started = time.perf_counter()
                with urllib.request.urlopen(request, timeout=600) as response:  # noqa: S310
                    answer = response.read()
                found[f"ui_{page}_{call}_seconds"] = round(time.perf_counter() - started, 2)
            if "errors" in json.loads(answer):
                sys.exit(f"the web server answered {page} with {answer[:500].decode()}")
            found[f"ui_{page}_mb"] = round(len(answer) / 1e6, 1)
            print(page, found[f"ui_{page}_first_seconds"], found[f"ui_{page}_again_seconds"], file=sys.stderr)
    return found


@contextmanager
def _web_server(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [tool("dagster-webserver"), "-h", "127.0.0.1", "-p", str(port), "-m", "caseprep_pipelines.definitions"]
    with running(command, environment, folder / "web-server.log") as served:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{address}/server_info", timeout=10).close()  # noqa: S310
                break
            except OSError:
                if served.poll() is not None or time.monotonic() > deadline:
                    sys.exit("the web server does not come up")
                time.sleep(0.5)
        yield address
