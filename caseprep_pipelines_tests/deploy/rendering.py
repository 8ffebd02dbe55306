"""What `kubectl kustomize` makes of deploy/kubernetes: every overlay, and an overlay with each optional component.

Rendered once a session; what the tests ask of it stands in their modules.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy/kubernetes"
OVERLAYS = ("single-node", "aws", "gcp", "azure", "staging")
#: What may be laid over an overlay by whoever deploys, put before `images` in its list of components.
OPTIONAL = ("gpu-time-slicing", "gpu-mps", "gpu-mig", "models-image", "mesh")
VARIANTS = (*OVERLAYS, *(f"aws+{component}" for component in OPTIONAL))

Object = Mapping[str, Any]


def kubectl() -> str:
    found = shutil.which("kubectl")
    if found is None:
        why = "kubectl is not installed"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    return found


@cache
def rendered(variant: str) -> str:
    """The YAML of an overlay, `OVERLAY` or `OVERLAY+COMPONENT`."""
    overlay, _, component = variant.partition("+")
    if not component:
        return _kustomize(KUBERNETES / "overlays" / overlay)
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "kubernetes"
        shutil.copytree(KUBERNETES, copy)
        file = copy / "overlays" / overlay / "kustomization.yaml"
        text = file.read_text()
        before = "  - ../../components/images\n"
        assert before in text
        file.write_text(text.replace(before, f"  - ../../components/{component}\n{before}"))
        return _kustomize(file.parent)


def _kustomize(folder: Path) -> str:
    done = subprocess.run([kubectl(), "kustomize", str(folder)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not done.stderr, done.stderr
    return done.stdout


@cache
def objects(variant: str) -> tuple[Object, ...]:
    return tuple(yaml.load_all(rendered(variant), Loader=yaml.CSafeLoader))


def named(kind: str, name: str, variant: str = "aws") -> Object:
    (found,) = (each for each in objects(variant) if each["kind"] == kind and each["metadata"]["name"] == name)
    return found


def title(each: Object) -> str:
    return f"{each['kind']} {each['metadata']['name']}"


def pod_template(each: Object) -> Object | None:
    """The template of the pods that an object makes, None where it makes none."""
    if each["kind"] in ("Deployment", "DaemonSet", "StatefulSet", "Job"):
        return each["spec"]["template"]
    if each["kind"] == "CronJob":
        return each["spec"]["jobTemplate"]["spec"]["template"]
    return None


def pods(variant: str) -> Iterator[tuple[Object, Object]]:
    """Every object that makes pods, with their template."""
    for each in objects(variant):
        template = pod_template(each)
        if template is not None:
            yield each, template


def containers(template: Object) -> Iterator[Object]:
    yield from template["spec"].get("initContainers", ())
    yield from template["spec"]["containers"]
