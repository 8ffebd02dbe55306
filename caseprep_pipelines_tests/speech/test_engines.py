"""What holds for every engine."""

import subprocess
import sys
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
