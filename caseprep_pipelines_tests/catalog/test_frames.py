"""The frames that the data team reads."""

import pandas as pd

from caseprep_pipelines.catalog import frames, loading, progress, registry
from caseprep_pipelines.catalog.database import Catalog
from caseprep_pipelines.rejections import REMEDIES, Reason, Rejection
from caseprep_pipelines_tests.catalog.examples import recording, sha, transcript


def filled(catalog: Catalog) -> list[str]:
    new = [recording("a.mp3", "m1"), recording("b.mp3", "m2"), recording("c.mp3", "m2")]
    keys = [r.partition for r in registry.register(catalog, new, "test")]
    loading.load_transcript(catalog, transcript(keys[0], "Yes.", "No.", matter="m1"), "000001-a", sha("1"))
    loading.load_transcript(catalog, transcript(keys[1], "Maybe.", matter="m2"), "000001-b", sha("2"))
    reason = Reason.EMPTY
    loading.record_rejection(
        catalog, Rejection(partition=keys[2], stage="source_recording", reason=reason, remedy=REMEDIES[reason])
    )
    record = {"run_id": "r", "started": "2024-05-01T12:00:00+00:00", "wall_seconds": 2.0, "cpu_seconds": 1.0,
              "gpu_seconds": 2.0, "audio_seconds": 60.0, "device": "NVIDIA L4", "batch_size": 8}  # fmt: skip
    product = {"version": "000001-a", "digest": sha("1"), "code_version": "", "inputs": {}, "rejected": False}
    progress.record_product(catalog, keys[0], "raw_transcript", run_id="r", record=record, **product)
    return keys


def test_each_table_is_a_frame(catalog: Catalog) -> None:
    keys = filled(catalog)
    recordings = frames.recordings(catalog)
    assert list(recordings["partition"]) == keys
    assert "location" not in recordings
    assert recordings["size_bytes"].sum() == 3000
    assert list(frames.transcripts(catalog)["words"]) == [2, 1]
    utterances = frames.utterances(catalog)
    assert sorted(utterances["text"]) == ["Maybe.", "No.", "Yes."]
    assert utterances["end_seconds"].sub(utterances["start_seconds"]).sum() == 12
    assert frames.rejections(catalog)[["matter", "reason"]].values.tolist() == [["m2", "empty"]]
    assert frames.stage_runs(catalog)[["stage", "gpu_seconds", "device"]].values.tolist() == [
        ["raw_transcript", 2.0, "NVIDIA L4"]
    ]


def test_frames_of_one_matter_hold_nothing_of_another(catalog: Catalog) -> None:
    keys = filled(catalog)
    for frame in (frames.recordings, frames.transcripts, frames.utterances, frames.rejections, frames.stage_runs):
        assert set(frame(catalog, "m1").get("matter")) <= {"m1"}
    assert list(frames.utterances(catalog, partition=keys[0])["text"]) == ["Yes.", "No."]


def test_empty_frames_have_the_same_columns_and_types(catalog: Catalog) -> None:
    every = (frames.recordings, frames.transcripts, frames.utterances, frames.rejections, frames.stage_runs)
    empty = [frame(catalog) for frame in every]
    filled(catalog)
    for before, frame in zip(empty, every, strict=True):
        assert before.empty
        pd.testing.assert_series_equal(before.dtypes, frame(catalog).dtypes)
    assert str(empty[0].dtypes["registered_at"]) == "datetime64[us, UTC]"
