"""`caseprep models`, as somebody at a terminal or a script sees it."""

import os
import pty
import subprocess
from pathlib import Path

from caseprep_pipelines_tests.conftest import COMMAND, caseprep, environment
from caseprep_pipelines_tests.models.made import make_whisper


def test_a_model_that_nobody_pinned_is_no_failure_and_is_told_with_what_to_do(tmp_path: Path) -> None:
    cached = tmp_path / "hub" / "models--Systran--faster-whisper-tiny"
    make_whisper(cached / "snapshots" / "c0ffee")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("c0ffee")
    own = environment(tmp_path, HF_HUB_CACHE=str(tmp_path / "hub"))
    verified = caseprep(["models", "verify"], own)
    assert verified.returncode == 0
    assert "Systran/faster-whisper-tiny: not pinned" in verified.stdout
    assert "caseprep models fetch Systran/faster-whisper-tiny" in verified.stdout


def test_a_pinned_model_whose_bytes_differ_is_a_failure(tmp_path: Path) -> None:
    own = environment(tmp_path)
    assert caseprep(["models", "fetch", make_whisper(tmp_path / "ours")], own).returncode == 0
    assert caseprep(["models", "verify"], own).returncode == 0
    weights = tmp_path / "models" / "ours" / "model.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    verified = caseprep(["models", "verify"], own)
    assert verified.returncode == 1
    assert "ours: model.bin is not the file that was pinned" in verified.stdout


def test_a_fetch_tells_how_far_it_is_in_plain_lines_where_nobody_watches(tmp_path: Path) -> None:
    fetched = caseprep(["models", "fetch", make_whisper(tmp_path / "ours", bytes(300_000))], environment(tmp_path))
    assert fetched.stdout.startswith(f"{tmp_path / 'ours'} is in ")
    assert "\x1b" not in fetched.stderr
    assert "0.3 of 0.3 MB" in fetched.stderr.splitlines()[-1]


def test_a_fetch_draws_a_bar_on_a_terminal(tmp_path: Path) -> None:
    terminal, side = pty.openpty()
    own = environment(tmp_path, TERM="xterm", COLUMNS="100")
    command = [COMMAND, "models", "fetch", make_whisper(tmp_path / "ours", bytes(300_000))]
    fetched = subprocess.run(command, env=own, stdout=subprocess.PIPE, stderr=side, timeout=60)
    os.close(side)
    shown = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert fetched.returncode == 0
    assert "fetching" in shown
    assert "━" in shown
