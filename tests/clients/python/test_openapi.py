"""The OpenAPI document is valid, and the running server keeps it."""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

from openapi_spec_validator import validate

SETTINGS = Path(__file__).parent / "schemathesis.toml"

# What does not end by itself, while nobody ends it.
ENDLESS = "getConversationEvents"

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
)


def document(server) -> dict:
    with urllib.request.urlopen(f"{server.base}/openapi.json") as answer:
        return json.load(answer)


def test_the_document_is_valid_and_the_command_prints_the_same(server):
    served = document(server)
    validate(served)
    printed = subprocess.run([os.environ["REJOINDER_BIN"], "openapi"], capture_output=True, check=True)
    assert json.loads(printed.stdout) == served


def test_every_operation_keeps_the_document(tmp_path, upstream, tmp_path_factory):
    from conftest import Server

    # Built-in models alone: they answer at once.
    server = Server("", tmp_path_factory.mktemp("fuzzed"), LLM_MODEL="echo")
    try:
        schemathesis = Path(sys.executable).with_name("schemathesis")
        fuzzed = subprocess.run(
            [
                schemathesis,
                f"--config-file={SETTINGS}",
                "run",
                f"{server.base}/openapi.json",
                f"--checks={','.join(CHECKS)}",
                f"--exclude-operation-id={ENDLESS}",
                "--phases=examples,coverage,fuzzing",
                "--max-examples=20",
                "--max-time=90",
                "--request-timeout=10",
                "--seed=1",
                "--no-color",
                "--generation-database=none",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=170,
        )
        assert fuzzed.returncode == 0, fuzzed.stdout[-20000:] + fuzzed.stderr
    finally:
        server.kill()
