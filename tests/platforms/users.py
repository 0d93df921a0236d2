"""People who chat through a balancer: with the OpenAI SDK and the loop of README that rejoins, or as a browser's EventSource
follows. Each checks all that it sees; whatever it would have to tell its user is a fault."""

import asyncio
import json
import random
import time
import uuid
from dataclasses import dataclass, field

import httpx
import openai

TERMINAL = ("response.completed", "response.incomplete", "response.failed")


@dataclass
class Seen:
    """What all of them saw."""

    replies: dict[str, str] = field(default_factory=dict)
    accepted: int = 0
    events: int = 0
    faults: list[str] = field(default_factory=list)
    # When streams were cut, or ended to be taken up elsewhere.
    cuts: list[float] = field(default_factory=list)
    rotations: list[float] = field(default_factory=list)
    # Within a reply, the longest that each client waited for its next event.
    waits: list[float] = field(default_factory=list)
    # Answers that the SDK retried by itself, by status.
    retried: dict[int, int] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)


class Crowd:
    def __init__(self, bases: list[str], model: str, words: tuple[int, int]) -> None:
        self.bases, self.model, self.words = bases, model, words
        self.seen, self.random = Seen(), random.Random(7)
        self.people: list[tuple[asyncio.Task, asyncio.Event]] = []
        hooks = {"response": [self.note]}
        http = openai.DefaultAsyncHttpxClient(event_hooks=hooks)
        self.clients = [
            openai.AsyncOpenAI(base_url=f"{base}/v1", api_key="none", max_retries=20, http_client=http)
            for base in bases
        ]

    async def note(self, response) -> None:
        if response.status_code >= 400:
            self.seen.retried[response.status_code] = self.seen.retried.get(response.status_code, 0) + 1

    async def be(self, many: int) -> None:
        """So many people from now on. Who leaves ends what it began."""
        while len(self.people) < many:
            leaves = asyncio.Event()
            place = len(self.people)
            self.people.append((asyncio.create_task(self.talk(place, leaves)), leaves))
        leaving, self.people = self.people[many:], self.people[:many]
        for _, leaves in leaving:
            leaves.set()
        await asyncio.gather(*(task for task, _ in leaving))

    async def talk(self, place: int, leaves: asyncio.Event) -> None:
        turn = 0
        while not leaves.is_set():
            turn += 1
            count = self.random.randint(*self.words)
            text = " ".join(f"w{place}-{turn}-{word}" for word in range(count))
            following = None
            try:
                async for reply in self.reply(place, text):
                    # Every third one is also looked at in a browser.
                    if turn % 3 == 0:
                        following = asyncio.create_task(self.browse(place, reply, text))
                if following:
                    await following
            except Exception as shown:
                self.seen.faults.append(f"{type(shown).__name__}: {shown}")

    async def reply(self, place: int, text: str):
        """Asks for a reply, gives its id, and then reads it to its end: the loop of README."""
        client = self.clients[place % len(self.clients)]
        headers, id, last, got, waited = {"Idempotency-Key": str(uuid.uuid4())}, None, None, [], 0.0
        while True:
            if id:
                stream = await client.responses.retrieve(id, stream=True, starting_after=last)
            else:
                request = {"model": self.model, "input": text, "stream": True}
                stream = await client.responses.create(**request, extra_headers=headers)
            try:
                before = time.monotonic()
                async for event in stream:
                    if id is None:
                        id = event.response.id
                        self.seen.accepted += 1
                        yield id
                    now = time.monotonic()
                    waited, before = max(waited, now - before), now
                    if last is not None and event.sequence_number <= last:
                        self.seen.faults.append(f"{id}: {event.sequence_number} after {last}")
                    last = event.sequence_number
                    self.seen.events += 1
                    if event.type == "response.output_text.delta":
                        got.append(event.delta)
                    if event.type in TERMINAL:
                        self.end(id, text, "".join(got), event.type, last, waited)
                        return
                self.seen.faults.append(f"{id}: a stream ended cleanly after {last}, without an end")
            except openai.APIConnectionError:
                self.seen.cuts.append(time.monotonic())
            await asyncio.sleep(0.2)

    def end(self, id: str, text: str, got: str, kind: str, last: int, waited: float) -> None:
        self.seen.waits.append(waited)
        self.seen.last[id] = last
        self.seen.replies[id] = text
        if (kind, got) != ("response.completed", text):
            self.seen.faults.append(f"{id}: {kind}, {len(got)} of {len(text)} characters")

    async def browse(self, place: int, id: str, text: str) -> None:
        """As an EventSource: comes back after `retry`, with the last id. All but 200 and 204 would end it for good."""
        url = f"{self.bases[(place + 1) % len(self.bases)]}/v1/responses/{id}/events"
        got, last, retry = [], None, 1.0
        async with httpx.AsyncClient(timeout=httpx.Timeout(30)) as client:
            while True:
                headers = {"accept": "text/event-stream"} | ({"last-event-id": last} if last else {})
                try:
                    async with client.stream("GET", url, headers=headers) as answer:
                        if answer.status_code == 204:
                            break
                        if answer.status_code != 200:
                            return self.seen.faults.append(f"{id}: an EventSource was answered {answer.status_code}")
                        number = last
                        async for line in answer.aiter_lines():
                            name, _, value = line.partition(": ")
                            if name == "id":
                                number = value
                            elif name == "retry":
                                retry = int(value) / 1000
                            elif name == "data":
                                event = json.loads(value)
                                if last is not None and int(number) <= int(last):
                                    self.seen.faults.append(f"{id}: an EventSource got {number} after {last}")
                                last = number
                                if event["type"] == "response.output_text.delta":
                                    got.append(event["delta"])
                    self.seen.rotations.append(time.monotonic())
                except httpx.TransportError:
                    self.seen.cuts.append(time.monotonic())
                await asyncio.sleep(retry)
        if "".join(got) != text:
            self.seen.faults.append(f"{id}: an EventSource saw {len(''.join(got))} of {len(text)} characters")

    async def close(self) -> None:
        for client in self.clients:
            await client.close()
