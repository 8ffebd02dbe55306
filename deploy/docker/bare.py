"""Takes the tools out of a Debian root file system: shells, package managers, Perl, everything in bin but two programs.

What stays in place is the package manager's list of what was installed, so that scanners still know. `tail` stays
because Dagster shows a step's output with it, `tini` because it is every container's first process.
"""

import compileall
import py_compile
import shutil
from pathlib import Path

KEPT = {"tini", "tail"}
FOLDERS = ("/usr/share/doc", "/usr/share/man", "/usr/share/perl", "/usr/share/perl5", "/usr/lib/apt", "/var/lib/apt",
           "/var/cache", "/var/log", "/usr/lib/dpkg", "/usr/local/include", "/build")  # fmt: skip


def main() -> None:
    for folder in FOLDERS:
        shutil.rmtree(folder, ignore_errors=True)
    for folder in Path("/usr/lib").glob("*/perl*"):
        shutil.rmtree(folder, ignore_errors=True)
    for library in Path("/usr/local/lib").glob("python3.*"):
        for name in ("ensurepip", "idlelib", "test", "tkinter", "turtledemo", "lib2to3"):
            shutil.rmtree(library / name, ignore_errors=True)
        for pip in (library / "site-packages").iterdir():
            shutil.rmtree(pip, ignore_errors=True)
        # the base image leaves Python's own modules uncompiled, and a read-only root would compile them at every start
        compileall.compile_dir(library, quiet=1, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    for folder in ("/usr/bin", "/usr/sbin", "/bin", "/sbin"):
        if Path(folder).is_symlink():
            continue
        for program in Path(folder).iterdir():
            if program.name not in KEPT:
                program.unlink()
    for program in Path("/usr/local/bin").iterdir():
        if not program.name.startswith("python3") or "config" in program.name:
            program.unlink()


if __name__ == "__main__":
    main()
