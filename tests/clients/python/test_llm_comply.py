"""The compliance suites that somebody else wrote for the APIs, each test of them that is about what is there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

LLM_COMPLY = Path(sys.executable).with_name("llm-comply")

# A request that names no model gets the default one, where the suite wants an error.
ABSENT = {"error-handling"}


@pytest.mark.parametrize("api, count", [("openai-chat", 9), ("open-responses", 13)])
def test_the_server_complies(server, api, count):
    suite = [LLM_COMPLY, "--format", api, "-u", f"{server.base}/v1", "-k", "unused", "-m", "truth", "--json"]
    run = subprocess.run(suite, capture_output=True, text=True, timeout=120)
    results = json.loads(run.stdout)["results"]
    failed = {result["id"] for result in results if result["status"] not in ("passed", "skipped", "warning")}
    assert (failed - ABSENT, len(results)) == (set(), count), run.stdout + run.stderr
