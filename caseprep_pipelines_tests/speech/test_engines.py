"""What holds for every engine."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from caseprep_pipelines.speech.engines import gpu_bytes

#: Fills many small blocks of memory, frees all but a few, so that the C library keeps what it has, and gives back.
FREED = """
import psutil
from caseprep_pipelines.speech.engines import give_back_memory
blocks = [bytearray(50_000) for _ in range(8_000)]
full = psutil.Process().memory_info().rss
blocks = blocks[::1000]
give_back_memory()
print(full - psutil.Process().memory_info().rss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has a way to ask for it")
def test_finished_work_gives_its_memory_back() -> None:
    said = subprocess.run([sys.executable, "-c", FREED], check=True, capture_output=True, text=True)
    assert int(said.stdout) > 300_000_000


def test_a_share_of_the_gpus_memory_is_asked_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    shares: list[float] = []
    # what only a GPU answers
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", shares.append)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=16 * 2**30))
    assert gpu_bytes(0.25) == 4 * 2**30
    assert shares == [0.25]


def test_no_engine_leaves_an_identity_of_this_machine_behind(tmp_path: Path) -> None:
    listen = """
import numpy as np
from caseprep_pipelines.speech.voice_activity import speech_probabilities
[part] = speech_probabilities([np.zeros(16_000, dtype=np.float32)])
assert len(part)
"""
    own = {name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")}
    subprocess.run([sys.executable, "-c", listen], check=True, env={**own, "HOME": str(tmp_path)})
    assert [path.name for path in tmp_path.rglob("*") if "microsoft" in str(path).lower()] == []
