"""What holds for every engine."""

import subprocess
import sys

import pytest

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
