"""The code location: what Dagster shows of it, and what loading it costs."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from syrupy.assertion import SnapshotAssertion

from caseprep_pipelines.assets import STAGES, batches
from caseprep_pipelines.definitions import build_defs
from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.settings import read_settings
from caseprep_pipelines_tests.conftest import environment


@pytest.fixture
def defs(tmp_path: Path) -> dg.Definitions:
    return build_defs(read_settings(storage=str(tmp_path / "storage"), model="demo", diarization="demo"))


def test_the_graph_is_the_design(defs: dg.Definitions, snapshot: SnapshotAssertion) -> None:
    graph = defs.resolve_asset_graph()
    shown = {
        key.to_user_string(): {
            "after": sorted(parent.to_user_string() for parent in graph.get(key).parent_keys),
            "group": graph.get(key).group_name,
            "kinds": sorted(kind for kind in graph.get(key).kinds or ()),
            "owners": sorted(graph.get(key).owners),
            "pools": sorted(graph.get(key).pools or ()),
            "partitions": str(graph.get(key).partitions_def),
            "runs of": getattr(graph.get(key).backfill_policy, "max_partitions_per_run", None),
            "checks": sorted(check.name for check in graph.get(key).check_keys),
        }
        for key in graph.get_all_asset_keys()
    }
    assert shown == snapshot


def test_every_asset_says_what_it_is(defs: dg.Definitions) -> None:
    for spec in defs.resolve_all_asset_specs():
        assert spec.description
        assert spec.owners
        assert spec.kinds
        assert spec.code_version


def test_every_stages_batch_is_a_setting(tmp_path: Path) -> None:
    settings = read_settings(storage=str(tmp_path), stage_batches="raw_transcript=7, speaker_turns=1")
    graph = build_defs(settings).resolve_asset_graph()
    shown = {key.path[-1]: graph.get(key).backfill_policy for key in graph.get_all_asset_keys()}
    runs_of = {name: policy.max_partitions_per_run for name, policy in shown.items() if policy}
    assert runs_of == batches(settings)
    assert runs_of == {**batches(read_settings(storage=str(tmp_path))), "raw_transcript": 7, "speaker_turns": 1}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("raw_transcript=40", "raw_transcript and speaker_turns would both have 40"),
        ("transcripts=7", "no stage transcripts"),
        ("raw_transcript=0", "raw_transcript=100"),
        ("raw_transcript", "raw_transcript=100"),
    ],
)
def test_batches_that_cannot_work_are_refused_with_their_variable(tmp_path: Path, wrong: str, said: str) -> None:
    """With equal ones Dagster merges stages into one run, where one failure fails what follows for all."""
    with pytest.raises(ConfigurationError, match="CASEPREP_STAGE_BATCHES") as caught:
        build_defs(read_settings(storage=str(tmp_path), stage_batches=wrong))
    assert said in str(caught.value)


def test_every_stages_own_batch_is_documented() -> None:
    documented = (Path(__file__).parent.parent / "docs" / "architecture.md").read_text()
    assert ", ".join(f"{stage.name} {stage.batch}" for stage in STAGES) in " ".join(documented.split()).replace("`", "")


def test_models_and_settings_that_shape_products_are_in_the_code_version(tmp_path: Path) -> None:
    def versions(**overrides: object) -> dict[str, str]:
        settings = read_settings(storage=str(tmp_path), model="demo", diarization="demo", **overrides)
        return {stage.name: stage.code_version(settings) for stage in STAGES}

    usual, wider = versions(), versions(beam_size=8)
    assert {name for name in usual if usual[name] != wider[name]} == {"raw_transcript"}
    assert {name for name in usual if usual[name] != versions(max_speakers=3)[name]} == {"speaker_turns"}
    assert {name for name in usual if usual[name] != versions(formats="txt")[name]} == {"transcript_exports"}


def test_an_archive_can_be_split_over_code_locations(tmp_path: Path) -> None:
    settings = read_settings(storage=str(tmp_path), asset_key_prefix="court/2019", partition_set="recordings-2019")
    graph = build_defs(settings).resolve_asset_graph()
    keys = graph.get_all_asset_keys()
    assert {tuple(key.path[:2]) for key in keys} == {("court", "2019")}
    assert graph.get(dg.AssetKey(["court", "2019", "transcript"])).parent_keys <= keys


def test_definitions_load_without_the_engines_and_the_cloud(tmp_path: Path) -> None:
    heavy = ("torch", "pyannote", "ctranslate2", "faster_whisper", "dagster_aws", "dagster_k8s", "boto3", "matplotlib")
    code = (
        "import sys, caseprep_pipelines.definitions as d; d.defs();"
        f"print(*[name for name in {heavy!r} if name in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment(tmp_path)
    )
    assert loaded.stdout.strip() == ""


def test_definitions_load_before_any_model_is_fetched(tmp_path: Path) -> None:
    settings = read_settings(storage=str(tmp_path), models_directory=tmp_path / "none", model="large-v3-turbo")
    shown = {spec.key.path[-1] for spec in build_defs(settings).resolve_all_asset_specs()}
    assert shown == {*(stage.name for stage in STAGES), "archive_report"}


def test_loading_warns_of_nothing(tmp_path: Path) -> None:
    """What Dagster warns of when it loads a code location, a person reads at every start."""
    loading = "import caseprep_pipelines.definitions as d; d.defs().get_repository_def().get_all_jobs()"
    loaded = subprocess.run(
        [sys.executable, "-W", "always", "-c", loading], capture_output=True, text=True, env=environment(tmp_path)
    )
    assert loaded.returncode == 0
    assert "BackfillPolic" not in loaded.stderr
    assert "PreviewWarning" not in loaded.stderr
