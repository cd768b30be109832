"""The containers: what their files say (quick), and what they do when brought up for real."""

import os
import re
import shutil
import signal
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
VALIDATORS = ("v1", "v2", "v3", "v4")
LIMIT_S = 570
"""For all of it on a bare and busy machine: packages, base image, image, two times up."""


# --- For real. ---


@pytest.mark.container
def test_containers_commit_prove_survive_a_kill_and_continue() -> None:
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("bringing containers up needs root, for the engine and the base image")
    if shutil.which("apt-get") is None and shutil.which("docker") is None:
        pytest.skip("no container engine, and no apt-get to install one with")
    process = subprocess.Popen(
        [str(ROOT / "deploy" / "ci-containers")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=LIMIT_S)
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
        print(output)
        raise
    print(output)
    assert process.returncode == 0, output
    assert "containers: all held" in output
    assert "down and up again" in output, "no Compose was found to try"


# --- What the files say. ---


def blocks(text: str) -> dict[str, str]:
    """Top-level `x-` blocks and services, by name: their lines."""
    found = {}
    services = text.split("\nservices:\n", 1)[1].split("\nnetworks:\n", maxsplit=1)[0]
    for name, body in re.findall(r"^  (\w+):\n((?:    .*\n|\n)*)", services, re.M):
        found[name] = body
    for name, body in re.findall(r"^x-(\w+): &\1\n((?:  .*\n)*)", text, re.M):
        found[f"x-{name}"] = body
    return found


def whole(name: str, text: str) -> str:
    """A service with what it inherits."""
    known = blocks(text)
    body = known[name]
    for parent in re.findall(r"<<: \*(\w+)", body):
        body += whole(f"x-{parent}", text)
    return body


def faults(text: str) -> list[str]:
    """What would give a container more than it needs, or another's keys."""
    found = []
    names = [name for name in blocks(text) if not name.startswith("x-")]
    for name in names:
        service = whole(name, text)
        for line in ("read_only: true", "cap_drop: [ALL]", "no-new-privileges:true"):
            if line not in service:
                found.append(f"{name}: no {line}")
        for word in ("privileged:", "cap_add:", "docker.sock", "user:", "pid:", ": host"):
            if word in service:
                found.append(f"{name}: {word}")
        ports = re.findall(r'ports: \["([^"]*)"\]', service)
        if service.count("ports:") != len(ports):
            found.append(f"{name}: ports in a form that is not checked")
        wanted = rf"127\.0\.0\.1:\$\{{V\d_PORT:-(710[{name[1:]}])\}}:\1"
        if any(not re.fullmatch(wanted, port) for port in ports):
            found.append(f"{name}: publishes {ports}")
        mounted = set(re.findall(r"\b(v\d|shared):/", service))
        allowed = {
            "setup": {*VALIDATORS, "shared"},
            "client": {"shared"},
        }.get(name, {name})
        if mounted != allowed:
            found.append(f"{name}: mounts {sorted(mounted)}")
    if {*names} != {"setup", "client", *VALIDATORS}:
        found.append(f"services {names}")
    if re.search(r"^version:", text, re.M):
        found.append("version:")
    return found


def test_each_service_has_least_privilege_its_own_keys_and_a_port_on_loopback() -> None:
    assert faults(COMPOSE) == []


@pytest.mark.parametrize(
    ("part", "instead"),
    [
        ("read_only: true", "read_only: false"),
        ("cap_drop: [ALL]", "cap_drop: []"),
        ("no-new-privileges:true", "no-new-privileges:false"),
        ('"127.0.0.1:${V2_PORT', '"${V2_PORT'),
        ('"127.0.0.1:${V2_PORT', '"0.0.0.0:${V2_PORT'),
        (":7102", ":7202"),
        ('["v1:/assay/home"]', '["v1:/assay/home", "v2:/assay/other"]'),
        ('["v1:/assay/home"]', '["v2:/assay/home"]'),
        ('["shared:/assay/net:ro"]', '["shared:/assay/net:ro", "v1:/keys"]'),
        ("network_mode: none", "network_mode: host"),
        ("read_only: true", "read_only: true\n  privileged: true"),
        ("x-common:", 'version: "3"\nx-common:'),
        ("  v4:\n    <<", "  v5:\n    <<"),
    ],
)
def test_each_fault_is_found(part: str, instead: str) -> None:
    assert part in COMPOSE
    assert faults(COMPOSE.replace(part, instead, 1))


def test_the_client_has_the_genesis_read_only_and_waits_for_health() -> None:
    client = whole("client", COMPOSE)
    assert "shared:/assay/net:ro" in client
    assert client.count("condition: service_healthy") == len(VALIDATORS)


def test_the_image_is_unprivileged_and_made_of_what_the_lock_names() -> None:
    users = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.M)
    assert users == [("10001", "10001")]
    assert DOCKERFILE.index("USER") < DOCKERFILE.index("ENTRYPOINT")
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)) == {"python:3.11-slim-bookworm"}
    assert "--require-hashes --only-binary :all: -r" in DOCKERFILE
    assert "HEALTHCHECK" in DOCKERFILE


def test_the_image_has_every_package_and_nothing_reaches_the_build_unlisted() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    copied = set(re.findall(r"^COPY (\w+) /opt/assay/code/\1$", DOCKERFILE, re.M))
    assert copied == set(packages["tool"]["setuptools"]["packages"])
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in ignore if line and not line.startswith("#")]
    assert rules[0] == "*"
    sources = {"requirements-run.lock", "deploy/assay", "deploy/client", "deploy/health.py"}
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied | sources


def test_the_image_runs_the_very_versions_that_are_tested() -> None:
    def pins(name: str) -> dict[str, str]:
        text = (ROOT / name).read_text(encoding="utf-8")
        return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.M))

    run, tested = pins("requirements-run.lock"), pins("requirements.lock")
    assert run.items() <= tested.items(), "run: make lock"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {re.split(r"[^a-z0-9-]", each)[0] for each in project["dependencies"]}
    assert named <= run.keys(), "run: make lock"
    assert not {"pytest", "mypy", "ruff"} & run.keys()
