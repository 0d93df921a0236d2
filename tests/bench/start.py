"""How long a process takes from its start to its first answer, and what it then occupies. Prints JSON.

    start.py REJOINDER BARE TIMES
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time

PATIENCE = 30


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def ask(port: int, model: str) -> bool:
    """Whether there is an answer: a server that has not reached its log yet says so. On a bare socket: what a client's library takes
    for a request is as long as what is measured."""
    body = json.dumps({"model": model, "input": "hi"})
    head = f"POST /v1/responses HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\nconnection: close\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    status = answer.split(b" ", 2)[1]
    assert status in (b"200", b"503"), answer
    return status == b"200"


def first_answer(command: list[str], env: dict[str, str], port: int, model: str, settle: float = 0) -> tuple[float, float]:
    """Milliseconds to the first answer, and MiB resident so many seconds later."""
    began = time.perf_counter()
    with subprocess.Popen(command, env={**os.environ, **env}, stdout=subprocess.DEVNULL) as process:
        try:
            while True:
                try:
                    if ask(port, model):
                        break
                except ConnectionRefusedError:
                    pass
                assert process.poll() is None and time.perf_counter() - began < PATIENCE, f"{command} is not there"
                time.sleep(0.0005)
            took = (time.perf_counter() - began) * 1000
            time.sleep(settle)
            with open(f"/proc/{process.pid}/status") as status:
                (resident,) = [int(line.split()[1]) for line in status if line.startswith("VmRSS:")]
        finally:
            process.kill()
    return took, resident / 1024


def main(rejoinder: str, bare: str, times: int) -> None:
    found = {"new": [], "old": [], "bare": []}
    for _ in range(times):
        with tempfile.TemporaryDirectory() as directory:
            for how in ("new", "old"):
                port = free_port()
                env = {"HOST": "127.0.0.1", "PORT": str(port), "DATA_DIR": f"{directory}/data", "RUST_LOG": "warn"}
                found[how].append(first_answer([rejoinder], {**env, "LLM_BASE_URL": ""}, port, "echo", settle=1))
        port = free_port()
        found["bare"].append(first_answer([bare, f"127.0.0.1:{port}"], {}, port, "prepared"))
    medians = {f"{how}_ms": statistics.median(took for took, _ in all) for how, all in found.items()}
    json.dump({**medians, "idle_mib": statistics.median(mib for _, mib in found["new"])}, sys.stdout)


main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
