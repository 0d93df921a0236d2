"""The real server and its impolite upstream as child processes, for the tests of the Python SDK."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import openai
import pytest

CLIENTS = Path(__file__).parent.parent


def address(process: subprocess.Popen) -> str:
    """The address in the first line that has one."""
    for line in process.stdout:
        if found := re.search(r"http://127\.0\.0\.1:\d+(/v1)?", line):
            return found[0]
    raise RuntimeError(f"it ended with {process.wait()} before it said where it listens")


class Server:
    """The server, on a port and a data directory of its own."""

    def __init__(self, upstream: str, directory: Path, **more: str) -> None:
        self.env = {
            "PATH": os.environ["PATH"],
            "HOST": "127.0.0.1",
            "PORT": "0",
            "DATA_DIR": str(directory / "data"),
            "LLM_BASE_URL": upstream,
            "LLM_MODEL": "truth",
            **more,
        }
        self.directory = directory
        self.start()

    def start(self) -> None:
        """Starts it, after the first time where it was."""
        with open(self.directory / "stderr", "a") as stderr:
            self.process = subprocess.Popen(
                [os.environ["REJOINDER_BIN"]],
                cwd=self.directory,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self.base = address(self.process)
        self.env["PORT"] = self.base.rsplit(":", 1)[1]

    def kill(self) -> None:
        """`kill -9`, and waits until it is gone."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def client(self) -> openai.OpenAI:
        # No retries: what needs one is a fault here.
        return openai.OpenAI(base_url=f"{self.base}/v1", api_key="unused", max_retries=0)


@pytest.fixture(scope="session")
def upstream():
    process = subprocess.Popen(
        [shutil.which("node"), CLIENTS / "upstream.js"], stdout=subprocess.PIPE, text=True
    )
    yield address(process)
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def server(upstream, tmp_path_factory):
    server = Server(upstream, tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


@pytest.fixture
def start(upstream, tmp_path):
    """Starts a further server with other settings."""
    servers = []

    def start(**more: str) -> Server:
        servers.append(Server(upstream, tmp_path, **more))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()
