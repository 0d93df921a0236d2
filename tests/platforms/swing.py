"""A deployment under a load that swings: NATS, Postgres, nginx and HAProxy, and an autoscaler that starts and stops instances.

    swing.py BINARY [--older BINARY] [--seconds N] [--people N] [--json FILE]

One part of the time is load 1, then ten times as much, then 1 again, with instances killed in between; then the older binary is
rolled out and back, all instances are stopped until the log has forgotten everything, and are started again. Prints a table.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import balancers
from autoscaler import GRACE, Platform, Rules
from servers import Nats, Postgres, until
from users import Crowd


@dataclass
class Plan:
    binary: str
    older: str
    # Of load 1, of load 10, of load 1 again.
    seconds: tuple[float, float, float]
    people: int
    kill_every: float
    # Of a reply, one each 50 ms.
    words: tuple[int, int]
    # How long the log keeps anything: a night is over when it has forgotten all.
    night: int


async def when(what: str, condition, patience: float = 60) -> None:
    await asyncio.to_thread(until, what, condition, patience)


async def swing(plan: Plan, directory: Path, started: ExitStack) -> dict:
    postgres = Postgres(directory)
    started.callback(postgres.kill)
    nats = Nats(directory)
    started.callback(nats.kill)
    proxies = balancers.started(directory)
    for one in proxies:
        started.callback(one.kill)
    env = {"NATS_URL": nats.url, "DATABASE_URL": postgres.url, "DRAIN_TIMEOUT": f"{GRACE:.0f}s"}
    env |= {
        "REPLY_DEADLINE": f"{plan.night - 1}s",
        "REPLAY_WINDOW": f"{plan.night}s",
        "LOG_RETENTION": f"{plan.night}s",
    }
    after = plan.seconds[2]
    rules = Rules(least=2, most=8, target=max(plan.people * 5 // 3, 4), window=after / 4, down_every=after / 8)
    platform = Platform(directory, proxies, rules, env, plan.binary)
    started.callback(platform.kill)
    crowd = Crowd([one.base for one in proxies], "echo-50ms", plan.words)
    await when("instances are there", platform.is_deployed)
    print("the load swings", file=sys.stderr)
    before, peak, _ = plan.seconds
    await crowd.be(plan.people)
    await asyncio.sleep(before)
    platform.kill_every = plan.kill_every
    await crowd.be(plan.people * 10)
    await asyncio.sleep(peak)
    platform.kill_every = None
    await asyncio.gather(crowd.be(plan.people), asyncio.sleep(after))
    await when("it is small again", lambda: len(platform.working()) == rules.least)
    print("older instances are rolled out, and newer ones again", file=sys.stderr)
    for binary in (plan.older, plan.binary):
        platform.deploy(binary)
        await when(f"{binary} is deployed", platform.is_deployed)
    await crowd.be(0)
    figures = told(crowd.seen, platform.figures)
    print("night", file=sys.stderr)
    figures |= await night(crowd, platform, nats, postgres)
    await crowd.close()
    return figures


async def night(crowd: Crowd, platform: Platform, nats: Nats, postgres: Postgres) -> dict:
    """Nobody is there, no instance runs, and the log forgets. In the morning somebody asks for what was said."""
    seen = crowd.seen
    await when("the store has all", lambda: int(postgres.sql("SELECT count(*) FROM replies")) >= len(seen.replies))
    platform.rules.least = platform.rules.window = 0
    await when("no instance is left", lambda: not platform.instances)
    await when("the log has forgotten", lambda: nats.messages() == 0)
    began, platform.rules.least = time.monotonic(), 1
    client = crowd.clients[0]
    for place, (id, text) in enumerate(list(seen.replies.items())[:: max(len(seen.replies) // 40, 1)]):
        reply = await client.responses.retrieve(id)
        if place == 0:
            morning = time.monotonic() - began
        if (reply.status, reply.output_text) != ("completed", text):
            seen.faults.append(
                f"{id}: in the morning {reply.status}, {len(reply.output_text)} of {len(text)} characters"
            )
        events = [event async for event in await client.responses.retrieve(id, stream=True)]
        if events[-1].sequence_number != seen.last[id]:
            seen.faults.append(f"{id}: in the morning it ends with {events[-1].sequence_number}, not {seen.last[id]}")
    text = "Good morning."
    again = await client.responses.create(model="echo", input=text, previous_response_id=id)
    items = [item async for item in await client.responses.input_items.list(again.id)]
    if again.output_text != text or len(items) != 1:
        seen.faults.append(f"{again.id}: after the night it did not go on")
    return {"first answer in the morning, s": round(morning, 2), "faults": seen.faults}


def told(seen, figures) -> dict:
    """The table."""
    waits = sorted(seen.waits)
    moved = [moved_at_once(seen.cuts, at) for at in figures.terminated]
    return {
        "replies": len(seen.replies),
        "events": seen.events,
        "most instances": figures.most_instances,
        "most open streams": figures.most_streams,
        "instances started": len(figures.starts),
        "from start to ready, s, median and most": pair(figures.starts),
        "instances told to end": len(figures.terminated),
        "from SIGTERM to the end, s, median and most": pair(figures.drains),
        "exit codes": sorted(figures.codes),
        "killed since the grace period was over": figures.overdue,
        "kill -9": figures.killed,
        "streams cut": len(seen.cuts),
        "EventSource streams ended, to come back": len(seen.rotations),
        "most of these within 100 ms, of one SIGTERM": max(moved, default=0),
        "answers that the SDK retried": {str(code): count for code, count in sorted(seen.retried.items())},
        "longest wait for the next event in a reply, s: p50, p99, most": [
            round(value, 2) for value in (waits[len(waits) // 2], waits[int(len(waits) * 0.99)], waits[-1])
        ],
        "accepted and not ended": seen.accepted - len(seen.replies),
    }


def pair(values: list[float]) -> list[float]:
    return [round(statistics.median(values), 2), round(max(values), 2)] if values else []


def moved_at_once(cuts: list[float], at: float) -> int:
    """The most streams that were cut within 100 ms, in the grace period after a SIGTERM."""
    those = sorted(cut for cut in cuts if at <= cut <= at + GRACE)
    return max((sum(begin <= cut < begin + 0.1 for cut in those) for begin in those), default=0)


def run(plan: Plan) -> dict:
    with tempfile.TemporaryDirectory(prefix="rejoinder-", ignore_cleanup_errors=True) as name, ExitStack() as started:
        return asyncio.run(swing(plan, Path(name), started))


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("binary")
    words.add_argument("--older")
    words.add_argument("--seconds", type=float, default=180)
    words.add_argument("--people", type=int, default=8)
    words.add_argument("--json", type=Path)
    given = words.parse_args()
    parts = (given.seconds / 6, given.seconds / 2, given.seconds / 3)
    binary = str(Path(given.binary).resolve())
    older = str(Path(given.older or binary).resolve())
    found = run(Plan(binary, older, parts, given.people, given.seconds / 12, words=(20, 240), night=30))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))
    for name, value in found.items():
        print(f"| {name} | {value} |")
    sys.exit(bool(found["faults"]))


if __name__ == "__main__":
    main()
