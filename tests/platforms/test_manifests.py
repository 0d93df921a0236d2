"""What infra/ has for each platform is as the platform's own schemas and tools want it, names only variables that the server
has, and gives it the time that it takes to drain."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from servers import ROOT

INFRA = ROOT / "infra"
OVERLAYS = ["single", "nats"]
KUBERNETES = "1.34"
# Beside the server's own: what a platform's adapter reads.
OTHERS = {"AWS_LWA_INVOKE_MODE", "AWS_LWA_PORT", "AWS_LWA_READINESS_CHECK_PATH"}


def tool(name: str) -> str:
    """A program beside this Python, where its wheel put it, or of the system."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name) or name


def run(*command: str | Path, **more) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **more)
    assert done.returncode == 0, f"{command[0]}\n{done.stdout}{done.stderr}"
    return done.stdout


def overlay(name: str) -> list[dict]:
    return list(yaml.safe_load_all(run(tool("kubectl"), "kustomize", INFRA / "kubernetes/overlays" / name)))


def documents(path: str) -> list[dict]:
    return list(yaml.safe_load_all((INFRA / path).read_text()))


def of_kind(resources: list[dict], kind: str) -> dict:
    (found,) = [resource for resource in resources if resource["kind"] == kind]
    return found


def pod(name: str) -> dict:
    return of_kind(overlay(name), "Deployment")["spec"]["template"]["spec"]


def settings(container: dict) -> dict[str, str]:
    return {one["name"]: one.get("value", "") for one in container["env"]}


def seconds(duration: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(ms|s|m|h)", duration).groups()
    return float(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def unit() -> dict[str, list[str]]:
    """The settings of the systemd unit."""
    found = {}
    for line in (INFRA / "systemd/rejoinder.service").read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            found.setdefault(line.split("=")[0], []).append(line.split("=", 1)[1])
    return found


def lambda_settings() -> dict:
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda loader, suffix, node: str(node.value))
    template = yaml.load((INFRA / "lambda/template.yaml").read_text(), Loader)
    return template["Resources"]["Function"]["Properties"]


# Each platform: the variables that are set, and the seconds from SIGTERM to the end.
def platforms() -> dict[str, tuple[dict[str, str], float]]:
    found = {}
    for name in OVERLAYS:
        spec = pod(name)
        container = spec["containers"][0]
        slept = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        found[f"kubernetes {name}"] = settings(container), spec["terminationGracePeriodSeconds"] - slept
    for name, grace in (("knative", None), ("cloud-run", 10)):
        spec = documents(f"{name}/service.yaml")[0]["spec"]["template"]["spec"]
        found[name] = settings(spec["containers"][0]), grace or spec["timeoutSeconds"]
    fly = tomllib.loads((INFRA / "fly/fly.toml").read_text())
    found["fly"] = fly["env"], seconds(fly["kill_timeout"])
    found["systemd"] = dict(one.split("=", 1) for one in unit()["Environment"]), float(unit()["TimeoutStopSec"][0])
    # An extension such as the adapter leaves the server half a second.
    found["lambda"] = lambda_settings()["Environment"]["Variables"], 0.5
    services = documents("compose.yaml")[0]["services"]
    found["compose"] = services["one"]["environment"], seconds(services["one"]["stop_grace_period"])
    return found


@pytest.mark.parametrize("platform", platforms())
def test_every_variable_is_one_of_the_server(platform):
    known = set(re.findall(r"^#([A-Z_]+)=", (ROOT / ".env.example").read_text(), flags=re.M))
    named = set(platforms()[platform][0])
    assert named and named - known - OTHERS == set()


@pytest.mark.parametrize("platform", platforms())
def test_the_server_drains_within_the_grace_period(platform):
    variables, grace = platforms()[platform]
    assert seconds(variables.get("DRAIN_TIMEOUT", "10s")) <= grace


@pytest.mark.parametrize("platform", ["knative", "cloud-run", "lambda"])
def test_streams_of_browsers_end_before_the_platform_cuts_them(platform):
    if platform == "lambda":
        timeout = lambda_settings()["Timeout"]
    else:
        timeout = documents(f"{platform}/service.yaml")[0]["spec"]["template"]["spec"]["timeoutSeconds"]
    # (They are spread out by a fifth.)
    assert seconds(platforms()[platform][0]["STREAM_MAX_AGE"]) * 1.2 < float(timeout)


@pytest.mark.parametrize("name", ["kubernetes single", "kubernetes nats", "knative", "cloud-run", "fly"])
def test_the_server_takes_these_settings(name, tmp_path):
    """`check` reads them, and finds no variable that it does not know, and no value that it cannot use."""
    given = platforms()[name][0]
    secrets = {
        "NATS_URL": "nats://127.0.0.1:9",
        "DATABASE_URL": "postgres://u@127.0.0.1:9/d",
        "SECRET_KEY": "s" * 32,
        "API_KEYS": "",
        "LLM_BASE_URL": "http://127.0.0.1:9/v1",
        "LLM_API_KEY": "k",
    }
    made = {key: value or secrets[key] for key, value in given.items()}
    keys = [os.environ["REJOINDER_BIN"], "keys", "new", "--tenant", "acme"]
    line = run(*keys).strip().splitlines()[-1]
    (tmp_path / "keys").write_text(f"{line}\n")
    if "API_KEYS_FILE" in made:
        made["API_KEYS_FILE"] = str(tmp_path / "keys")
    else:
        made["API_KEYS"] = line
    made |= {"DATA_DIR": str(tmp_path / "data"), "PORT": "0", "ADMIN_ADDR": "127.0.0.1:0", "PATH": os.environ["PATH"]}
    checked = subprocess.run([keys[0], "check", "--json"], env=made, cwd=tmp_path, capture_output=True, text=True)
    rows = json.loads(checked.stdout)
    (row,) = [row for row in rows["rows"] if row["check"] == "configuration"]
    assert row["status"] == "ok", rows


# --- Kubernetes


@pytest.mark.parametrize("name", OVERLAYS)
def test_kubernetes_takes_the_resources(name):
    own = [resource for resource in overlay(name) if "keda" not in resource["apiVersion"]]
    for resource in own:
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)
    assert {resource["kind"] for resource in own} >= {"Deployment", "Service", "NetworkPolicy", "ServiceAccount"}


def test_keda_and_knative_take_the_resources():
    scaled = [of_kind(overlay("nats"), "ScaledObject")]
    services = [documents(f"{name}/service.yaml")[0] for name in ("knative", "cloud-run")]
    lines = "\n".join(json.dumps(resource) for resource in scaled + services)
    assert run("node", "resources.js", cwd=ROOT / "tests/platforms", input=lines) == "3 valid\n"


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_pod_may_do_nothing_beyond_its_work(name):
    spec = pod(name)
    (container,) = spec["containers"]
    security = container["securityContext"]
    assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] == 10001
    assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert not spec["automountServiceAccountToken"]
    # What can be written is a volume.
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert settings(container)["DATA_DIR"] in mounts


@pytest.mark.parametrize("name", OVERLAYS)
def test_probes_restart_nothing_that_waits_for_others(name):
    container = pod(name)["containers"][0]
    asked = {probe: container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "liveness", "readiness")}
    assert asked == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}


def test_one_process_has_the_disk_and_many_go_one_at_a_time():
    single = of_kind(overlay("single"), "Deployment")["spec"]
    assert (single["replicas"], single["strategy"]["type"]) == (1, "Recreate")
    volumes = {volume["name"]: volume for volume in single["template"]["spec"]["volumes"]}
    assert volumes["data"] == {"name": "data", "persistentVolumeClaim": {"claimName": "rejoinder"}}
    many = overlay("nats")
    deployment, budget = of_kind(many, "Deployment")["spec"], of_kind(many, "PodDisruptionBudget")["spec"]
    assert "replicas" not in deployment, "the autoscaler has them"
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert budget["maxUnavailable"] == 1
    assert budget["selector"]["matchLabels"].items() <= deployment["template"]["metadata"]["labels"].items()
    assert deployment["template"]["spec"]["affinity"]["podAntiAffinity"]
    scaled = of_kind(many, "ScaledObject")["spec"]
    down = scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    grace = deployment["template"]["spec"]["terminationGracePeriodSeconds"]
    assert down["stabilizationWindowSeconds"] >= 300 and down["policies"][0]["periodSeconds"] >= grace


# --- The others


def test_cloudformation_takes_the_template():
    run(tool("cfn-lint"), INFRA / "lambda/template.yaml")


@pytest.mark.parametrize("path", ["Dockerfile", "lambda/Dockerfile", "build/Dockerfile.static"])
def test_hadolint_finds_nothing_wrong(path):
    # Versions of Debian's packages are those of the image; an image's own version is in its tag.
    run(tool("hadolint"), "--ignore", "DL3008", "--ignore", "DL3018", INFRA / path)


def test_compose_takes_the_file():
    run(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", INFRA / "compose.yaml")


def test_fly_has_what_its_documentation_names():
    fly = tomllib.loads((INFRA / "fly/fly.toml").read_text())
    service = fly["http_service"]
    assert service["internal_port"] == int(fly["env"]["PORT"])
    assert fly["env"]["ADMIN_ADDR"].endswith(f":{fly['metrics']['port']}")
    assert (INFRA / "fly" / fly["build"]["dockerfile"]).exists()
    # suspend freezes an instance in the middle of its replies.
    assert service["auto_stop_machines"] == "stop"
    assert seconds(fly["kill_timeout"]) <= 300


def test_systemd_takes_the_unit(tmp_path):
    unit = (INFRA / "systemd/rejoinder.service").read_text()
    # The program of the test stands in for the one that the package installs.
    path = tmp_path / "rejoinder.service"
    path.write_text(unit.replace("/usr/bin/rejoinder", os.environ["REJOINDER_BIN"]))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if "rejoinder" in line]
    assert (done.returncode, said) == (0, []), done.stderr
    run("systemd-analyze", "security", "--offline=yes", "--threshold=15", path)
