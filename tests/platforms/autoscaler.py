"""A platform that starts and stops instances by their open streams, as container platforms do: up at once, down slowly and one
at a time; SIGTERM, ten seconds, then `kill -9`. It tells the balancers of an instance that ends only after it has told the
instance, since on real platforms both happen at once."""

import math
import random
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from balancers import Balancer
from servers import Rejoinder, status

GRACE = 10.0
# How much later than the instance the balancers learn that it ends.
ENDPOINTS_LAG = 0.5


@dataclass
class Rules:
    """How many instances there are to be."""

    least: int
    most: int
    # Open streams of one.
    target: int
    # So long fewer have to be enough before one is stopped.
    window: float
    # And then one is stopped so often.
    down_every: float


@dataclass
class Figures:
    starts: list[float] = field(default_factory=list)
    drains: list[float] = field(default_factory=list)
    terminated: list[float] = field(default_factory=list)
    killed: int = 0
    overdue: int = 0
    most_instances: int = 0
    most_streams: int = 0
    codes: set[int] = field(default_factory=set)


@dataclass
class Instance:
    server: Rejoinder
    generation: int
    begun: float
    ready: bool = False
    told: float | None = None


class Platform:
    def __init__(
        self, directory: Path, balancers: list[Balancer], rules: Rules, env: dict[str, str], binary: str
    ) -> None:
        self.directory, self.balancers, self.rules, self.env = directory, balancers, rules, env
        self.binary, self.generation = binary, 0
        self.instances: list[Instance] = []
        self.figures, self.random = Figures(), random.Random(1)
        self.wanted: list[tuple[float, int]] = []
        self.kill_every: float | None = None
        self.begun = 0
        self.last_kill = self.last_end = time.monotonic()
        self.over, self.thread = threading.Event(), threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        while not self.over.wait(0.2):
            self.look()

    def look(self) -> None:
        now = time.monotonic()
        for instance in self.instances:
            self.settle(instance, now)
        self.instances = [one for one in self.instances if one.server.is_running()]
        working = self.working()
        self.figures.most_instances = max(self.figures.most_instances, len(working))
        self.reconcile(now, working, self.decide(now, working))
        self.maybe_kill(now)
        self.point()

    def reconcile(self, now: float, working: list[Instance], wanted: int) -> None:
        old = [one for one in working if one.generation != self.generation]
        if len(working) < wanted or (old and len(working) == wanted):
            # While a deployment rolls there is one more than wanted.
            for _ in range(max(wanted - len(working), 1)):
                self.begin()
        elif len(working) > wanted and all(one.ready for one in working):
            if old or now - self.last_end > self.rules.down_every:
                self.end(self.random.choice(old or working), now)

    def decide(self, now: float, working: list[Instance]) -> int:
        streams = sum(int(one.server.metric("rejoinder_streams_open")) for one in self.instances if one.ready)
        self.figures.most_streams = max(self.figures.most_streams, streams)
        rules = self.rules
        enough = min(max(math.ceil(streams / rules.target), rules.least), rules.most)
        self.wanted = [one for one in self.wanted if one[0] > now - rules.window] + [(now, enough)]
        most = max(enough for _, enough in self.wanted)
        return max(enough, min(most, len(working)))

    def begin(self) -> None:
        self.begun += 1
        directory = self.directory / f"instance-{self.begun}"
        server = Rejoinder(directory, self.binary, **self.env)
        self.instances.append(Instance(server, self.generation, time.monotonic()))

    def settle(self, instance: Instance, now: float) -> None:
        """Takes note of one that became ready, or ended."""
        server = instance.server
        if not instance.ready and server.is_running() and status(f"{server.base}/readyz", timeout=1) == 200:
            instance.ready = True
            self.figures.starts.append(time.monotonic() - instance.begun)
        if instance.told and not server.is_running():
            self.figures.drains.append(now - instance.told)
            self.figures.codes.add(server.process.returncode)
        elif instance.told and now - instance.told > GRACE:
            self.figures.overdue += 1
            server.kill()

    def end(self, instance: Instance, now: float) -> None:
        instance.server.terminate()
        instance.told = self.last_end = now
        self.figures.terminated.append(now)

    def maybe_kill(self, now: float) -> None:
        working = [one for one in self.working() if one.ready]
        if self.kill_every and now - self.last_kill > self.kill_every and len(working) > 1:
            self.last_kill = now
            self.figures.killed += 1
            self.random.choice(working).server.signal(signal.SIGKILL)

    def point(self) -> None:
        now = time.monotonic()
        asked = [
            one.server.port
            for one in self.instances
            if one.ready and (one.told is None or now - one.told < ENDPOINTS_LAG)
        ]
        for balancer in self.balancers:
            balancer.point_at(asked)

    def deploy(self, binary: str) -> None:
        """Replaces all instances, one after another."""
        self.binary, self.generation = binary, self.generation + 1

    def working(self) -> list[Instance]:
        """All but those that were told to end."""
        return [one for one in self.instances if one.told is None]

    def is_deployed(self) -> bool:
        working = self.working()
        return bool(working) and all(one.generation == self.generation and one.ready for one in working)

    def stop(self) -> None:
        self.over.set()
        self.thread.join()

    def kill(self) -> None:
        self.stop()
        for one in self.instances:
            one.server.kill()
