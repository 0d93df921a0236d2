"""What many instances on one NATS and one Postgres do, and what each costs: the figures of README.md here that need them.

    many.py BINARY [--seconds N] [--json FILE]

Starts NATS (NATS_SERVER, or nats-server in PATH), Postgres (Debian's programs, `fsync` on) and one to three instances, all in
temporary directories and on free ports, puts load on them with `rejoinder bench`, and prints a table. Takes about three
minutes. Everything shares this machine's cores.
"""

import argparse
import asyncio
import contextlib
import glob
import http.client
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

PATIENCE = 30
TICK = os.sysconf("SC_CLK_TCK")
# What a token of the stamping upstream looks like: when it was sent, in nanoseconds.
STAMP = re.compile(rb"<(\d+)>")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_for(what, probe):
    began = time.monotonic()
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if (found := probe()) is not None:
                return found
        if time.monotonic() - began > PATIENCE:
            sys.exit(f"waited {PATIENCE} s in vain: {what}")
        time.sleep(0.02)


def get(url: str) -> dict:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        return json.load(answer)


# --- What a process takes


def tree(pid: int) -> list[int]:
    children = {}
    for stat in glob.glob("/proc/[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = Path(stat).read_text().rsplit(")", 1)[1].split()
            children.setdefault(int(fields[1]), []).append(int(stat.split("/")[2]))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def cpu_seconds(pid: int) -> float:
    ticks = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
            # Of itself, and of children that have ended.
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICK


def memory_mib(pid: int) -> float:
    """What it takes for itself: what it shares is counted in part."""
    kib = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            kib += int(re.search(r"^Pss:\s*(\d+)", Path(f"/proc/{one}/smaps_rollup").read_text(), re.M)[1])
    return kib / 1024


# --- Servers


class Nats:
    def __init__(self, directory: Path):
        program = os.environ.get("NATS_SERVER") or shutil.which("nats-server") or sys.exit("no nats-server (NATS_SERVER)")
        self.port, self.monitor = free_port(), free_port()
        words = ["--jetstream", "--addr", "127.0.0.1", "--port", str(self.port), "--http_port", str(self.monitor)]
        self.process = subprocess.Popen([program, *words, "--store_dir", directory / "nats"], stderr=subprocess.DEVNULL)
        wait_for("NATS", lambda: get(f"http://127.0.0.1:{self.monitor}/varz"))

    def pid(self) -> int:
        return self.process.pid

    def vitals(self) -> dict:
        varz = get(f"http://127.0.0.1:{self.monitor}/varz")
        return {"connections": varz["connections"], "subscriptions": varz["subscriptions"]}


class Postgres:
    def __init__(self, directory: Path):
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin")) or sys.exit("no Postgres (Debian's package postgresql)")
        self.bin, self.port, self.data = found[-1], free_port(), directory / "postgres"
        self.data.mkdir()
        # Postgres does not run as root.
        self.user = "nobody" if os.geteuid() == 0 else None
        if self.user:
            for one in (directory, self.data):
                shutil.chown(one, self.user)
        self.run("initdb", "--auth=trust", "-U", "postgres", "-D", str(self.data))
        command = [f"{self.bin}/postgres", "-D", str(self.data), "-k", str(self.data), "-p", str(self.port)]
        self.process = subprocess.Popen(command, user=self.user, cwd="/", stderr=subprocess.DEVNULL)
        wait_for("Postgres", lambda: self.sql("SELECT 1") or None)

    def run(self, program: str, *words: str) -> str:
        command = [f"{self.bin}/{program}", *words]
        done = subprocess.run(command, user=self.user, cwd="/", capture_output=True, text=True, check=False)
        if done.returncode and program != "psql":
            sys.exit(done.stderr)
        return done.stdout.strip()

    def sql(self, text: str, database: str = "postgres") -> str:
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", database]
        return self.run("psql", "-qAtX", "-c", text, *where)

    def pid(self) -> int:
        return self.process.pid

    def vitals(self) -> dict:
        own = "SELECT count(*) - 1 FROM pg_stat_activity WHERE backend_type = 'client backend'"
        return {"connections": int(self.sql(own))}

    def url(self) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"


class Instance:
    def __init__(self, binary: str, directory: Path, nats: Nats, postgres: Postgres, upstream: str):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        env = {
            **os.environ,
            "PORT": str(self.port),
            "NATS_URL": f"nats://127.0.0.1:{nats.port}",
            "DATABASE_URL": postgres.url(),
            "DATA_DIR": str(directory / f"data-{self.port}"),
            "LLM_BASE_URL": upstream,
            "LLM_MODEL": "stamped",
            "RUST_LOG": "error",
        }
        self.process = subprocess.Popen([binary], env=env, cwd=directory, stdout=subprocess.DEVNULL)
        wait_for("an instance", lambda: get(f"{self.url}/healthz"))

    def pid(self) -> int:
        return self.process.pid


class Upstream:
    """A model server whose tokens say when they were sent: one each 20 ms, 50 in all."""

    PACE, TOKENS = 0.02, 50

    async def start(self) -> str:
        server = await asyncio.start_server(self.answer, "127.0.0.1", 0)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"

    async def answer(self, reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if length := re.search(rb"(?i)content-length: *(\d+)", head):
                    await reader.readexactly(int(length[1]))
                if head.startswith(b"GET"):
                    body = b'{"object":"list","data":[{"id":"stamped"}]}'
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
                    continue
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
                for _ in range(self.TOKENS):
                    await asyncio.sleep(self.PACE)
                    self.say(writer, '{"choices":[{"index":0,"delta":{"content":"<%d>"}}]}' % time.monotonic_ns())
                self.say(writer, '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}')
                self.say(writer, "[DONE]")
                writer.write(b"0\r\n\r\n")
        writer.close()

    @staticmethod
    def say(writer, data: str):
        line = f"data: {data}\n\n".encode()
        writer.write(b"%x\r\n%s\r\n" % (len(line), line))


# --- Clients


async def ask(url: str, path: str, body: dict | None):
    """Sends a request; gives the stream of what comes back."""
    host = url.split("//")[1].split("/")[0]
    reader, writer = await asyncio.open_connection(*host.split(":"), limit=1 << 20)
    text = b"" if body is None else json.dumps(body).encode()
    head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}content-length: {len(text)}\r\nconnection: close\r\n\r\n".encode() + text)
    return reader, writer


async def delays(url: str, path: str, body: dict, last: bytes) -> list[float]:
    """Milliseconds from the moment at which each token was sent to the one at which it came."""
    reader, writer = await ask(url, path, body)
    found = []
    async for line in reader:
        now = time.monotonic_ns()
        if last in line:
            break
        # Closing events repeat the text.
        if (b"choices" in line or b"output_text.delta" in line) and (stamps := STAMP.findall(line)):
            found += [(now - int(stamp)) / 1e6 for stamp in stamps]
    writer.close()
    return found


async def tokens(instance: Instance, upstream: str, times: int) -> dict:
    """How much later tokens come through an instance than from the upstream itself, in turns."""
    chat = {"model": "stamped", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    ours = {"model": "stamped", "stream": True, "input": "hi"}
    through, direct = [], []
    for _ in range(times):
        direct.append(await delays(upstream, "/v1/chat/completions", chat, b"[DONE]"))
        through.append(await delays(instance.url, "/v1/responses", ours, b"[DONE]"))
    firsts = [statistics.median(one[0] for one in runs) for runs in (through, direct)]
    rest = [statistics.median(delay for one in runs for delay in one[1:]) for runs in (through, direct)]
    return {"first_token_later_ms": firsts[0] - firsts[1], "token_later_ms": rest[0] - rest[1]}


async def rejoin(one: Instance, other: Instance, count: int) -> dict:
    """`count` replies run on one instance; on another, which has seen none of them, each is rejoined once."""
    body = {"model": "echo-50ms", "stream": True, "input": " ".join(["word"] * 400)}
    ids, opened = [], []
    for _ in range(count):
        reader, writer = await ask(one.url, "/v1/responses", body)
        opened.append(writer)
        while not (found := re.search(rb'"id":"(resp_\w+)"', await reader.readline())):
            pass
        ids.append(found[1].decode())
    took = []
    for id in ids:
        began = time.monotonic_ns()
        reader, writer = await ask(other.url, f"/v1/responses/{id}?stream=true", None)
        while not (await reader.readline()).startswith(b"event:"):
            pass
        took.append((time.monotonic_ns() - began) / 1e6)
        writer.close()
    # They need not be said to their end.
    for id, writer in zip(ids, opened):
        writer.close()
        reader, cancel = await ask(one.url, f"/v1/responses/{id}/cancel", {})
        await reader.read()
        cancel.close()
    took.sort()
    return {"rejoin_p50_ms": statistics.median(took), "rejoin_p99_ms": took[int(len(took) * 0.99) - 1]}


def bench(binary: str, url: str, *words: str) -> subprocess.Popen:
    return subprocess.Popen([binary, "bench", url, "--json", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def result(process: subprocess.Popen) -> dict:
    return json.loads(process.communicate()[0])["runs"][0]


def load(binary: str, instance: Instance, clients: int, seconds: int) -> dict:
    run = result(bench(binary, instance.url, "-c", str(clients), "--every", "200ms", "--for", f"{seconds}s"))
    whole, started = run["latency"]["whole_reply"], run["latency"]["started"]
    return {
        "bad": run["bad"],
        "replies_per_second": run["figures"]["replies_per_second"],
        "p50_ms": whole["p50_ms"],
        "p99_ms": whole["p99_ms"],
        "late_p50_ms": started["p50_ms"],
    }


def cost(binary: str, instances: list[Instance], servers: dict, seconds: int) -> dict:
    """What everybody takes: with nothing to do, and under 500 replies a second in all, 20 words each."""
    found = {}
    for name in ("idle", "busy"):
        before = {server: cpu_seconds(one.pid()) for server, one in servers.items()}
        own = sum(cpu_seconds(one.pid()) for one in instances)
        began = time.monotonic()
        if name == "busy":
            words = ["-c", str(100 // len(instances)), "--every", "200ms", "--for", f"{seconds}s"]
            runs = [result(one) for one in [bench(binary, one.url, *words) for one in instances]]
            found["bad"] = sum(run["bad"] for run in runs)
            found["replies_per_second"] = sum(run["figures"]["replies_per_second"] for run in runs)
        else:
            time.sleep(seconds)
        lasted = time.monotonic() - began
        for server, one in servers.items():
            percent = 100 * (cpu_seconds(one.pid()) - before[server]) / lasted
            found[f"{server}_{name}"] = {"cpu_percent": percent, "memory_mib": memory_mib(one.pid()), **one.vitals()}
        own = 100 * (sum(cpu_seconds(one.pid()) for one in instances) - own) / lasted
        found[f"instances_{name}"] = {"cpu_percent": own, "memory_mib": sum(memory_mib(one.pid()) for one in instances)}
    return found


# --- All of it


async def measure(binary: str, seconds: int) -> dict:
    upstream = await Upstream().start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        directory = Path(name)
        started = []
        try:
            started.append(nats := Nats(directory))
            started.append(postgres := Postgres(directory))
            servers = {"nats": nats, "postgres": postgres}
            instances, costs = [], []
            found = {"costs": costs}
            for count in (1, 2, 3):
                one = await asyncio.to_thread(Instance, binary, directory, nats, postgres, upstream)
                started.append(one)
                instances.append(one)
                print(f"measuring: what {count} cost", file=sys.stderr)
                costs.append(await asyncio.to_thread(cost, binary, instances, servers, seconds))
                if count == 1:
                    for clients in (200, 1000):
                        print(f"measuring: {clients} clients", file=sys.stderr)
                        found[f"clients_{clients}"] = await asyncio.to_thread(load, binary, one, clients, seconds)
            print("measuring: tokens", file=sys.stderr)
            found |= await tokens(instances[0], upstream, 20)
            print("measuring: rejoining", file=sys.stderr)
            found |= await rejoin(instances[0], instances[1], 200)
            return found
        finally:
            for one in reversed(started):
                one.process.send_signal(signal.SIGTERM if one is not nats else signal.SIGKILL)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    one.process.wait(15)
                one.process.kill()


def table(found: dict) -> str:
    lines = []
    for clients in (200, 1000):
        of = found[f"clients_{clients}"]
        lines.append(
            f"{clients} clients, a message each 200 ms, one instance: {of['replies_per_second']:.0f}/s, {of['bad']} not ok, "
            f"whole reply p50 {of['p50_ms']:.1f} ms, p99 {of['p99_ms']:.1f} ms"
        )
    lines += [
        f"first token {found['first_token_later_ms']:.2f} ms later than from the upstream, others {found['token_later_ms']:.2f} ms",
        f"rejoined elsewhere, 200 running: p50 {found['rejoin_p50_ms']:.1f} ms, p99 {found['rejoin_p99_ms']:.1f} ms",
        "",
        "| | 1 instance | 2 | 3 |",
        "|---|---:|---:|---:|",
    ]
    for name, keys in ROWS.items():
        for key, (label, unit) in keys.items():
            values = [f"{of[name][key]:,.1f}{unit}" for of in found["costs"]]
            lines.append(f"| {label} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def rows(server: str, *more: str) -> dict:
    states = {"idle": "idle", "busy": "500 replies/s in all"}
    return {
        f"{server.lower()}_{state}": {
            "cpu_percent": (f"{server}, {words}: CPU", " %"),
            "memory_mib": (f"{server}, {words}: memory", " MiB"),
            **({one: (f"{server}: {one}", "") for one in more} if state == "idle" else {}),
        }
        for state, words in states.items()
    }


ROWS = rows("NATS", "connections", "subscriptions") | rows("Postgres", "connections") | rows("Instances")


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("binary")
    words.add_argument("--seconds", type=int, default=10)
    words.add_argument("--json")
    given = words.parse_args()
    found = asyncio.run(measure(os.path.abspath(given.binary), given.seconds))
    if given.json:
        Path(given.json).write_text(json.dumps(found, indent=1))
    print(table(found))


if __name__ == "__main__":
    main()
