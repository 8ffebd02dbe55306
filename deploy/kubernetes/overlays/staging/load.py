"""The load test: `load.py COUNT HOURS` uploads that many short calls and waits until all are transcribed, or fails.

The upload sensor of the deployment takes them up, so it must be on. Each run of the test is another set of matters.
"""

import sys
import tempfile
import time
from pathlib import Path

from caseprep_pipelines.demo.calls import write_archive
from caseprep_pipelines.reporting import status
from caseprep_pipelines.resources.pipeline import Pipeline
from caseprep_pipelines.settings import read_settings


def main() -> None:
    count, hours = int(sys.argv[1]), float(sys.argv[2])
    pipeline = Pipeline(read_settings())
    run = time.strftime("%y%m%d%H%M%S")
    matters = set()
    with tempfile.TemporaryDirectory() as name:
        write_archive(Path(name), count)
        for file in sorted(Path(name).rglob("*.wav")):
            matter = f"load-{run}-{file.parent.name}"
            matters.add(matter)
            pipeline.objects.write_file(f"{pipeline.settings.incoming_prefix}{matter}/{file.name}", file)
    print(f"{count} calls uploaded", flush=True)
    deadline = time.monotonic() + hours * 3600
    while True:
        ends = [row["status"] for matter in sorted(matters) for row in status(pipeline, None, matter)]
        done, bad = ends.count("done"), sum(end in ("failed", "rejected") for end in ends)
        print(f"{done} of {count} done, {bad} failed or rejected", flush=True)
        if done == count:
            return
        if bad or time.monotonic() > deadline:
            sys.exit("the load test failed: `caseprep status` says where each recording stands")
        time.sleep(min(30, max(0.1, deadline - time.monotonic())))


if __name__ == "__main__":
    main()
