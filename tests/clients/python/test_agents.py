"""`openai-agents` over its WebSocket model, and through nginx as `infra/nginx.conf` sets it up."""

import asyncio
import re
import shutil
import socket
import subprocess
import time

import openai
import pytest
from agents import Agent, OpenAIResponsesWSModel, Runner, function_tool, set_tracing_disabled
from conftest import CLIENTS
from test_openai import text_of, truth

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"

# It would be sent to its maker.
set_tracing_disabled(True)


@pytest.fixture(scope="module")
def proxied(server, tmp_path_factory):
    """The address of nginx before the server."""
    directory = tmp_path_factory.mktemp("nginx")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    shown = (CLIENTS.parents[1] / "infra" / "nginx.conf").read_text()
    address = server.base.removeprefix("http://")
    config = re.sub(r"( +)server one:8080([^;]*);(\n +server [^;]*;)+", rf"\1server {address}\2;", shown)
    config = config.replace("listen 8080", f"listen 127.0.0.1:{port}")
    assert f"server {address} " in config and "server two" not in config
    (directory / "nginx.conf").write_text(f"daemon off;\npid {directory}/pid;\n{config}")
    log = open(directory / "log", "w")
    command = [NGINX, "-p", directory, "-e", directory / "error.log", "-c", directory / "nginx.conf"]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except ConnectionRefusedError:
            assert process.poll() is None, (directory / "error.log").read_text()
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait()


@pytest.fixture(params=["direct", "nginx"])
def base(request, server):
    return f"{request.getfixturevalue('proxied') if request.param == 'nginx' else server.base}/v1"


@function_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"Rain in {city}."


def test_an_agent_has_turns_and_a_call_over_one_connection(base):
    async def turns():
        client = openai.AsyncOpenAI(base_url=base, api_key="unused", max_retries=0)
        model = OpenAIResponsesWSModel("truth", client)
        agent = Agent(name="Ada", instructions="Be brief.", model=model, tools=[get_weather])
        first = await Runner.run(agent, "Tell me the weather in Oslo, in 5 words.")
        second = await Runner.run(agent, [*first.to_input_list(), {"role": "user", "content": "Say 7 words."}])
        streamed = Runner.run_streamed(agent, "Say 9 words.")
        deltas = [
            event.data.delta
            async for event in streamed.stream_events()
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
        ]
        await model.close()
        return first, second, deltas

    first, second, deltas = asyncio.run(turns())
    assert [item.type for item in first.new_items].count("tool_call_item") == 1, first.new_items
    assert "Rain in" in str(first.to_input_list())
    assert second.final_output == truth(7)
    assert "".join(deltas) == truth(9)


def test_events_go_through_nginx_as_they_come(proxied):
    with openai.OpenAI(base_url=f"{proxied}/v1", api_key="unused", max_retries=0) as client:
        times, events = [], []
        for event in client.responses.create(model="truth", input="Say 20 words slowly.", stream=True):
            times.append(time.monotonic())
            events.append(event)
        assert text_of(events) == truth(20)
        # A word each 30 ms, none of them held back.
        assert times[-1] - times[0] > 0.4
        with client.responses.connect() as connection:
            connection.response.create(model="truth", input="Say 6 words.")
            for event in connection:
                if event.type == "response.completed":
                    break
            assert event.response.output_text == truth(6)
