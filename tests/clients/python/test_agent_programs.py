"""GitHub's Copilot CLI and opencode, unmodified from npm: a whole turn of each with a shell call, through every API that it speaks.
Both are told to reach for nothing but this server."""

import json
import os
import subprocess

import pytest
from conftest import CLIENTS, Server
from test_codex import WORDS, Model, chunk

COPILOT = CLIENTS / "node_modules" / ".bin" / "copilot"
OPENCODE = CLIENTS / "node_modules" / "opencode-linux-x64" / "bin" / "opencode"

COMMAND = {"command": "echo hello > hello.txt && cat hello.txt", "description": "Makes hello.txt"}


class Shell(Model):
    """Makes its calls only where there are tools: agents ask for a title of the conversation, too."""

    def says(self, body):
        if body.get("tools"):
            yield from super().says(body)
        else:
            yield from (chunk({"content": "A file"}), chunk({}, "stop"), "[DONE]")


@pytest.fixture
def place(tmp_path):
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    return work, {"PATH": os.environ["PATH"], "HOME": str(home)}


@pytest.fixture
def before(tmp_path):
    """Starts a server before a model server."""
    servers = []

    def before(model: Model) -> Server:
        servers.append(Server(model.url, tmp_path, LLM_MODEL="scripted"))
        return servers[0]

    yield before
    for server in servers:
        server.kill()


def run(command: list, work, env: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=work, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check(model: Model, work) -> None:
    """The shell has run, and the model was told what came of it."""
    assert (work / "hello.txt").read_text() == "hello\n"
    turn = [request for request in model.requests if request.get("tools")]
    assert len(turn) == 2, turn
    last = turn[-1]["messages"][-1]
    assert (last["role"], last["tool_call_id"]) == ("tool", "call_bash") and "hello" in str(last["content"])


@pytest.mark.parametrize("wire", ["completions", "websockets"])
def test_copilot_has_a_turn_with_a_shell_call(place, before, wire):
    work, env = place
    model = Shell([("bash", {**COMMAND, "mode": "sync", "shellId": "one"})])
    env |= {
        "COPILOT_PROVIDER_BASE_URL": f"{before(model).base}/v1",
        "COPILOT_PROVIDER_API_KEY": "none",
        "COPILOT_PROVIDER_WIRE_API": "completions" if wire == "completions" else "responses",
        "COPILOT_PROVIDER_TRANSPORT": "websockets" if wire == "websockets" else "http",
        "COPILOT_MODEL": "scripted",
        "COPILOT_OFFLINE": "true",
        "COPILOT_AUTO_UPDATE": "false",
    }
    said = run([COPILOT, "-p", "Make hello.txt.", "--allow-all-tools", "--no-color"], work, env)
    assert " ".join(WORDS) in said
    check(model, work)


@pytest.mark.skipif(not OPENCODE.exists(), reason="there is a program for another kind of machine only")
def test_opencode_has_a_turn_with_a_shell_call(place, before):
    work, env = place
    model = Shell([("bash", COMMAND)])
    provider = {
        # It speaks the Responses API; `@ai-sdk/openai-compatible` would speak Chat Completions.
        "npm": "@ai-sdk/openai",
        "name": "rejoinder",
        "options": {"baseURL": f"{before(model).base}/v1", "apiKey": "none"},
        "models": {"scripted": {"name": "scripted", "limit": {"context": 100_000, "output": 4096}}},
    }
    config = {
        "autoupdate": False,
        "share": "disabled",
        "model": "rejoinder/scripted",
        "enabled_providers": ["rejoinder"],
        "provider": {"rejoinder": provider},
    }
    (work / "opencode.json").write_text(json.dumps(config))
    env |= dict.fromkeys(("OPENCODE_DISABLE_MODELS_FETCH", "OPENCODE_DISABLE_LSP_DOWNLOAD", "OPENCODE_DISABLE_DEFAULT_PLUGINS"), "1")
    said = run([OPENCODE, "run", "--format", "json", "--auto", "Make hello.txt."], work, env)
    events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    texts = [event["part"]["text"] for event in events if event["type"] == "text"]
    assert [text.strip() for text in texts] == [" ".join(WORDS)]
    check(model, work)
