"""The Python code that README shows, run as it stands there."""

import re
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

README = Path(__file__).parents[3] / "README.md"
SLOW = "Say 30 words slowly."
TRUTH = " ".join(f"wörd{place:03}" for place in range(1, 31))


def block(heading: str) -> str:
    """The Python block in the section under a heading; there is just one."""
    sections = re.split(r"^## ", README.read_text(), flags=re.M)
    (section,) = [section for section in sections if section.startswith(f"{heading}\n")]
    (code,) = re.findall(r"^```python\n(.*?)^```$", section, flags=re.M | re.S)
    return code


def substitute(code: str, words: dict[str, str]) -> str:
    for old, new in words.items():
        assert old in code
        code = code.replace(old, new)
    return code


@pytest.fixture
def run():
    """Starts code; what it prints comes through a pipe, and it does not outlive the test."""
    children = []

    def run(code: str) -> subprocess.Popen:
        command = [sys.executable, "-X", "utf8", "-c", code]
        children.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0))
        return children[-1]

    yield run
    for child in children:
        child.kill()
        child.communicate()


def loop(base: str, prompt: str = SLOW) -> str:
    words = {"http://127.0.0.1:8080": base, '"eliza"': '"truth"', "I am sad about my mother.": prompt}
    return substitute(block("Rejoin by yourself"), words)


def whole(child: subprocess.Popen, before: bytes = b"") -> str:
    """All that it prints until it ends, as it has to."""
    out, err = child.communicate(timeout=60)
    assert (child.returncode, err.decode()) == (0, "")
    return (before + out).decode()


def accepted(base: str) -> int:
    metrics = urllib.request.urlopen(f"{base}/metrics").read().decode()
    return int(re.search(r"^rejoinder_replies_accepted_total (\d+)$", metrics, re.M)[1])


class Cutter:
    """Between a client and the server: cuts a connection where `cut` says so of what the server answers."""

    def __init__(self, base: str, cut) -> None:
        self.behind, self.cut = ("127.0.0.1", int(base.rsplit(":", 1)[1])), cut
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.base = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            server = socket.create_connection(self.behind)
            threading.Thread(target=self.copy, args=(client, server, lambda: False), daemon=True).start()
            threading.Thread(target=self.copy, args=(server, client, self.cut), daemon=True).start()

    @staticmethod
    def copy(source: socket.socket, sink: socket.socket, cut) -> None:
        try:
            while (piece := source.recv(65536)) and not cut():
                sink.sendall(piece)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def test_the_first_example_prints_a_reply(start, run):
    server = start(LLM_BASE_URL="", LLM_MODEL="")
    child = run(substitute(block("Use it"), {"http://127.0.0.1:8080": server.base}))
    assert "FAMILY" in whole(child)


def test_the_example_of_webhooks_makes_an_endpoint(start, run):
    server = start(LLM_BASE_URL="", LLM_MODEL="")
    child = run(substitute(block("Webhooks"), {"http://127.0.0.1:8080": server.base}))
    assert whole(child).startswith("whsec_")


def test_the_loop_says_the_whole_reply_once_though_the_server_is_killed_in_the_middle(start, run):
    server = start()
    child = run(loop(server.base))
    seen = b""
    while "wörd005".encode() not in seen:
        piece = child.stdout.read(4096)
        assert piece, f"it ended: {seen} {child.stderr.read()}"
        seen += piece
    assert "wörd030".encode() not in seen
    server.kill()
    server.start()
    assert whole(child, seen) == TRUTH


def test_the_loop_joins_its_own_reply_when_the_connection_is_cut_before_the_first_event(start, run):
    server, answers = start(), []
    cutter = Cutter(server.base, lambda: answers.append(1) or len(answers) == 1)
    assert whole(run(loop(cutter.base))) == TRUTH
    assert len(answers) > 1, "it came again"
    assert accepted(server.base) == 1, "and nothing was paid for twice"


def test_the_loop_says_every_word_once_however_often_the_connection_is_cut(start, run):
    server, answers = start(), []
    cutter = Cutter(server.base, lambda: answers.append(1) or len(answers) % 4 == 0)
    assert whole(run(loop(cutter.base))) == TRUTH
    assert len(answers) > 8, "it was cut more than once"
    assert accepted(server.base) == 1


def test_the_loop_ends_with_the_error_of_a_reply_that_failed(start, run):
    child = run(loop(start(LLM_CONTINUATION="off").base, "Say 9 words, then break off."))
    out, err = child.communicate(timeout=60)
    assert child.returncode == 1 and b"APIError" in err
    assert out and TRUTH.encode().startswith(out)


def test_the_loop_ends_with_the_error_of_a_request_that_is_refused(server, run):
    child = run(loop(f"{server.base}/nowhere"))
    assert child.wait(60) == 1
    assert b"NotFoundError" in child.stderr.read()
