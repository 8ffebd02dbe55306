"""An original is read once, judged before it is believed, and left alone."""

import hashlib
import resource
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from caseprep_pipelines.audio import register as module
from caseprep_pipelines.audio.limits import Limits
from caseprep_pipelines.audio.register import Digests, read_original, scan
from caseprep_pipelines.errors import ConfigurationError, Fault
from caseprep_pipelines.rejections import Reason, RejectedRecording
from caseprep_pipelines_tests.audio.conftest import registered
from caseprep_pipelines_tests.audio.media import tone, wav


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return wav(tmp_path / "x.wav", tone(500, -20, 2), tone(700, -20, 2))


@pytest.fixture
def scanner(tmp_path: Path) -> Callable[[str], str]:
    def write(body: str) -> str:
        script = tmp_path / "scanner"
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        return f"'{script}' --quiet"

    return write


def test_a_registered_recording_says_what_was_received(recording: Path) -> None:
    source = registered(recording)
    data = recording.read_bytes()
    assert source.sha256 == hashlib.sha256(data).hexdigest()
    assert source.md5 == hashlib.md5(data).hexdigest()  # noqa: S324
    assert source.size_bytes == len(data)
    assert (source.container, source.channels, source.duration_seconds) == ("wav", 2, 2.0)
    assert not source.has_video
    assert source == type(source).from_bytes(source.to_bytes())


def test_the_copy_is_made_in_the_same_pass(tmp_path: Path, recording: Path) -> None:
    copy = tmp_path / "copy"
    registered(recording, copy_to=copy)
    assert copy.read_bytes() == recording.read_bytes()


def test_an_empty_file_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "x.wav").touch()
    with pytest.raises(RejectedRecording) as rejected:
        registered(tmp_path / "x.wav")
    assert rejected.value.reason == Reason.EMPTY


def test_a_file_larger_than_allowed_is_rejected_unread(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "read_original", lambda *_: pytest.fail("it was read"))
    with pytest.raises(RejectedRecording) as rejected:
        registered(recording, Limits(max_recording_bytes=1000))
    assert rejected.value.reason == Reason.TOO_LARGE


def test_a_file_that_vanished_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="gone"):
        registered(tmp_path / "x.wav")


@pytest.mark.parametrize("change", ["grows", "is replaced"])
def test_a_file_that_changes_while_it_is_read_is_rejected(
    tmp_path: Path, recording: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    digest = module._digest

    def digest_and_change(*arguments: object) -> Digests:
        digests = digest(*arguments)  # type: ignore[arg-type]
        if change == "grows":
            with recording.open("ab") as file:
                file.write(b"more")
        else:
            other = tmp_path / "other"
            other.write_bytes(recording.read_bytes())
            other.replace(recording)
        return digests

    monkeypatch.setattr(module, "_digest", digest_and_change)
    with pytest.raises(RejectedRecording) as rejected:
        read_original(recording, tmp_path / "copy")
    assert rejected.value.reason == Reason.CHANGED_DURING_READING
    assert not (tmp_path / "copy").exists()


def test_a_file_that_changes_after_it_was_hashed_is_rejected(recording: Path, scanner: Callable[[str], str]) -> None:
    with pytest.raises(RejectedRecording) as rejected:
        registered(recording, scanner_command=scanner('echo more >> "$2"'))
    assert rejected.value.reason == Reason.CHANGED_DURING_READING


def test_a_file_that_vanishes_before_it_is_opened_for_content_is_a_fault(
    recording: Path, scanner: Callable[[str], str]
) -> None:
    with pytest.raises(Fault):
        registered(recording, scanner_command=scanner('rm "$2"'))


def test_a_full_disk_under_the_copy_is_a_fault(tmp_path: Path, recording: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(Fault, match="free space"):
            read_original(recording, tmp_path / "copy")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "copy").exists()


def test_a_scanner_that_accepts(recording: Path, scanner: Callable[[str], str]) -> None:
    assert registered(recording, scanner_command=scanner('test "$1" = --quiet && test -f "$2"')).channels == 2


def test_a_scanner_that_refuses_leaves_no_copy(tmp_path: Path, recording: Path, scanner: Callable[[str], str]) -> None:
    with pytest.raises(RejectedRecording) as rejected:
        registered(recording, scanner_command=scanner("exit 1"), copy_to=tmp_path / "copy")
    assert rejected.value.reason == Reason.SCANNER_REFUSED
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("body", ["exit 2", "kill -9 $$"])
def test_a_scanner_that_fails_is_a_fault(recording: Path, scanner: Callable[[str], str], body: str) -> None:
    with pytest.raises(Fault):
        scan(recording, scanner(body))


@pytest.mark.parametrize("command", ["/does/not/exist", "'unbalanced"])
def test_a_scanner_that_cannot_be_run_is_a_configuration_error(recording: Path, command: str) -> None:
    with pytest.raises(ConfigurationError, match="CASEPREP_SCANNER_COMMAND"):
        scan(recording, command)


def test_a_name_that_looks_like_an_option_is_a_file_to_the_scanner(
    tmp_path: Path, recording: Path, scanner: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recording.rename(tmp_path / "-rf")
    scan(Path("-rf"), scanner('test -f "$2"'))
