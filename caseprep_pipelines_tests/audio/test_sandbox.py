"""Whatever a file does to the process that reads it, the worker goes on."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import psutil
import pytest

from caseprep_pipelines.audio import sandbox
from caseprep_pipelines.audio.limits import Limits
from caseprep_pipelines.errors import Fault
from caseprep_pipelines.rejections import Reason, RejectedRecording
from caseprep_pipelines_tests.audio.media import tone, wav


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return wav(tmp_path / "x.wav", tone(500, -20, 2))


def child(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(sandbox, "_CHILD", (sys.executable, "-c", textwrap.dedent(code)))


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE])
def test_a_crash_of_the_decoder_is_the_recordings_fault(
    monkeypatch: pytest.MonkeyPatch, recording: Path, number: signal.Signals
) -> None:
    child(monkeypatch, f"import os; os.kill(os.getpid(), {int(number)})")
    with pytest.raises(RejectedRecording) as rejected:
        sandbox.run("probe", recording, Limits())
    assert rejected.value.reason == Reason.CORRUPT


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_being_ended_from_outside_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, recording: Path, number: signal.Signals
) -> None:
    child(monkeypatch, f"import os; os.kill(os.getpid(), {int(number)})")
    with pytest.raises(Fault, match=number.name):
        sandbox.run("probe", recording, Limits())


def test_ending_without_an_answer_is_a_fault(monkeypatch: pytest.MonkeyPatch, recording: Path) -> None:
    child(monkeypatch, "raise SystemExit(3)")
    with pytest.raises(Fault, match="exit code 3"):
        sandbox.run("probe", recording, Limits())


def test_standing_still_is_a_fault(monkeypatch: pytest.MonkeyPatch, recording: Path) -> None:
    others = psutil.Process().children()
    child(monkeypatch, "import sys; sys.stdin.read()")
    monkeypatch.setattr(sandbox, "STANDSTILL_SECONDS", 0.2)
    with pytest.raises(Fault, match="stood still"):
        sandbox.run("probe", recording, Limits())
    assert psutil.Process().children() == others


def test_more_memory_than_allowed_is_too_costly(recording: Path) -> None:
    with pytest.raises(RejectedRecording) as rejected:
        sandbox.run("probe", recording, Limits(decode_memory_bytes=20_000))
    assert rejected.value.reason == Reason.TOO_COSTLY_TO_DECODE


def test_more_processor_time_than_the_audio_is_worth_is_too_costly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hours_of_silence(tmp_path)
    child(
        monkeypatch,
        """
        from caseprep_pipelines.audio import child
        child.MIN_CPU_SECONDS = 1
        child.main()
        """,
    )
    with pytest.raises(RejectedRecording) as rejected:
        sandbox.run("decode", path, Limits(decode_speed_floor=1e9), folder=tmp_path)
    assert rejected.value.reason == Reason.TOO_COSTLY_TO_DECODE


def test_a_bug_is_reported_by_its_place_and_without_its_words(monkeypatch: pytest.MonkeyPatch, recording: Path) -> None:
    child(
        monkeypatch,
        """
        from caseprep_pipelines.audio import child, media
        def broken(*_):
            raise KeyError("Client Name")
        media.open_media = broken
        child.main()
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
            print(psutil.Process().children()[0].pid, flush=True)
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
