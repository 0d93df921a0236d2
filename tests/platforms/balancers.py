"""nginx and HAProxy, with the configurations of infra/, before instances that come and go."""

import os
import re
import signal
import socket
from pathlib import Path

from servers import ROOT, Program, free_port, until

# Where nobody listens: a balancer without instances answers, and says that there is nobody.
NOBODY = 9


class Balancer(Program):
    def __init__(self, directory: Path) -> None:
        self.directory, self.port, self.ports = directory, free_port(), []
        self.base = f"http://127.0.0.1:{self.port}"
        directory.mkdir()
        self.write()
        super().__init__(self.words(), directory / "log", cwd=directory)

    def write(self) -> None:
        text = (ROOT / "infra" / self.FILE).read_text()
        servers = [line for line in text.splitlines() if re.match(r"\s+server (one|two|three)\b", line)]
        assert len(servers) == 3, servers
        listed = "\n".join(self.server(servers[0], port) for port in self.ports or [NOBODY])
        text = text.replace("\n".join(servers), listed)
        assert self.LISTEN in text
        text = text.replace(self.LISTEN, self.LISTEN.replace("8080", str(self.port)).replace(":", "127.0.0.1:"))
        (self.directory / self.FILE).write_text(text)

    def point_at(self, ports: list[int]) -> None:
        """From now on these instances are asked. What is open stays open."""
        if ports != self.ports:
            self.ports = ports
            self.write()
            os.kill(self.process.pid, self.RELOAD)


class Nginx(Balancer):
    FILE, LISTEN, RELOAD = "nginx.conf", "listen 8080;", signal.SIGHUP

    def words(self) -> list[str]:
        own = "daemon off; pid nginx.pid;" + (" user root;" if os.geteuid() == 0 else "")
        return ["nginx", "-p", str(self.directory), "-c", self.FILE, "-e", "error.log", "-g", own]

    @staticmethod
    def server(line: str, port: int) -> str:
        return line.replace("one:8080", f"127.0.0.1:{port}")


class Haproxy(Balancer):
    FILE, LISTEN, RELOAD = "haproxy.cfg", "bind :8080", signal.SIGUSR2

    def words(self) -> list[str]:
        return ["haproxy", "-W", "-f", self.FILE, "-p", "haproxy.pid"]

    @staticmethod
    def server(line: str, port: int) -> str:
        return line.replace("one one:8080", f"at{port} 127.0.0.1:{port}")


def started(directory: Path) -> list[Balancer]:
    both = [Nginx(directory / "nginx"), Haproxy(directory / "haproxy")]
    for one in both:
        until(f"{one.FILE} is used", lambda one=one: answers(one.port))
    return both


def answers(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 1):
        return True
