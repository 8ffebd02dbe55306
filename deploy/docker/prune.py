"""Takes out of an installed environment what no image runs: `python prune.py FOLDER`.

Tests of libraries, headers, source maps, Arrow's own access to networks and buckets, the asynchronous half of the
Kubernetes client, botocore's descriptions of services that are not asked for. The size and the imports are tested.
"""

import shutil
import sys
from pathlib import Path

FOLDERS = ("pyarrow/include", "pyarrow/src", "matplotlib/mpl-data/sample_data", "numpy/_core/include", "kubernetes/aio")
FILES = (
    "pyarrow/libarrow_flight*", "pyarrow/libarrow_python_flight*", "pyarrow/_flight*", "pyarrow/libarrow_s3*",
    "pyarrow/_s3fs*", "**/*.map", "**/*.pxd", "**/*.pyx", "**/*.h", "**/*.hpp", "**/*.a", "**/*.pyi",
)  # fmt: skip
#: Objects and uploads, the queue of uploads, and what credentials come from.
AWS_SERVICES = {"s3", "sqs", "sts", "sso", "sso-oidc", "signin"}


def prune(environment: Path) -> None:
    for packages in environment.glob("lib/python3.*/site-packages"):
        for folder in [*(packages / name for name in FOLDERS), *packages.rglob("tests")]:
            if folder.is_dir():
                shutil.rmtree(folder)
        for service in (packages / "botocore/data").iterdir():
            if service.is_dir() and service.name not in AWS_SERVICES:
                shutil.rmtree(service)
        for pattern in FILES:
            for file in packages.glob(pattern):
                file.unlink()


if __name__ == "__main__":
    prune(Path(sys.argv[1]))
