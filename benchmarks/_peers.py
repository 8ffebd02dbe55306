"""The programs that we compare with, in an environment of their own: `peers.lock`, made from `peers.in`, installed from
the ordinary registry when it is first asked for, and kept in the user's cache (some 7 GB: torch comes with CUDA)."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from platformdirs import user_cache_path

LOCK = Path(__file__).with_name("peers.lock")


def installed() -> Path | None:
    """The folder of the environment's commands where it was installed before."""
    home = _home()
    return home / "bin" if (home / ".installed").exists() else None


def _home() -> Path:
    digest = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:12]
    return user_cache_path("caseprep-benchmarks") / f"peers-{digest}"


def peers() -> Path:
    """The folder of the environment's commands, `python` among them."""
    home = _home()
    commands, finished = home / "bin", home / ".installed"
    if not finished.exists():
        own = Path(__file__).parents[1] / ".tools" / "uv" / "bin" / "uv"
        uv = str(own) if own.exists() else shutil.which("uv")
        if uv is None:
            sys.exit("uv is needed to install the programs that are compared; `make bench` brings it")
        print(f"installing the programs that are compared into {home}", file=sys.stderr)
        for command in (
            [uv, "venv", "--no-config", "--clear", "--quiet", "--python", sys.executable, str(home)],
            # compiled, as our own packages are: else the time to start would be another
            [uv, "pip", "sync", "--no-config", "--quiet", "--compile-bytecode", "--require-hashes", "--python",
             str(commands / "python"), str(LOCK)],
        ):  # fmt: skip
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"the programs that are compared cannot be installed: {done.stderr.strip()[-2000:]}")
        found = "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())"
        ffmpeg = subprocess.run([commands / "python", "-c", found], check=True, capture_output=True, text=True).stdout
        (commands / "ffmpeg").symlink_to(ffmpeg.strip())
        finished.touch()
    return commands


def versions() -> dict[str, str]:
    """Name and version of what is compared."""
    names = ("faster-whisper", "whisper-ctranslate2", "whisperx")
    pinned = dict(line.split(" ")[0].split("==") for line in LOCK.read_text().splitlines() if "==" in line[:60])
    return {name: pinned[name] for name in names}
