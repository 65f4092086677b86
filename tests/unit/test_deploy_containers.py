"""What `deploy` has for containers: read by each tool's own checker, and in agreement with the server and itself."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from localai_flask.app import create_app
from localai_flask.settings import Settings
from localai_flask.settings.fields import env_name
from tests.support.nginx import Nginx
from tests.support.required import need_program
from tests.support.server import free_port

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "deploy" / "docker"
KUBERNETES = ROOT / "deploy" / "kubernetes"
DOCKERFILES = sorted(path for path in DOCKER.glob("Dockerfile*") if path.suffix != ".dockerignore")
MANIFESTS = {path.name: yaml.safe_load(path.read_text()) for path in sorted(KUBERNETES.glob("*.yaml"))}
OF_OTHERS = {"keda.yaml", "kustomization.yaml", "monitoring.yaml", "prometheus-adapter.yaml"}
"""Manifests of kinds that Kubernetes itself does not have."""
VARIABLES = {env_name(field) for field in dataclasses.fields(Settings)}
POD: dict[str, Any] = MANIFESTS["deployment.yaml"]["spec"]["template"]["spec"]
SERVER: dict[str, Any] = POD["containers"][0]


def run(*command: object) -> None:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_yaml_is_tidy() -> None:
    run(need_program("yamllint"), "--strict", "deploy")


# --- images


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_finds_no_fault(path: Path) -> None:
    run(need_program("hadolint"), "--no-color", path)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_gets_all_that_it_copies_and_nothing_else(path: Path) -> None:
    ignored = (DOCKER / f"{path.name}.dockerignore").read_text().splitlines()
    assert ignored[0] == "**", "what is not listed would travel, virtual environments too"
    let_in = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", path.read_text(), re.MULTILINE)
        for source in line.split()
    }
    assert {name for name in copied if not (ROOT / name).exists()} == set()
    assert {name for name in copied if not any(name == each or name.startswith(f"{each}/") for each in let_in)} == set()
    assert {name for name in let_in if not (ROOT / name).exists()} == set()


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_runs_as_the_user_whom_the_manifests_name(path: Path) -> None:
    (user,) = re.findall(r"^USER (\d+):(\d+)$", path.read_text(), re.MULTILINE)
    context = POD["securityContext"]
    assert user == (str(context["runAsUser"]), str(context["runAsGroup"]))
    assert set(re.findall(r"\b(LOCALAI_\w+)=", path.read_text())) <= VARIABLES


# --- compose


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    return found


def test_compose_names_what_there_is() -> None:
    whole = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    mounts = [mount for service in whole["services"].values() for mount in service.get("volumes", [])]
    sources = {mount.replace("${MODELS:-./models}", "models").split(":")[0] for mount in mounts}
    named = {source for source in sources if not source.startswith(".") and source != "models"}
    assert named == set(whole["volumes"])
    for source in sources - named - {"models"}:
        assert (DOCKER / source).is_file(), source
    assert set(services()["server"]["environment"]) <= VARIABLES
    for file in ("compose.yaml", "compose.cuda.yaml"):
        build = yaml.safe_load((DOCKER / file).read_text())["services"]["server"]["build"]
        assert (ROOT / build["dockerfile"]).is_file()


def test_nginx_takes_composes_configuration(tmp_path: Path) -> None:
    listening = {"listen 80": f"listen 127.0.0.1:{free_port()}", "listen [::]:80;": ""}
    nginx = Nginx(tmp_path / "nginx", "include localai-flask/site.conf;", {"http.conf": listening}, [])
    nginx.add("upstream.conf", (DOCKER / "upstream.conf").read_text().replace("server:8080", "127.0.0.1:8080"))
    assert nginx.check() == ""


def test_compose_can_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    command = _compose()
    monkeypatch.setenv("LOCALAI_API_KEY", "key")
    monkeypatch.setenv("POSTGRES_PASSWORD", "password")
    run(*command, "--file", DOCKER / "compose.yaml", "--file", DOCKER / "compose.cuda.yaml", "config", "--quiet")


def _compose() -> list[str]:
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0:
        return [docker, "compose"]
    return [need_program("docker-compose")]


# --- Kubernetes


@pytest.mark.parametrize("name", sorted(set(MANIFESTS) - OF_OTHERS))
@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_kubernetes_knows_every_field(name: str, version: str) -> None:
    run(need_program("kubernetes-validate"), "--strict", "--kubernetes-version", version, KUBERNETES / name)


def test_kustomize_takes_what_kubernetes_knows() -> None:
    assert set(MANIFESTS["kustomization.yaml"]["resources"]) == set(MANIFESTS) - OF_OTHERS


def test_manifests_agree_with_each_other() -> None:
    labels = MANIFESTS["deployment.yaml"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        MANIFESTS["deployment.yaml"]["spec"]["selector"]["matchLabels"],
        MANIFESTS["service.yaml"]["spec"]["selector"],
        MANIFESTS["disruption.yaml"]["spec"]["selector"]["matchLabels"],
        MANIFESTS["network.yaml"]["spec"]["podSelector"]["matchLabels"],
        MANIFESTS["monitoring.yaml"]["spec"]["selector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels.items() for selector in selectors)
    name = MANIFESTS["deployment.yaml"]["metadata"]["name"]
    assert MANIFESTS["autoscaling.yaml"]["spec"]["scaleTargetRef"]["name"] == name
    assert MANIFESTS["keda.yaml"]["spec"]["scaleTargetRef"]["name"] == name
    claims = {each["persistentVolumeClaim"]["claimName"] for each in POD["volumes"] if "persistentVolumeClaim" in each}
    assert claims == {MANIFESTS["models.yaml"]["metadata"]["name"]}
    (rule,) = MANIFESTS["ingress.yaml"]["spec"]["rules"][0]["http"]["paths"]
    assert rule["backend"]["service"]["name"] == MANIFESTS["service.yaml"]["metadata"]["name"]
    assert SERVER["envFrom"][0]["secretRef"]["name"] == MANIFESTS["secret.yaml"]["metadata"]["name"]


def test_manifests_agree_with_the_server(tmp_path: Path) -> None:
    set_here = {each["name"]: each["value"] for each in SERVER["env"]}
    assert set(set_here) | set(MANIFESTS["secret.yaml"]["stringData"]) <= VARIABLES
    application = create_app(Settings(models_path=tmp_path), pool=object())
    paths = {rule.rule for rule in application.url_map.iter_rules()}
    probes = [SERVER[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert {*probes, MANIFESTS["monitoring.yaml"]["spec"]["podMetricsEndpoints"][0]["path"]} <= paths
    pause = int(SERVER["lifecycle"]["preStop"]["exec"]["command"][1])
    assert POD["terminationGracePeriodSeconds"] >= pause + int(set_here["LOCALAI_GRACEFUL_TIMEOUT"]) + 15


def test_scaling_follows_a_metric_that_the_server_has() -> None:
    (rule,) = MANIFESTS["prometheus-adapter.yaml"]["rules"]["custom"]
    (metric,) = MANIFESTS["autoscaling.yaml"]["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    said = "\n".join(path.read_text() for path in (ROOT / "localai_flask" / "metrics").glob("*.py"))
    for query in (rule["seriesQuery"], MANIFESTS["keda.yaml"]["spec"]["triggers"][0]["metadata"]["query"]):
        (name,) = re.findall(r'__name__="([^"]+)"', query)
        assert f'"{name}"' in said
