"""The compliance suites that somebody else wrote for the APIs, each test of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

LLM_COMPLY = Path(sys.executable).with_name("llm-comply")


@pytest.mark.parametrize("api, count", [("openai-chat", 9), ("open-responses", 13)])
def test_the_server_complies(server, api, count):
    # A base URL on the command line, and a key that nobody looks at.
    suite = [LLM_COMPLY, "--format", api, "-u", f"{server.base}/v1", "-k", "unused", "-m", "truth", "--json"]
    run = subprocess.run(suite, capture_output=True, text=True, timeout=120)
    results = json.loads(run.stdout)
    print(run.stdout)
    assert (run.returncode, len(results["results"])) == (0, count), run.stdout + run.stderr
