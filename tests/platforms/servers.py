"""The programs that a deployment consists of, as child processes that a test can stop, freeze and start again: the server,
NATS, Postgres, and a model server that can be told to misbehave."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests/bench"))

import many  # noqa: E402 (it is where the benchmark is)

free_port = many.free_port
PATIENCE = 30


def until(what: str, probe, patience: float = PATIENCE):
    """What `probe` gives, once it gives something."""
    began = time.monotonic()
    while True:
        with contextlib.suppress(OSError):
            if found := probe():
                return found
        assert time.monotonic() - began < patience, f"waited {patience} s in vain: {what}"
        time.sleep(0.02)


def status(url: str, body: dict | None = None, headers: dict | None = None, timeout: float = PATIENCE) -> int:
    """The status of the answer to a request, whose body is read to its end. 0: there was none."""
    return ask(url, body, headers, timeout)[0]


def ask(
    url: str, body: dict | None = None, headers: dict | None = None, timeout: float = PATIENCE
) -> tuple[int, bytes]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()
    except OSError:
        return 0, b""


class Program:
    """A child process, which can be started again as it was."""

    def __init__(self, command: list, log: Path, **more) -> None:
        self.command, self.log, self.more = [str(word) for word in command], log, more
        self.process: subprocess.Popen | None = None
        self.start()

    def start(self) -> None:
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self.more)

    def is_running(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: int) -> None:
        """To the program and its children. (Those of Postgres have process groups of their own.)"""
        for pid in many.tree(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """`kill -9`, and waits until it is gone."""
        self.signal(signal.SIGKILL)
        self.process.wait()


class Rejoinder(Program):
    """The server, on a port of its own, and its figures on another."""

    def __init__(self, directory: Path, binary: str | None = None, admin: int | None = None, **env: str) -> None:
        self.port, self.admin = free_port(), admin or free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        directory.mkdir(exist_ok=True)
        settings = {
            "PATH": os.environ["PATH"],
            "PORT": str(self.port),
            "ADMIN_ADDR": f"127.0.0.1:{self.admin}",
            "DATA_DIR": str(directory / "data"),
            **env,
        }
        super().__init__([binary or os.environ["REJOINDER_BIN"]], directory / "log", env=settings, cwd=directory)

    def wait_ready(self) -> None:
        until(f"{self.base} is ready", lambda: status(f"{self.base}/readyz") == 200)

    def metrics(self) -> str:
        return ask(f"http://127.0.0.1:{self.admin}/metrics")[1].decode()

    def metric(self, name: str) -> float:
        """The sum of all series of a gauge or a counter; 0 where there is none."""
        lines = [line for line in self.metrics().splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def reply(self, text: str, model: str = "echo", **more) -> int:
        """Asks for a reply, and gives the status of the answer."""
        return status(f"{self.base}/v1/responses", {"model": model, "input": text, **more})


class Nats(Program):
    def __init__(self, directory: Path) -> None:
        self.port, monitor = free_port(), free_port()
        self.monitor = f"http://127.0.0.1:{monitor}"
        self.url = f"nats://127.0.0.1:{self.port}"
        program = os.environ.get("NATS_SERVER") or shutil.which("nats-server")
        words = ["--jetstream", "--addr", "127.0.0.1", "--port", self.port, "--http_port", monitor]
        super().__init__([program, *words, "--store_dir", directory / "nats"], directory / "nats.log")
        until("NATS", lambda: status(f"{self.monitor}/healthz") == 200)

    def messages(self) -> int:
        """What all of its streams hold."""
        return json.loads(ask(f"{self.monitor}/jsz")[1])["messages"]


class Postgres(Program):
    """The benchmark's, which can also be started again."""

    def __init__(self, directory: Path) -> None:
        made = many.Postgres(directory)
        made.process.terminate()
        made.process.wait()
        self.sql, self.url = made.sql, made.url()
        command = [f"{made.bin}/postgres", "-D", made.data, "-k", made.data, "-p", made.port]
        super().__init__(command, directory / "postgres.log", user=made.user, cwd="/")
        self.wait_ready()

    def wait_ready(self) -> None:
        until("Postgres", lambda: self.sql("SELECT 1"))


class ModelServer:
    """Says four words to everything: at once (`polite`), after a second (`slow`), or not at all (`failing`;
    `gone` for good). Speaks, hears a word in everything, and takes webhooks, too."""

    def __init__(self) -> None:
        self.manner = "polite"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_) -> None:
                pass

            def do_GET(self) -> None:
                self.answer(b'{"object":"list","data":[{"id":"truth","object":"model"}]}', "application/json")

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                if outer.manner == "failing":
                    return self.answer(b'{"error":{"message":"no"}}', "application/json", 500)
                if outer.manner == "gone":
                    return self.answer(b"", "text/plain", 410)
                if outer.manner == "slow":
                    time.sleep(1)
                if self.path.endswith("/hook"):
                    return self.answer(b"", "text/plain")
                if self.path.endswith("/audio/transcriptions"):
                    return self.answer(b'{"text":"word"}', "application/json")
                if self.path.endswith("/audio/speech"):
                    return self.answer(sound(), "audio/wav")
                chunks = [{"choices": [{"index": 0, "delta": {"content": f"word{n} "}}]} for n in range(4)]
                # A reason that nobody knows: that is counted.
                chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "tired"}]})
                lines = [*map(json.dumps, chunks), "[DONE]"]
                self.answer("".join(f"data: {line}\n\n" for line in lines).encode(), "text/event-stream")

            def answer(self, body: bytes, kind: str, code: int = 200) -> None:
                with contextlib.suppress(OSError):
                    self.send_response(code)
                    self.send_header("content-type", kind)
                    self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.base = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def kill(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def sound() -> bytes:
    """A fifth of a second of a tone, as a WAV file."""
    import io
    import math
    import struct
    import wave

    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(24000)
        samples = [int(8000 * math.sin(n / 10)) for n in range(4800)]
        file.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return out.getvalue()
