import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from caseprep_pipelines import large_pages
from caseprep_pipelines_tests.conftest import COMMAND
from caseprep_pipelines_tests.deploy.rendering import ROOT

OFFERED = Path("/sys/kernel/mm/transparent_hugepage/enabled")

#: Takes 64 MB from the C library, writes into all of it, and says how much of this process's memory is large pages.
TAKEN = """
import ctypes
malloc, memset = ctypes.CDLL(None).malloc, ctypes.CDLL(None).memset
malloc.restype = ctypes.c_void_p
memset(ctypes.c_void_p(malloc(64 << 20)), 1, 64 << 20)
(line,) = (line for line in open("/proc/self/smaps_rollup") if line.startswith("AnonHugePages"))
print(int(line.split()[1]) // 1024)
"""

glibc = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="only glibc takes the variable"
)


def said(code: str, *arguments: str, **environment: str) -> str:
    own = {name: value for name, value in os.environ.items() if name != large_pages.VARIABLE}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=own | environment, check=True, capture_output=True, text=True).stdout


@glibc
def test_a_program_that_asks_for_large_pages_has_them_from_then_on() -> None:
    if not OFFERED.exists() or "[never]" in OFFERED.read_text():
        pytest.skip("this system gives nobody large pages")
    before = "from caseprep_pipelines.large_pages import for_this_process; for_this_process()"
    assert int(said(before + TAKEN)) >= 60


@glibc
def test_it_is_started_anew_once_with_the_same_arguments() -> None:
    code = "from caseprep_pipelines.large_pages import for_this_process; import sys; print(len(sys.argv), flush=True);"
    assert said(code + "for_this_process(); print(sys.argv[1:])", "a b", "--c").splitlines() == [
        "3",
        "3",
        "['a b', '--c']",
    ]


def test_what_somebody_chose_stays() -> None:
    code = "from caseprep_pipelines.large_pages import for_this_process; import os; for_this_process();"
    assert said(code + "print(os.environ['GLIBC_TUNABLES'])", GLIBC_TUNABLES="glibc.malloc.check=1").split() == [
        "glibc.malloc.check=1"
    ]


@glibc
def test_runs_of_the_code_location_have_them() -> None:
    """A run's process is started by the code location's."""
    code = "import caseprep_pipelines.definitions as d, os; d.defs(); print(os.environ['GLIBC_TUNABLES'])"
    assert said(code).split() == [large_pages.LARGE]


def test_the_images_have_them() -> None:
    assert f"{large_pages.VARIABLE}={large_pages.LARGE}" in (ROOT / "deploy/docker/Dockerfile").read_text()


def test_the_command_is_the_one_that_asks() -> None:
    assert "caseprep_pipelines.__main__" in COMMAND.read_text()
