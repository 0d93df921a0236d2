"""How much later a first token comes through this server's Chat Completions than from the model server itself, beside LiteLLM's
proxy (PyPI: litellm[proxy]) before the same model server, in the same run.

    litellm.py REJOINDER BARE LITELLM [--turns N] [--every DURATION] [--for DURATION] [--clients N] [--json]

REJOINDER is the program, BARE the example that sends prepared chunks (tests/bench/bare.rs), LITELLM the program of the proxy, as
`pip install 'litellm[proxy]'` brings it. All are started on free ports of this machine, and stopped at the end. Each turn measures
them one after the other, so that a slow moment of the machine is everybody's; the figures are medians of all turns.
"""

import argparse
import contextlib
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PATIENCE = 90

CONFIG = """\
model_list:
  - model_name: prepared
    litellm_params:
      model: openai/prepared
      api_base: {upstream}/v1
      api_key: none
litellm_settings:
  telemetry: false
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def running(command: list, env: dict[str, str], port: int, probe: str, directory: str):
    """A server, from when it answers until it is stopped."""
    with open(Path(directory, f"{port}.log"), "wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **env}, cwd=directory, stdout=log, stderr=log)
    try:
        began = time.monotonic()
        while not answers(port, probe):
            if process.poll() is not None or time.monotonic() - began > PATIENCE:
                sys.exit(f"{command[0]} does not answer:\n{Path(directory, f'{port}.log').read_text()[-2000:]}")
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(PATIENCE)


def answers(port: int, probe: str) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", probe)
        return connection.getresponse().status < 500
    return False


def first_tokens(binary: str, url: str, api: str, options) -> dict:
    words = ["--api", api, "--model", "prepared", "-c", str(options.clients), "--every", options.every, "--for", options.duration]
    done = subprocess.run([binary, "bench", url, *words, "--json"], capture_output=True, text=True)
    if done.returncode not in (0, 1):
        sys.exit(done.stdout + done.stderr)
    (run,) = json.loads(done.stdout)["runs"]
    return {"first_token": run["latency"]["first_token"], "counts": run["counts"]}


def measure(options) -> dict:
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        at, through, beside = free_port(), free_port(), free_port()
        upstream = stack.enter_context(running([options.bare, f"127.0.0.1:{at}"], {}, at, "/", directory))
        own = {"PORT": str(through), "LLM_BASE_URL": f"{upstream}/v1", "LLM_MODEL": "prepared", "DATA_DIR": f"{directory}/data",
               "RUST_LOG": "error"}
        rejoinder = stack.enter_context(running([options.rejoinder], own, through, "/readyz", directory))
        config = Path(directory, "litellm.yaml")
        config.write_text(CONFIG.format(upstream=upstream))
        words = [options.litellm, "--config", config, "--host", "127.0.0.1", "--port", str(beside)]
        # It would ask others for prices of models, and wants a key even on this machine.
        quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
        quiet["LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"] = "true"
        litellm = stack.enter_context(running(words, quiet, beside, "/health/liveliness", directory))
        servers = {
            "the model server itself": (upstream, "chat"),
            "rejoinder, Chat Completions": (rejoinder, "chat"),
            "rejoinder, Responses": (rejoinder, "responses"),
            "LiteLLM": (litellm, "chat"),
        }
        found = {name: [] for name in servers}
        for name, (url, api) in servers.items():
            # Once unmeasured: caches are filled, code is loaded.
            first_tokens(options.rejoinder, url, api, argparse.Namespace(clients=1, every="50ms", duration="1s"))
        for _ in range(options.turns):
            for name, (url, api) in servers.items():
                found[name].append(first_tokens(options.rejoinder, url, api, options))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("rejoinder", "bare", "litellm"):
        parser.add_argument(name, type=os.path.abspath)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--for", dest="duration", default="10s")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--every", default="500ms")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options)
    medians = {
        name: {percentile: statistics.median(turn["first_token"][percentile] for turn in turns) for percentile in ("p50_ms", "p99_ms")}
        for name, turns in found.items()
    }
    if options.json:
        print(json.dumps({"medians": medians, "turns": found}))
        return
    itself = medians["the model server itself"]["p50_ms"]
    for name, turns in found.items():
        p50, p99 = medians[name]["p50_ms"], medians[name]["p99_ms"]
        bad = sum(count for turn in turns for kind, count in turn["counts"].items() if kind in ("lost", "cut", "refused", "wrong"))
        ok = sum(turn["counts"]["ok"] for turn in turns)
        print(f"{name:28} p50 {p50:8.2f} ms   {p50 - itself:+8.2f} ms   p99 {p99:8.2f} ms   {ok} ok, {bad} not")


if __name__ == "__main__":
    main()
