"""Sees alerts come and go, and makes the faults that they are for."""

import contextlib
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from prometheus import Prometheus, panels
from servers import Rejoinder, until

SCENARIOS = {}
# Panels that had something to show in one of them.
SHOWN = set()


def fires(*names: str):
    """A scenario, in which these alerts are to fire, and to clear."""

    def declare(test):
        SCENARIOS[test.__name__] = set(names)
        return test

    return declare


class Watch:
    """Sees alerts come and go."""

    def __init__(self, prometheus: Prometheus, servers: tuple[Rejoinder, ...], expected: set[str]) -> None:
        self.prometheus, self.expected, self.fired, self.cleared = prometheus, expected, set(), set()
        self.instances = {f"127.0.0.1:{server.admin}" for server in servers}

    def firing(self) -> set[str]:
        return self.prometheus.firing(self.instances)

    def fire(self, *names: str, meanwhile=lambda: None) -> None:
        """These come, while something is done again and again."""

        def there() -> bool:
            meanwhile()
            self.fired |= self.firing()
            return self.fired >= set(names)

        until(f"{names} fire, of which {self.fired & set(names)} did", there, 45)

    def clear(self, *names: str, meanwhile=lambda: None) -> None:
        def gone() -> bool:
            meanwhile()
            return not self.firing() & set(names)

        until(f"{names} clear", gone, 45)
        self.cleared |= set(names)

    def look(self) -> None:
        """Which panels show something by now."""
        for name, asked in panels().items():
            if name not in SHOWN and self.prometheus.shown(asked):
                SHOWN.add(name)


@contextlib.contextmanager
def repeated(action, times: int = 4):
    """Does something on so many threads, again and again, until it is over."""
    over = False

    def run() -> None:
        while not over:
            action()

    with ThreadPoolExecutor(times) as pool:
        for _ in range(times):
            pool.submit(run)
        try:
            yield
        finally:
            over = True


def bounce(server: Rejoinder) -> None:
    server.kill()
    server.start()
    server.wait_ready()
    # (Prometheus is to have seen it.)
    time.sleep(0.6)


def damage(log: Path) -> None:
    """Turns the bits of a byte in the middle of a record."""
    words, hit = b"long enough to be found", 0
    for segment in (path for path in log.iterdir() if path.is_file()):
        content = bytearray(segment.read_bytes())
        if (place := content.find(words)) > 0:
            content[place] ^= 0xFF
            segment.write_bytes(content)
            hit += 1
    assert hit, "no file of the log holds the words"


class Reader:
    """A client with a small buffer, which reads a long reply in bursts."""

    def __init__(self, server: Rejoinder, headers: dict) -> None:
        self.server, self.headers, self.socket = server, headers, None

    def read_after(self, seconds: float) -> None:
        if self.socket is None:
            self.open()
        time.sleep(seconds)  # This is the fault: so long it reads nothing.
        self.socket.settimeout(0.2)
        read = 0
        with contextlib.suppress(TimeoutError):
            while read < 2_000_000:
                piece = len(self.socket.recv(1 << 16))
                read += piece
                if piece == 0:
                    return self.close()
        if read == 0:
            self.close()

    def open(self) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", self.server.port))
        body = json.dumps({"model": "echo", "input": "word " * 100_000, "stream": True}).encode()
        head = [f"POST /v1/responses HTTP/1.1\r\nhost: {self.server.base[7:]}", "content-type: application/json"]
        head += [f"content-length: {len(body)}"] + [f"{name}: {value}" for name, value in self.headers.items()]
        self.socket.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)

    def close(self) -> None:
        if self.socket:
            self.socket.close()
        self.socket = None
