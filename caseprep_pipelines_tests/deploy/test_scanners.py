"""What the scanners say of images' recipes, manifests and the repository: nothing, or a reason stands beside it."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from caseprep_pipelines_tests.deploy.rendering import ROOT, VARIANTS, objects, rendered, title

#: `make .tools/checks/.installed` puts it there: checkov holds its libraries at versions of its own.
CHECKOV = ROOT / ".tools/checks/bin/checkov"


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, ROOT / "deploy/docker/Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.fixture(scope="session")
def checkov() -> Path:
    if not CHECKOV.exists():
        done = subprocess.run(
            ["make", ".tools/checks/.installed"], cwd=ROOT, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-2000:]
    return CHECKOV


def test_checkov_fails_nothing(checkov: Path, tmp_path: Path) -> None:
    for variant in VARIANTS:
        (tmp_path / f"{variant}.yaml").write_text(rendered(variant))
    shutil.copy(ROOT / "deploy/docker/Dockerfile", tmp_path)
    command = [checkov, "--skip-download", "--quiet", "--compact", "--output", "json"]
    command += ["--directory", tmp_path, "--framework", "kubernetes", "dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    reports = {report["check_type"]: report for report in json.loads(done.stdout)}
    failed = {
        (each["check_id"], each["resource"])
        for report in reports.values()
        for each in report["results"]["failed_checks"]
    }
    assert failed == set()
    assert reports["kubernetes"]["summary"]["passed"] > 5000
    assert reports["dockerfile"]["summary"]["passed"] > 50
    assert done.returncode == 0


def test_every_skip_has_its_reason_beside_it() -> None:
    skips = {
        (title(each), value)
        for variant in VARIANTS
        for each in objects(variant)
        for name, value in each["metadata"].get("annotations", {}).items()
        if name.startswith("checkov.io/skip")
    }
    assert skips
    for where, skip in skips:
        check, _, reason = skip.partition("=")
        assert re.fullmatch(r"CKV2?_K8S_\d+", check), where
        assert len(reason.split()) > 5, where
    dockerfile = (ROOT / "deploy/docker/Dockerfile").read_text()
    for ignored in re.finditer(r"(.*)\n# hadolint ignore=", dockerfile):
        assert re.search(r"\n# .+\n.*$", dockerfile[: ignored.end(1)]), "no reason above the ignored rule"


def test_no_secret_stands_in_what_is_deployed() -> None:
    """By the project's own rules for gitleaks, whose default rules need its program."""
    configuration = tomllib.loads((ROOT / ".gitleaks.toml").read_text())
    rules, made_up = configuration["rules"], configuration["allowlist"]["regexes"]
    files = [path for path in (ROOT / "deploy").rglob("*") if path.is_file()]
    files += (ROOT / "docs").rglob("*.md")
    found = [
        (path.name, rule["id"])
        for path in files
        for rule in rules
        for match in re.finditer(rule["regex"], path.read_text(encoding="utf-8", errors="ignore"))
        if not any(re.search(shown, match[rule.get("secretGroup", 0)]) for shown in made_up)
    ]
    assert found == []
    by_id = {rule["id"]: rule["regex"] for rule in rules}
    assert re.search(by_id["database-url-with-password"], "postgresql://caseprep:hunter22@db/dagster")
    assert not re.search(by_id["database-url-with-password"], "postgresql://caseprep@db/dagster")
    assert re.search(by_id["hub-token"], "hf_" + "a" * 34)


def test_renovate_knows_what_moves_together() -> None:
    renovate = json.loads((ROOT / "renovate.json").read_text())
    assert "docker:pinDigests" in renovate["extends"]
    together = next(rule for rule in renovate["packageRules"] if rule.get("groupName") == "speech")
    optional = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["speech"]
    names = {re.split(r"[=<>; ]", requirement)[0] for requirement in optional}
    assert names == set(together["matchPackageNames"])
