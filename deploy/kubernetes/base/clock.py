"""Sets how many GPUs archive work may hold, and how many are kept warm: `clock.py ARCHIVE WARM`, by two cron jobs."""

import os
import sys

from kubernetes import client, config


def main() -> None:
    archive, warm = int(sys.argv[1]), int(sys.argv[2])
    config.load_incluster_config()
    namespace = os.environ["CASEPREP_KUBERNETES_NAMESPACE"]
    client.CoreV1Api().patch_namespaced_resource_quota(
        "caseprep-archive", namespace, {"spec": {"hard": {"requests.nvidia.com/gpu": str(archive)}}}
    )
    client.AppsV1Api().patch_namespaced_deployment_scale("caseprep-warm", namespace, {"spec": {"replicas": warm}})
    print(f"archive work may hold {archive} GPUs, {warm} are kept warm")


if __name__ == "__main__":
    main()
