"""Codex (npm's `@openai/codex`), unmodified: whole turns of an agent, before a model server that answers by a script."""

import contextlib
import json
import os
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import CLIENTS, Server

README = CLIENTS.parents[1] / "README.md"
CODEX = CLIENTS / "node_modules" / ".bin" / "codex"

# What would reach for other servers, or for the user's own set-up.
QUIET = ["--disable", "plugins", "-c", "check_for_update_on_startup=false", "-c", "analytics.enabled=false"]

SHELL = {"cmd": "echo hello > hello.txt && cat hello.txt"}
PATCH = "*** Begin Patch\n*** Update File: hello.txt\n@@\n-hello\n+goodbye\n*** End Patch\n"
MODELS = [{"id": "scripted", "max_model_len": 100_000}, {"id": "gpt-5.5"}]
SUMMARY = "A summary: hello.txt was wanted, and made."
WORDS = "The file is there , as you asked .".split()


class Model:
    """A model server that makes its calls one after the other, and then says its words; each at a sign, if it is held."""

    def __init__(self, calls: list[tuple[str, dict]]) -> None:
        self.calls = list(calls)
        self.requests: list[dict] = []
        self.asked_to_end = threading.Event()
        self.goes_on = threading.Event()
        self.goes_on.set()
        model = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_): ...

            def do_GET(self):
                self.answer("application/json", json.dumps({"object": "list", "data": MODELS}))

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                model.requests.append(body)
                with contextlib.suppress(ConnectionError):
                    self.send_response(200)
                    self.send_header("content-type", "text/event-stream")
                    self.end_headers()
                    for piece in model.says(body):
                        data = piece if isinstance(piece, str) else json.dumps(piece)
                        self.wfile.write(f"data: {data}\n\n".encode())
                        self.wfile.flush()

            def answer(self, kind, text):
                self.send_response(200)
                self.send_header("content-type", kind)
                self.end_headers()
                self.wfile.write(text.encode())

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def says(self, body):
        last = body["messages"][-1]
        if is_for_summary(body):
            yield chunk({"content": SUMMARY})
            yield chunk({}, "stop")
        elif self.calls:
            name, arguments = self.calls.pop(0)
            function = {"name": name, "arguments": json.dumps(arguments)}
            yield chunk({"tool_calls": [{"index": 0, "id": f"call_{name}", "type": "function", "function": function}]})
            yield chunk({}, "tool_calls")
        else:
            # What is generated already, where a reply goes on that was broken off.
            begun = last["content"].split() if last["role"] == "assistant" else []
            for place, word in enumerate(WORDS[len(begun) :], len(begun)):
                if place == 3:
                    self.asked_to_end.set()
                    self.goes_on.wait(60)
                yield chunk({"content": word + " "})
            yield chunk({}, "stop")
        # Long, until it is summed up.
        tokens = 100 if SUMMARY in str(body["messages"]) else 900
        yield {"choices": [], "usage": {"prompt_tokens": tokens, "completion_tokens": 5, "total_tokens": tokens + 5}}
        yield "[DONE]"


def is_for_summary(body) -> bool:
    last = body["messages"][-1]
    return last["role"] == "user" and "summary" in str(last["content"]) and SUMMARY not in str(last["content"])


def chunk(delta, finish=None):
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


class Agent:
    """Codex, in a directory of its own, at this server."""

    def __init__(self, server: Server, directory, model: str, provider: str, *more: str) -> None:
        home, self.work = directory / "home", directory / "work"
        home.mkdir()
        self.work.mkdir()
        (home / "config.toml").write_text(provider.format(base=server.base, model=model))
        env = {"PATH": os.environ["PATH"], "HOME": str(home), "CODEX_HOME": str(home), "CODEX_API_KEY": "none"}
        command = [CODEX, "exec", "--skip-git-repo-check", "--json", "-s", "danger-full-access", *QUIET, *more, "Make hello.txt."]
        self.process = subprocess.Popen(
            command, cwd=self.work, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def turn(self) -> list[dict]:
        """The items of its turn, once that is over."""
        out, err = self.process.communicate(timeout=90)
        assert self.process.returncode == 0, out + err
        events = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        assert events[-1]["type"] == "turn.completed", events
        return [event["item"] for event in events if event["type"] == "item.completed"]


def shown() -> str:
    """What README shows under “Agents”."""
    section = README.read_text().split("\n## Agents\n")[1].split("\n## ")[0]
    (block,) = re.findall(r"^```toml\n(.*?)^```$", section, flags=re.M | re.S)
    return block.replace("http://127.0.0.1:8080", "{base}").replace("qwen3", "{model}")


OURS = shown()

KNOWING = (
    OURS
    + """model_catalog_url = "{base}/v1/models"
env_key = "CODEX_API_KEY"
[features]
api_key_model_discovery = true
"""
)

# Its own provider, at another address: over a WebSocket.
BUILT_IN = 'model = "{model}"\nopenai_base_url = "{base}/v1"\n'


@pytest.fixture
def codex(tmp_path):
    made = []

    def codex(model: Model, name: str, provider: str, *more: str) -> tuple[Agent, Server]:
        server = Server(model.url, tmp_path, LLM_MODEL="scripted")
        made.append(server)
        agent = Agent(server, tmp_path, name, provider, *more)
        made.append(agent)
        return agent, server

    yield codex
    for one in made:
        one.process.kill()
        one.process.wait()


def test_a_turn_goes_on_after_the_server_was_killed(codex):
    model = Model([("exec_command", SHELL)])
    model.goes_on.clear()
    agent, server = codex(model, "scripted", KNOWING)
    assert model.asked_to_end.wait(60)
    server.kill()
    model.goes_on.set()
    server.start()
    items = agent.turn()
    assert [item["type"] for item in items] == ["command_execution", "agent_message"], items
    assert items[0]["aggregated_output"] == "hello\n"
    assert items[1]["text"].split() == WORDS
    assert (agent.work / "hello.txt").read_text() == "hello\n"
    # It knows the model by our list: it has no words of its own for it.
    assert "coding agent that works in the user's terminal" in str(model.requests[0]["messages"][0])


def test_a_patch_is_applied_over_a_websocket(codex):
    model = Model([("exec_command", SHELL), ("apply_patch", {"input": PATCH})])
    agent, _ = codex(model, "gpt-5.5", BUILT_IN)
    items = agent.turn()
    assert [item["type"] for item in items] == ["command_execution", "file_change", "agent_message"], items
    assert (agent.work / "hello.txt").read_text() == "goodbye\n"


@pytest.mark.parametrize(("name", "provider"), [("scripted", OURS), ("gpt-5.5", BUILT_IN)])
def test_a_long_turn_is_compacted(codex, name, provider):
    model = Model([("exec_command", SHELL), ("exec_command", {"cmd": "cat hello.txt"})])
    agent, _ = codex(model, name, provider, "-c", "model_auto_compact_token_limit=800")
    items = agent.turn()
    assert items[-1]["text"].split() == WORDS, items
    assert sum(map(is_for_summary, model.requests)) == 1, [request["messages"][-1] for request in model.requests]
    # It goes on from the summary, without what that sums up.
    assert SUMMARY in str(model.requests[-1]["messages"])
    assert "hello > hello.txt" not in str(model.requests[-1]["messages"])
