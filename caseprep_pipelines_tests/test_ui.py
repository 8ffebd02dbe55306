"""Dagster's UI as `make dev` opens it, in a real browser."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Error, Page, expect, sync_playwright

from caseprep_pipelines.assets import STAGES
from caseprep_pipelines.automation.intake import sha256_of
from caseprep_pipelines.demo import demo_recordings
from caseprep_pipelines.storage.keys import origin_digest_of_file, partition_key
from caseprep_pipelines_tests.conftest import COMMAND, environment

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
#: Where `make dev`'s pictures for the documentation go, when somebody asks for them.
PICTURES = os.environ.get("PICTURES")
MINUTE = 60_000
#: The graph of the stages; all assets together are shown as boxes, one for each group.
GRAPH = "locations/caseprep/asset-groups/recordings"

_SHORT = next(demo for demo in demo_recordings() if demo.path.name == "roadside-camera.mp4")
RECORDING = partition_key(_SHORT.matter, origin_digest_of_file(sha256_of(_SHORT.path)))

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason="Chromium is not installed"),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dev")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    port = free_port()
    log = (folder / "log").open("w")
    served = subprocess.Popen(
        [sys.executable, "-m", "caseprep_pipelines.dev", "--host", "127.0.0.1", "--port", str(port)],
        env=environment(folder), stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(served.pid, signal.SIGINT)
        try:
            served.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(served.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page(viewport={"width": 1500, "height": 900})
        page.set_default_timeout(2 * MINUTE)
        for _ in range(240):
            try:
                if page.request.get(f"{address}/server_info").ok:
                    break
            except Error:
                page.wait_for_timeout(500)
        yield page
        browser.close()


def picture(page: Page, name: str) -> None:
    if PICTURES:
        page.wait_for_timeout(3000)
        page.screenshot(path=Path(PICTURES) / f"{name}.png")


def test_one_recording_is_materialized_through_the_whole_graph(page: Page, address: str) -> None:
    page.goto(f"{address}/{GRAPH}")
    for stage in STAGES:
        expect(page.get_by_text(stage.name, exact=True).first).to_be_visible(timeout=2 * MINUTE)
    page.get_by_role("button", name="Materialize all").click()
    # closed popovers are dialogs too
    dialog = page.locator("[role=dialog][aria-modal=true]")
    dialog.get_by_text("Select a partition").click()
    page.get_by_text(RECORDING).locator("visible=true").first.click()
    dialog.get_by_text("Launch runs to materialize").click()
    dialog.get_by_role("button", name="Launch").click()
    expect(dialog).to_be_hidden(timeout=MINUTE)

    page.goto(f"{address}/assets/transcript_catalog?view=partitions&partition={RECORDING}")
    expect(page.get_by_text("Materialized (1)")).to_be_visible(timeout=10 * MINUTE)
    page.goto(f"{address}/{GRAPH}")
    expect(page.get_by_text("transcript_catalog", exact=True).first).to_be_visible(timeout=2 * MINUTE)
    picture(page, "asset-graph")
    page.goto(f"{address}/assets/speaker_turns?view=partitions&partition={RECORDING}")
    expect(page.get_by_text("waveform").first).to_be_visible(timeout=MINUTE)
    page.goto(f"{address}/assets/transcript?view=partitions&partition={RECORDING}")
    expect(page.get_by_text("utterances").first).to_be_visible(timeout=MINUTE)
    picture(page, "recording")


def test_the_upload_sensor_is_listed(page: Page, address: str) -> None:
    page.goto(f"{address}/automation")
    expect(page.get_by_text("upload_sensor").first).to_be_visible(timeout=MINUTE)


def materialized(page: Page, address: str, recording: str) -> int:
    """How many recordings the UI counts as catalogued."""
    page.goto(f"{address}/assets/transcript_catalog?view=partitions&partition={recording}")
    count = page.get_by_text(re.compile(r"^Materialized \(\d+\)$"))
    expect(count).to_be_visible(timeout=MINUTE)
    return int(count.inner_text().split("(")[1].rstrip(")"))


def test_two_commands_work_beside_the_ui_and_it_shows_what_they_did(page: Page, address: str, folder: Path) -> None:
    before = materialized(page, address, RECORDING)
    recordings = {demo.path.name: demo.path for demo in demo_recordings()}
    calls = {"phone-interview.wav": "2026-ui-1", "jail-call.mp3": "2026-ui-2"}
    commands = [
        subprocess.Popen(
            [COMMAND, "transcribe", recordings[name], "--matter", matter, "--out", folder / matter, "--json"],
            env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for name, matter in calls.items()
    ]  # fmt: skip
    ended = [(*command.communicate(timeout=600), command.returncode) for command in commands]
    assert [code for _, _, code in ended] == [0, 0], [errors for _, errors, _ in ended]
    for summary, _, _ in ended:
        (entry,) = json.loads(summary)
        assert entry["status"] == "done"
        assert materialized(page, address, entry["recording"]) == before + 2
        # figures of the recording that the address names: there are some only where it was materialized
        expect(page.get_by_text("utterances").first).to_be_visible(timeout=MINUTE)
