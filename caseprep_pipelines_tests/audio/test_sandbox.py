"""Whatever a file does to the process that reads it, the worker goes on."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from caseprep_pipelines.audio import sandbox
from caseprep_pipelines.audio.limits import Limits
from caseprep_pipelines.errors import Fault
from caseprep_pipelines.rejections import Reason, RejectedRecording
from caseprep_pipelines_tests.audio.media import noise, tone, wav


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return wav(tmp_path / "x.wav", tone(500, -20, 2))


@pytest.fixture(autouse=True)
def only_own_servers() -> Iterator[None]:
    sandbox.close_idle()
    yield
    sandbox.close_idle()


def child(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """The server with `code` run in it before it serves; a function `answer` there is what its children do."""
    text = textwrap.dedent(code)
    serve = "child._answer = globals().get('answer', child._answer)\nchild.main()"
    program = f"import os\nfrom caseprep_pipelines.audio import child, media\n{text}\n{serve}"
    monkeypatch.setattr(sandbox, "_CHILD", (sys.executable, "-c", program))


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE])
def test_a_crash_of_the_decoder_is_the_recordings_fault(
    monkeypatch: pytest.MonkeyPatch, recording: Path, number: signal.Signals
) -> None:
    child(monkeypatch, f"def answer(*_): os.kill(os.getpid(), {int(number)})")
    with pytest.raises(RejectedRecording) as rejected:
        sandbox.run("probe", recording, Limits())
    assert rejected.value.reason == Reason.CORRUPT


def test_a_crash_leaves_the_server_to_the_next_recording(monkeypatch: pytest.MonkeyPatch, recording: Path) -> None:
    child(
        monkeypatch,
        f"""
        def answer(request, *rest, right=child._answer):
            return os.kill(os.getpid(), {int(signal.SIGSEGV)}) if request["task"] == "decode" else right(request, *rest)
        """,
    )
    with pytest.raises(RejectedRecording):
        sandbox.run("decode", recording, Limits())
    server = psutil.Process().children()
    assert sandbox.run("probe", recording, Limits())["duration_seconds"] == 2
    assert psutil.Process().children() == server


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_being_ended_from_outside_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, recording: Path, number: signal.Signals
) -> None:
    child(monkeypatch, f"def answer(*_): os.kill(os.getpid(), {int(number)})")
    with pytest.raises(Fault, match=number.name):
        sandbox.run("probe", recording, Limits())


def test_ending_without_an_answer_is_a_fault(monkeypatch: pytest.MonkeyPatch, recording: Path) -> None:
    child(monkeypatch, "def answer(*_): os._exit(3)")
    with pytest.raises(Fault, match="exit code 3"):
        sandbox.run("probe", recording, Limits())


def test_a_server_that_cannot_start_is_a_fault(monkeypatch: pytest.MonkeyPatch, recording: Path) -> None:
    child(monkeypatch, "raise SystemExit(4)")
    with pytest.raises(Fault, match="exit code 4"):
        sandbox.run("probe", recording, Limits())


def test_standing_still_is_a_fault(monkeypatch: pytest.MonkeyPatch, recording: Path) -> None:
    others = psutil.Process().children()
    child(monkeypatch, "def answer(*_): import time; time.sleep(600)")
    monkeypatch.setattr(sandbox, "STANDSTILL_SECONDS", 0.2)
    with pytest.raises(Fault, match="stood still"):
        sandbox.run("probe", recording, Limits())
    assert psutil.Process().children() == others


def test_the_processor_time_of_children_is_counted_for_the_thread_that_asked(recording: Path, tmp_path: Path) -> None:
    before = sandbox.cpu_seconds()
    sandbox.run("decode", recording, Limits(), folder=tmp_path)
    here = sandbox.cpu_seconds()
    with ThreadPoolExecutor(1) as threads:
        elsewhere = threads.submit(sandbox.cpu_seconds).result()
    assert here > before
    assert elsewhere == 0


def test_more_memory_than_allowed_is_too_costly(tmp_path: Path) -> None:
    path = wav(tmp_path / "x.wav", noise(-20, 20))
    with pytest.raises(RejectedRecording) as rejected:
        sandbox.run("decode", path, Limits(decode_memory_bytes=20_000), folder=tmp_path)
    assert rejected.value.reason == Reason.TOO_COSTLY_TO_DECODE


def test_more_processor_time_than_the_audio_is_worth_is_too_costly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hours_of_silence(tmp_path)
    child(
        monkeypatch,
        """
        child.MIN_CPU_SECONDS = 1
        child._SEARCHED_BYTES_A_SECOND = 10**12
        """,
    )
    with pytest.raises(RejectedRecording) as rejected:
        sandbox.run("decode", path, Limits(decode_speed_floor=1e9), folder=tmp_path)
    assert rejected.value.reason == Reason.TOO_COSTLY_TO_DECODE


def test_a_bug_is_reported_by_its_place_and_without_its_words(monkeypatch: pytest.MonkeyPatch, recording: Path) -> None:
    child(
        monkeypatch,
        """
        def broken(*_):
            raise KeyError("Client Name")
        media.open_media = broken
        """,
    )
    with pytest.raises(Fault, match="KeyError in") as fault:
        sandbox.run("probe", recording, Limits())
    assert "Client" not in str(fault.value)


def test_the_child_sees_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert "secret" not in sandbox._environment().values()


def test_a_callers_error_ends_the_child(tmp_path: Path) -> None:
    others = psutil.Process().children()

    def stop(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sandbox.run("decode", hours_of_silence(tmp_path), Limits(), folder=tmp_path, progress=stop)
    assert psutil.Process().children() == others


def test_the_child_ends_with_its_parent(tmp_path: Path) -> None:
    path = hours_of_silence(tmp_path)
    script = """
        import sys
        from pathlib import Path
        import psutil
        from caseprep_pipelines.audio import sandbox
        from caseprep_pipelines.audio.limits import Limits
        def report(_):
            print(psutil.Process().children(recursive=True)[-1].pid, flush=True)
        sandbox.run("decode", Path(sys.argv[1]), Limits(), folder=Path(sys.argv[2]), progress=report)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(path), str(tmp_path)], stdout=subprocess.PIPE
    )
    with parent:
        assert parent.stdout is not None
        decoder = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    _, alive = psutil.wait_procs([decoder], timeout=30)
    assert not alive


def hours_of_silence(folder: Path) -> Path:
    path = wav(folder / "hours.wav", np.zeros(16, np.float32))
    length = 10 * 3600 * 32_000
    data = bytearray(path.read_bytes())
    data[40:44] = length.to_bytes(4, "little")
    path.write_bytes(data)
    os.truncate(path, 44 + length)
    return path
