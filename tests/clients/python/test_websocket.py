"""`/v1/responses` as a WebSocket: the openai SDK's own client, and PyPI's `websockets` for the protocol's edges."""

import asyncio
import json

import openai
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from test_openai import text_of, truth

MODEL = "truth"


def reply(connection) -> list:
    """The events of a reply to its end."""
    events = []
    for event in connection:
        events.append(event)
        if event.type in ("response.completed", "response.incomplete", "response.failed", "error"):
            return events
    raise AssertionError(f"it ended after {events}")


def test_the_sdk_has_replies_over_one_connection(client):
    with client.responses.connect() as connection:
        connection.response.create(model=MODEL, input="Say 9 words.", store=False)
        first = reply(connection)
        assert text_of(first) == truth(9)
        previous = first[-1].response.id
        connection.response.create(model=MODEL, input="Say 4 words.", store=False, previous_response_id=previous)
        second = reply(connection)
        assert text_of(second) == truth(4)
        assert second[-1].response.previous_response_id == previous
        connection.response.create(model=MODEL, input="Say 3 words.", previous_response_id="resp_missing")
        (error,) = reply(connection)
        assert (error.type, error.error.code, error.status) == ("error", "previous_response_not_found", 400)
        # It is stored unless that is not wanted.
        connection.response.create(model=MODEL, input="Say 5 words.")
        stored = reply(connection)[-1].response
        assert client.responses.retrieve(stored.id).output_text == truth(5)


def test_the_sdk_has_lanes(client):
    async def lanes():
        async with openai.AsyncOpenAI(base_url=client.base_url, api_key="unused").responses.connect() as connection:
            await connection.response.create(model=MODEL, input="Say 30 words slowly.", stream_id="slow")
            await connection.response.create(model=MODEL, input="Say 5 words.", stream_id="quick")
            texts, ends = {"slow": "", "quick": ""}, []
            async for event in connection:
                if event.type == "response.output_text.delta":
                    texts[event.stream_id] += event.delta
                elif event.type == "response.completed":
                    ends.append(event.stream_id)
                    if len(ends) == 2:
                        return texts, ends

    texts, ends = asyncio.run(lanes())
    assert texts == {"slow": truth(30), "quick": truth(5)}
    assert ends == ["quick", "slow"]


def address(client) -> str:
    return str(client.base_url).replace("http:", "ws:") + "responses"


def create(**fields) -> str:
    return json.dumps({"type": "response.create", "model": MODEL, **fields})


async def whole(socket) -> list:
    events = []
    while not events or events[-1]["type"] not in ("response.completed", "error"):
        events.append(json.loads(await socket.recv()))
    return events


def test_the_edges_of_the_protocol(client):
    async def edges():
        # Compression is offered, and not taken.
        async with connect(address(client)) as socket:
            assert socket.protocol.extensions == []
            message = create(input="Say 5 words.")
            await socket.send([message[:7], message[7:20], message[20:]])
            assert [event["type"] for event in await whole(socket)][-1] == "response.completed"
            for _ in range(20):
                await (await socket.ping())
            await socket.send(b"binary")
            assert (await whole(socket))[-1]["error"]["code"] == "invalid_message"
            await socket.close(1000, "enough")
        async with connect(address(client), max_size=None) as socket:
            with pytest.raises(ConnectionClosed) as closed:
                await socket.send(create(input="x" * (17 << 20)))
                await socket.recv()
            assert closed.value.rcvd.code == 1009
        # Somebody else's page.
        with pytest.raises(InvalidStatus) as refused:
            await connect(address(client), origin="https://evil.example")
        assert refused.value.response.status_code == 403

    asyncio.run(edges())


def test_a_hundred_replies_in_a_row(client):
    async def many():
        async with connect(address(client)) as socket:
            for _ in range(100):
                await socket.send(create(input="Say 2 words.", store=False))
                events = await whole(socket)
                assert events[-1]["response"]["status"] == "completed"

    asyncio.run(many())


@pytest.mark.parametrize("store", [True, False])
def test_a_client_that_only_goes_leaves_what_is_stored(client, store):
    async def go():
        async with connect(address(client)) as socket:
            await socket.send(create(input="Say 30 words slowly.", store=store))
            first = json.loads(await socket.recv())
            socket.transport.abort()
            return first["response"]["id"]

    id = asyncio.run(go())
    if store:
        events = list(client.responses.retrieve(id, stream=True))
        assert text_of(events) == truth(30)
    else:
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(id)
