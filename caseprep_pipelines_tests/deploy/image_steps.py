"""Performs the Dockerfile's own steps on this machine, and runs what came of them as a container would.

The commands are read from the Dockerfile; only its folders are replaced by ours. Used by the tests of `slim` and by the
benchmark, which also measures the speech images.
"""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from caseprep_pipelines_tests.deploy.rendering import ROOT

DOCKERFILE = ROOT / "deploy/docker/Dockerfile"
SLIM_LIMIT = 900e6
#: The user in the images, and the only places where it can write.
USER = 10001
TMP, HOME = "/tmp", "/opt/dagster/home"  # noqa: S108 - the image's own


def uv() -> str:
    """The installer that `make` put into the checkout, or one on the PATH."""
    own = ROOT / ".tools/uv/bin/uv"
    return str(own) if own.exists() else str(shutil.which("uv"))


def run_steps(stage: str) -> list[str]:
    """The shell commands of a stage's RUN lines, in order."""
    return _instructions(stage, "RUN")


def variables_of(stage: str) -> dict[str, str]:
    """What a stage's own ENV lines set."""
    words = [word for line in _instructions(stage, "ENV") for word in shlex.split(line)]
    return dict(word.split("=", 1) for word in words)


def _instructions(stage: str, name: str) -> list[str]:
    text = re.sub(r"(?m)^\s*#.*\n", "", DOCKERFILE.read_text())
    stages = re.split(r"(?m)^FROM ", text)
    (body,) = (part for part in stages if re.match(rf"\S+ AS {stage}\n", part))
    return [re.sub(r"\s*\\\n\s*", " ", found) for found in re.findall(rf"(?m)^{name} ((?:.*\\\n)*.*)$", body)]


@cache
def isolating() -> tuple[str, ...] | None:
    """A prefix that gives a command its own mounts, None where the system lets nobody make them."""
    command = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    if not shutil.which("unshare"):
        return None
    tried = subprocess.run([*command, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True)
    return tuple(command) if tried.returncode == 0 else None


def python() -> Path:
    """This Python without an environment around it, which another user may run."""
    return Path(os.path.realpath(sys.executable))


def isolated(arguments: Sequence[str], variables: Mapping[str, str], folder: Path, *, writable: bool) -> list[str]:
    """The command in a root of its own, as another user where this is root.

    The root holds the system's libraries, Python and `folder`, all read-only but /tmp and Dagster's home, and `folder`
    where it is `writable`.
    """
    prefix = isolating()
    assert prefix is not None
    bound = [(Path("/usr"), False), (Path("/etc"), False), (folder, writable)]
    if not python().is_relative_to("/usr"):
        bound.append((python().parents[1], False))
    lines = ['root="$(mktemp -d)"', 'mount -t tmpfs -o mode=755 tmpfs "$root"', 'cd "$root"', "mkdir tmp"]
    lines += [f"mount -t tmpfs -o mode=1777 tmpfs {TMP[1:]}", "mkdir -p opt/dagster/home dev proc tools"]
    lines += ["mount -t tmpfs -o mode=1777 tmpfs opt/dagster/home", "ln -s /usr/bin/tail tools/tail"]
    lines += ["mount --rbind /dev dev", "mount --rbind /proc proc"]
    for name in ("bin", "sbin", "lib", "lib64"):
        lines.append(f"[ -L /{name} ] && ln -s usr/{name} {name} || true")
    for path, write in bound:
        target = shlex.quote(str(path).lstrip("/"))
        lines.append(f"mkdir -p {target} && mount --bind {shlex.quote(str(path))} {target}")
        if not write:
            lines.append(f"mount -o remount,bind,ro {target}")
    lines += ["mount -o remount,ro .", 'exec chroot . "$@"']
    script = "set -e\n" + "\n".join(lines)
    user = [f"--reuid={USER}", f"--regid={USER}", "--clear-groups"] if os.geteuid() == 0 else ["--inh-caps=-all"]
    settings = [f"{name}={value}" for name, value in variables.items()]
    inside = ["/usr/bin/setpriv", *user, "/usr/bin/env", "-i", "-C", TMP, *settings, *arguments]
    return [*prefix, "/bin/sh", "-c", script, "sh", *inside]


@dataclass(frozen=True)
class Image:
    prefix: Path
    """What is /opt/caseprep in the image."""

    def installed(self, file: Path) -> Path:
        """Where a file of the package lies in the image."""
        return self.prefix / "lib" / python().name / "site-packages" / file.relative_to(ROOT)

    def command(self, arguments: Sequence[str], environment: dict[str, str]) -> list[str]:
        """The command as it would run in a pod: another user, a read-only root, nothing on the PATH but the image's."""
        variables = {
            **variables_of("runtime"), "PATH": f"{self.prefix}/bin:/tools", "DAGSTER_HOME": HOME,
            "CASEPREP_DAGSTER_HOME": HOME, "CASEPREP_STORAGE": f"{TMP}/storage", **environment,
        }  # fmt: skip
        if isolating() is not None:
            return isolated(arguments, variables, self.prefix, writable=False)
        # no mounts: what was installed has lost its right to be written, and nobody has a home
        home = tempfile.mkdtemp(prefix="caseprep-home-")
        variables |= {"PATH": f"{self.prefix}/bin:/usr/bin", "DAGSTER_HOME": home, "CASEPREP_DAGSTER_HOME": home}
        return ["env", "-i", "-C", "/", *(f"{name}={value}" for name, value in variables.items()), *arguments]

    def run(self, arguments: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(arguments, environment), capture_output=True, text=True, timeout=300, cwd="/"
        )

    def serve(self, log: Path) -> "Served":
        """The code location, as the pod of the code server runs it."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        arguments = ["dagster", "api", "grpc", "--host", "127.0.0.1", "--port", str(port)]
        arguments += ["--module-name", "caseprep_pipelines.definitions", "--location-name", "caseprep"]
        started = time.perf_counter()
        with log.open("w") as output:
            process = subprocess.Popen(
                self.command(arguments, {}), stdout=output, stderr=subprocess.STDOUT, cwd="/", start_new_session=True
            )
        served = Served(process, port)
        while time.perf_counter() - started < 120:
            if process.poll() is not None:
                raise AssertionError(log.read_text()[-3000:])
            if served.answers():
                return Served(process, port, time.perf_counter() - started)
            time.sleep(0.02)
        served.stop()
        raise AssertionError(f"no answer within two minutes: {log.read_text()[-3000:]}")


@dataclass(frozen=True)
class Served:
    process: "subprocess.Popen[bytes]"
    port: int
    seconds: float = 0.0
    """From the command until it answered that it serves."""

    def answers(self) -> bool:
        """As the kubelet's gRPC probe asks."""
        import grpc
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        with grpc.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(service="DagsterApi"), timeout=5
                )
            except grpc.RpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, 15)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, 9)


def build(stage: str, folder: Path) -> Image:
    """Performs the RUN steps of the stages `build` and `build-STAGE` in a clean folder."""
    source = folder / "build"
    _copy_context(source)
    prefix, tools = folder / "caseprep", folder / "tools"
    variables = {
        "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "UV_LINK_MODE": "copy", "UV_PYTHON_DOWNLOADS": "never",
        "HOME": str(folder / "home"), "UV_CACHE_DIR": str(folder / "cache"),
    }  # fmt: skip
    # where this machine's packages come from is its own affair
    variables |= {n: v for n, v in os.environ.items() if re.match(r"(?i)(UV_|PIP_|SSL_|REQUESTS_|https?_|no_)", n)}
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", f"{USER}:{USER}", str(folder)], check=True)
    for step in [*run_steps("build"), *run_steps(f"build-{stage}")]:
        command = step.replace("/opt/caseprep", str(prefix)).replace("/opt/tools", str(tools))
        command = command.replace("/usr/local/bin/python3", str(python())).replace(
            " tools.lock", " deploy/docker/tools.lock"
        )
        command = re.sub(r"(^|&& )python ", rf"\1{python()} ", command)
        shell = ["/bin/sh", "-c", f"cd {shlex.quote(str(source))} && {command}"]
        if isolating() is not None:
            done = subprocess.run(isolated(shell, variables, folder, writable=True), capture_output=True, text=True)
        else:
            done = subprocess.run(shell, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    if isolating() is None:
        subprocess.run(["chmod", "-R", "a-w", str(prefix)], check=True)
    return Image(prefix)


def _copy_context(target: Path) -> None:
    """What .dockerignore lets through, which is all that the builder sees."""
    names = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    target.mkdir()
    for name in names:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            shutil.copy(ROOT / name, target / name)


def size(folder: Path) -> int:
    """Bytes of all files, links not followed."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_symlink() or path.is_file())


def python_bytes() -> int:
    """Python's own library, without what `bare.py` takes away: the other half of what is installed over Debian."""
    library = Path(os.__file__).parent
    gone = ("ensurepip", "idlelib", "test", "tkinter", "turtledemo", "lib2to3", "site-packages", "dist-packages")
    return sum(
        path.stat().st_size
        for path in library.rglob("*")
        if path.is_file()
        and path.relative_to(library).parts[0] not in gone
        and not path.name.endswith((".a", ".opt-1.pyc", ".opt-2.pyc"))
    )
