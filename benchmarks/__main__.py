"""`python -m benchmarks [--list | NAME]`: runs one benchmark, or all and rewrites `benchmarks/RESULTS.md`."""

import argparse
import importlib
import importlib.metadata
import json
import os
import pkgutil
import platform
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import benchmarks
from benchmarks import Unavailable

HERE = Path(__file__).parent
SHOWN_VERSIONS = ("dagster", "faster-whisper", "ctranslate2", "pyannote.audio", "torch", "av", "numpy")


def names() -> list[str]:
    return sorted(
        module.name
        for module in pkgutil.iter_modules([str(HERE)])
        if not module.name.startswith("_") and module.name != "common"
    )


def about(name: str) -> str:
    return (importlib.import_module(f"benchmarks.{name}").__doc__ or "").strip().splitlines()[0]


def run(name: str) -> dict[str, object]:
    result = importlib.import_module(f"benchmarks.{name}").run()
    return {"benchmark": name, "ratios": result.ratios, "figures": result.figures}


def write_results(results: list[dict[str, object]]) -> None:
    lines = [
        "# Results",
        "",
        "Written by `make bench`. Ratios compare two things in one run; figures are this machine's.",
        "",
        f"- Date: {datetime.now(UTC):%Y-%m-%d}",
        f"- Machine: {platform.machine()}, {os.cpu_count()} cores, {processor()}",
        f"- Python {platform.python_version()}; "
        + ", ".join(f"{name} {importlib.metadata.version(name)}" for name in SHOWN_VERSIONS),
        "",
    ]
    earlier = sections((HERE / "RESULTS.md").read_text()) if (HERE / "RESULTS.md").exists() else {}
    for result in results:
        if "unavailable" in result:
            name = str(result["benchmark"])
            # figures of another machine stay, with the device and date that stand among them
            kept = earlier.get(name, "") if "| `device` |" in earlier.get(name, "") else ""
            lines += [kept or f"## {name}\n\n{about(name)}\n\nNot run: {result['unavailable']}.\n"]
            continue
        lines += [
            f"## {result['benchmark']}",
            "",
            about(str(result["benchmark"])),
            "",
            "| what | value |",
            "| --- | --- |",
        ]
        for kind in ("ratios", "figures"):
            values = result[kind]
            assert isinstance(values, dict)
            lines += [f"| {'ratio ' if kind == 'ratios' else ''}`{key}` | {value} |" for key, value in values.items()]
        lines.append("")
    (HERE / "RESULTS.md").write_text("\n".join(lines))


def sections(results: str) -> dict[str, str]:
    """What stands in a `RESULTS.md`, by benchmark, headings included."""
    parts = re.split(r"^(?=## )", results, flags=re.MULTILINE)[1:]
    return {part.splitlines()[0].removeprefix("## "): part.rstrip("\n") + "\n" for part in parts}


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", help="one benchmark; all if none")
    parser.add_argument("--list", action="store_true", help="name the benchmarks, a line each")
    arguments = parser.parse_args()
    if arguments.list:
        for name in names():
            print(f"{name}: {about(name)}")
        return
    if arguments.name:
        if arguments.name not in names():
            sys.exit(f"there is no benchmark {arguments.name!r}; --list names them")
        try:
            print(json.dumps(run(arguments.name)))
        except Unavailable as missing:
            print(f"{arguments.name}: {missing}", file=sys.stderr)
            sys.exit(2)
        return
    results = []
    for name in names():
        print(f"==> {name}: {about(name)}", flush=True)
        try:
            results.append(run(name))
        except Unavailable as missing:
            results.append({"benchmark": name, "unavailable": str(missing)})
        print(json.dumps(results[-1]), flush=True)
    write_results(results)


if __name__ == "__main__":
    assert benchmarks.__doc__
    main()
