"""An image: a process that has imported what the image holds, and starts containers by forking itself.

Run as `python -m caseprep_pipelines_tests.cluster.image MODULE…`. Each line on standard input asks for one container,
each line on standard output tells of one that ended. A container gets its command line, environment and files as the
pod says; what it does not get again are the imports, which take longer than most steps.

Its files are a mount namespace of its own: the machine's, read-only where the pod says so, with the pod's volumes where
it mounts them. It keeps the user, the network and the process numbers of the tests.
"""

import contextlib
import ctypes
import importlib
import importlib.metadata
import json
import os
import runpy
import select
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

_LIBC = ctypes.CDLL(None, use_errno=True)
_NEWNS, _NEWUSER = 0x00020000, 0x10000000
_PDEATHSIG = 1
#: The project and what it stands on.
IMAGE = (str(Path(__file__).resolve().parents[2]), sys.prefix)
_RDONLY, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 32, 4096, 16384, 1 << 18


def serve(modules: list[str]) -> None:
    for module in modules:
        importlib.import_module(module)
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    names: dict[int, str] = {}
    buffered = b""
    _tell({"ready": True})
    while True:
        ready, _, _ = select.select([0, wake], [], [])
        if wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 1000)
            while names:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                _tell({"ended": names.pop(pid), "code": os.waitstatus_to_exitcode(status)})
        if 0 in ready:
            data = os.read(0, 1 << 20)
            if not data:
                break
            *lines, buffered = (buffered + data).split(b"\n")
            for line in lines:
                wanted = json.loads(line)
                pid = os.fork()
                if not pid:
                    _become(wanted)
                names[pid] = wanted["name"]
                _tell({"started": wanted["name"], "pid": pid})
    for pid in names:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _tell(what: dict[str, Any]) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def _become(wanted: dict[str, Any]) -> None:
    """Turns this process into the container; does not return."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        _LIBC.prctl(_PDEATHSIG, signal.SIGKILL)  # no container outlives its image, however the tests end
        log = os.open(wanted["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        null = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, null), (1, log), (2, log)):
            os.dup2(source, target)
        os.closerange(3, 1000)
        os.environ.clear()
        os.environ.update(wanted["env"])
        files(Path(wanted["root"]), wanted["mounts"], wanted["read_only"])
        for hidden in wanted["hidden"]:
            sys.modules[hidden] = None  # type: ignore[assignment]
        code = _run(wanted["command"])
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _run(command: list[str]) -> int:
    if command[:2] == ["tini", "--"]:
        command = command[2:]  # passes signals on and reaps, which is done here
    sys.argv = command
    if command[:2] == ["python", "-m"]:
        sys.argv = command[2:]
        runpy.run_module(command[2], run_name="__main__", alter_sys=True)
        return 0
    (program,) = importlib.metadata.entry_points(group="console_scripts", name=command[0]) or (None,)
    if program is None:
        os.execvp(command[0], command)  # noqa: S606
    returned = program.load()()
    return returned if isinstance(returned, int) else 0


def files(root: Path, mounts: list[dict[str, Any]], read_only: bool) -> None:
    """Gives this process files of its own: the machine's and, in their places, the mounts (`path`, `source`,
    `read_only`). `root` is an empty folder. Raises `OSError` where the system does not let us.
    """
    # the image itself, which a mount must not hide where all this happens to lie under its place, such as /tmp
    mounts = [
        *mounts,
        *(
            {"path": place, "source": place, "read_only": True}
            for place in IMAGE
            if any(Path(mount["path"]) in Path(place).parents for mount in mounts)
        ),
    ]
    user, group = os.getuid(), os.getgid()
    _checked(_LIBC.unshare(_NEWNS | (0 if user == 0 else _NEWUSER)))
    if user != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _mount(None, "/", None, _REC | _PRIVATE)
    _mount("tmpfs", root, b"tmpfs", 0)
    # a source may itself lie under a place that a mount hides, such as /tmp
    kept = []
    for number, mount in enumerate(mounts):
        holder = root / f".mount-{number}"
        holder.mkdir() if Path(mount["source"]).is_dir() else holder.touch()
        _mount(mount["source"], holder, None, _BIND | _REC)
        kept.append((holder, root / os.path.realpath(mount["path"]).lstrip("/"), mount["read_only"]))
    missing = [(holder, target) for holder, target, _ in kept if not (Path("/") / target.relative_to(root)).exists()]
    _copy(Path("/"), root, {target for _, target in missing})
    for holder, target in missing:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.mkdir(exist_ok=True) if holder.is_dir() else target.touch()
    if read_only:
        spared = tuple(f"{root}/{name}" for name in ("proc", "dev", ".mount"))
        for line in Path("/proc/self/mounts").read_text().splitlines():
            place = line.split(" ")[1].replace("\\040", " ")
            if (place == str(root) or place.startswith(f"{root}/")) and not place.startswith(spared):
                _mount(None, place, None, _REMOUNT | _BIND | _RDONLY)
    for holder, target, fixed in sorted(kept, key=lambda each: len(str(each[1]))):
        if not target.exists():  # inside another volume
            target.parent.mkdir(parents=True, exist_ok=True)
            target.mkdir() if holder.is_dir() else target.touch()
        _mount(holder, target, None, _BIND | _REC)
        if fixed:
            _mount(None, target, None, _REMOUNT | _BIND | _RDONLY)
    os.chroot(root)
    os.chdir("/")


def _copy(folder: Path, into: Path, missing: set[Path]) -> None:
    """Shows a folder's entries in another; one in which a place for a mount must be made is gone into."""
    for entry in folder.iterdir():
        shown = into / entry.name
        if entry.is_symlink():
            shown.symlink_to(entry.readlink())
        elif entry.is_dir():
            shown.mkdir()
            if any(shown in target.parents for target in missing):
                _copy(entry, shown, missing)
            else:
                _mount(entry, shown, None, _BIND | _REC)
        elif entry.is_file():
            shown.touch()
            _mount(entry, shown, None, _BIND)


def _mount(source: Any, target: Any, kind: bytes | None, flags: int) -> None:
    encoded = None if source is None else os.fsencode(source)
    _checked(_LIBC.mount(encoded, os.fsencode(target), kind, ctypes.c_ulong(flags), None), target)


def _checked(result: int, about: Any = None) -> None:
    if result:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), str(about))


if __name__ == "__main__":
    serve(sys.argv[1:])
