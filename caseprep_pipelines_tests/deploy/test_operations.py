"""What docs/operations.md tells an operator to type names things that exist; what can run here is run here."""

import re
import shlex
import subprocess
from collections.abc import Iterator

import pytest

from caseprep_pipelines.settings import Settings
from caseprep_pipelines_tests.deploy.image_steps import DOCKERFILE
from caseprep_pipelines_tests.deploy.rendering import KUBERNETES, OPTIONAL, OVERLAYS, ROOT, kubectl, objects

PAGE = (ROOT / "docs/operations.md").read_text()


def commands() -> Iterator[list[str]]:
    """Every command line of the page's blocks and of its inline code, split as a shell would."""
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.strip() and not line.lstrip().startswith("#"):
                yield shlex.split(line, comments=True)
    for code in re.findall(r"`((?:kubectl|K|caseprep|make|docker|gitleaks|trivy) [^`]*)`", PAGE):
        yield shlex.split(code.replace("\n", " ").replace("…", "X").replace("\\.", "."))


def test_every_overlay_and_component_is_on_the_page() -> None:
    assert {path.name for path in (KUBERNETES / "overlays").iterdir()} == set(OVERLAYS)
    for name in (*OVERLAYS, *OPTIONAL):
        assert f"`{name}`" in PAGE, name


def test_what_is_rendered_and_applied_is_there() -> None:
    folders = {word for command in commands() for word in command if word.startswith("deploy/kubernetes/overlays/")}
    assert folders
    for folder in folders:
        done = subprocess.run([kubectl(), "kustomize", folder], cwd=ROOT, capture_output=True, timeout=60)
        assert done.returncode == 0


def test_every_object_that_a_command_names_is_in_the_manifests() -> None:
    there = {(each["kind"].lower(), each["metadata"]["name"]) for name in OVERLAYS for each in objects(name)}
    short = {"deploy": "deployment", "ds": "daemonset"}
    # the pod of the database's set
    there |= {("pod", "caseprep-postgres-0")}
    named = set()
    for command in commands():
        if command[0] not in ("kubectl", "K"):
            continue
        for word in command:
            if match := re.fullmatch(r"(deploy|deployment|job|ds)/(caseprep-[a-z0-9-]+|nvidia-[a-z0-9-]+)", word):
                named.add((short.get(match[1], match[1]), match[2]))
        if command[-1].startswith("caseprep-") and "externalsecret" in command:
            named.add(("externalsecret", command[-1]))
    assert len(named) > 6
    assert named <= there


def test_every_target_and_make_command_exists() -> None:
    targets = set(re.findall(r"AS ([a-z-]+)$", DOCKERFILE.read_text(), re.MULTILINE))
    built = re.search(r"for target in (.*?);", PAGE)
    assert built is not None
    assert {*built[1].split(), "models"} <= targets
    makefile = (ROOT / "Makefile").read_text()
    for command in commands():
        if command[0] == "make":
            assert re.search(rf"^{command[1]}:", makefile, re.MULTILINE), command


def test_every_setting_and_file_exists() -> None:
    known = {f"CASEPREP_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"CASEPREP_[A-Z0-9_]*[A-Z0-9]", PAGE)) <= known | {"CASEPREP"}
    for path in re.findall(
        r"\b(deploy/(?!caseprep-)[a-z./-]+|benchmarks/[A-Za-z.]+|overlays/[a-z./-]+|base/[a-z.-]+)", PAGE
    ):
        place = ROOT / path if path.startswith(("deploy", "benchmarks")) else KUBERNETES / path
        assert place.exists(), path


@pytest.mark.parametrize(
    "symptom",
    ["GPU not seen", "CUDA library missing", "model missing", "out of memory", "slow first run", "queue stuck",
     "step pod pending"],
)  # fmt: skip
def test_every_symptom_has_its_line(symptom: str) -> None:
    (line,) = (line for line in PAGE.splitlines() if line.startswith(f"| {symptom}"))
    assert len([cell for cell in line.split(" | ") if cell.strip()]) >= 3


def test_messages_that_the_page_quotes_are_ours() -> None:
    """A symptom is found by its words."""
    source = "".join(path.read_text() for path in (ROOT / "caseprep_pipelines").rglob("*.py"))
    for words in ("CASEPREP_DEVICE is cuda and there is no GPU", "cannot be loaded", "get the model again"):
        assert words in PAGE
        assert words in source
