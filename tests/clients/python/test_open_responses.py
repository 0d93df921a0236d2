"""The suite of the Open Responses specification, test by test: its runner is in no registry, so its assertions are here."""

import json

import openai
import pytest
from websockets.sync.client import connect

MODEL = "truth"
HEART = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather for a location",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string"}},
        "required": ["location"],
    },
}

# What a response has to have, and what of it may be null.
REQUIRED = {
    "id", "object", "created_at", "status", "model", "output", "tools", "tool_choice", "truncation", "parallel_tool_calls",
    "text", "top_p", "presence_penalty", "frequency_penalty", "top_logprobs", "temperature", "store", "background",
    "service_tier", "metadata",
}
NULLABLE = {
    "completed_at", "incomplete_details", "previous_response_id", "instructions", "error", "reasoning", "usage",
    "max_output_tokens", "max_tool_calls", "safety_identifier", "prompt_cache_key",
}
TERMINAL = ("response.completed", "response.failed", "response.incomplete")


def checked(response: dict) -> dict:
    """A response with all that the schema demands."""
    assert REQUIRED | NULLABLE <= response.keys(), (REQUIRED | NULLABLE) - response.keys()
    assert all(response[name] is not None for name in REQUIRED)
    assert response["object"] == "response"
    for item in response["output"]:
        assert item["id"] and item["type"], item
        if item["type"] == "message":
            assert item["role"] == "assistant" and item["status"]
            assert all(part["type"] in ("output_text", "refusal") for part in item["content"])
            assert all("annotations" in part for part in item["content"] if part["type"] == "output_text")
        if item["type"] == "function_call":
            assert item["call_id"] and item["name"] and json.loads(item["arguments"]) is not None
    return response


def said(role: str, text: str, **more) -> dict:
    return {"type": "message", "role": role, "content": text, **more}


@pytest.fixture
def post(client):
    """POSTs a body under /v1, and gives what came back as it is."""

    def post(path: str, body: dict) -> dict:
        return client.post(path, body=body, cast_to=object)

    return post


@pytest.fixture
def session(client):
    """Has turns over one WebSocket: each is a request, or is made of the turns before."""
    address = str(client.base_url).replace("http:", "ws:") + "responses"

    def session(*steps) -> list:
        turns = []
        headers = {"Content-Type": "application/json", "Authorization": "Bearer unused"}
        with connect(address, additional_headers=headers) as socket:
            for step in steps:
                request = step(turns) if callable(step) else step
                assert not {"stream", "stream_options", "background"} & request.keys()
                socket.send(json.dumps({"type": "response.create", "model": MODEL, **request}))
                turns.append(turn(socket))
        return turns

    return session


def turn(socket) -> dict:
    """The response at the end of a turn, or the error in its place. Each message is one event, as the schema has it."""
    number = 0
    while True:
        event = json.loads(socket.recv(timeout=30))
        if event["type"] == "error":
            assert event["status"] >= 400 and {"code", "message", "param", "type"} <= event["error"].keys()
            return event
        assert event["sequence_number"] == number, event
        number += 1
        if event["type"] in TERMINAL:
            return checked(event["response"])


def test_basic_response(post):
    response = checked(post("/responses", {"model": MODEL, "input": [said("user", "Say 3 words.")]}))
    assert response["output"] and response["status"] == "completed"


def test_assistant_phase(post):
    history = [
        said("assistant", "I should answer with the saved number.", phase="commentary"),
        said("assistant", "The number is four.", phase="final_answer"),
        said("user", "Repeat only the number."),
    ]
    response = checked(post("/responses", {"model": MODEL, "input": history}))
    assert response["output"] and response["status"] == "completed"


def test_response_output_phase_schema(client, post):
    """A phase that an assistant's message came with is given back with it."""
    history = [said("assistant", "Four.", phase="final_answer"), said("user", "Say 2 words.")]
    response = post("/responses", {"model": MODEL, "input": history})
    (given,) = [item for item in client.responses.input_items.list(response["id"]) if item.role == "assistant"]
    assert given.phase == "final_answer"


def test_streaming_response(client):
    events = []
    body = {"model": MODEL, "input": [said("user", "Say 5 words.")], "stream": True}
    with client.responses.with_streaming_response.create(**body) as answer:
        lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    assert lines.pop() == "data: [DONE]"
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert checked(events[-1]["response"])["status"] == "completed"


def test_system_prompt(post):
    history = [said("system", "You are a pirate."), said("user", "Say hello.")]
    response = checked(post("/responses", {"model": MODEL, "input": history}))
    assert response["output"] and response["status"] == "completed"


def test_tool_calling(post):
    body = {"model": MODEL, "input": [said("user", "What's the weather in Paris?")], "tools": [WEATHER]}
    response = checked(post("/responses", body))
    assert any(item["type"] == "function_call" for item in response["output"])


def test_image_input(post):
    content = [{"type": "input_text", "text": "What is this?"}, {"type": "input_image", "image_url": HEART}]
    response = checked(post("/responses", {"model": MODEL, "input": [said("user", content)]}))
    assert response["output"] and response["status"] == "completed"


def test_multi_turn(post):
    history = [said("user", "My name is Alice."), said("assistant", "Hello Alice!"), said("user", "What is my name?")]
    response = checked(post("/responses", {"model": MODEL, "input": history}))
    assert response["output"] and response["status"] == "completed"


def test_websocket_response(session):
    (response,) = session({"input": [said("user", "Say 3 words.")]})
    assert response["output"] and response["status"] == "completed"


def test_websocket_sequential_responses(session):
    turns = session({"store": False, "input": "Say 2 words."}, {"store": False, "input": "Say 3 words."})
    assert [turn["status"] for turn in turns] == ["completed", "completed"]


def followed(turns: list, input) -> dict:
    return {"store": False, "previous_response_id": turns[0]["id"], "input": input}


def test_websocket_continuation(session):
    turns = session({"store": False, "input": "Say 2 words."}, lambda turns: followed(turns, "Say 3 words."))
    assert turns[1]["status"] == "completed"


def test_websocket_reconnect_store_false_recovery(session):
    first = session({"store": False, "input": "Say 2 words."})
    missed, recovered = session(followed(first, "Say 3 words."), {"store": False, "input": [said("user", "Say 4 words.")]})
    assert missed["error"]["code"] == "previous_response_not_found"
    assert recovered["status"] == "completed"


def test_websocket_previous_response_not_found(session):
    (missed,) = session({"store": False, "previous_response_id": "resp_openresponses_missing_1", "input": "Hello."})
    assert (missed["status"], missed["error"]["code"]) == (400, "previous_response_not_found")


def test_websocket_failed_continuation_evicts_cache(session):
    output = {"type": "function_call_output", "call_id": "call_openresponses_missing", "output": "None such."}
    _, failed, retried = session(
        {"store": False, "input": "Say 2 words."},
        lambda turns: followed(turns, [output]),
        lambda turns: followed(turns, "Say 3 words."),
    )
    assert failed["type"] == "error"
    assert retried["error"]["code"] == "previous_response_not_found"


def test_compact_response(post):
    history = [
        said("user", "We agreed to launch on Tuesday and notify support first."),
        said("assistant", "Understood. The launch is Tuesday, with support notified beforehand."),
    ]
    body = {"model": MODEL, "prompt_cache_key": "openresponses-compact-test", "input": history}
    compacted = post("/responses/compact", body)
    assert compacted["object"] == "response.compaction" and compacted["id"] and compacted["created_at"]
    assert any(item["type"] == "compaction" and item["encrypted_content"] for item in compacted["output"])
    assert {"input_tokens", "output_tokens", "total_tokens"} <= compacted["usage"].keys()


def test_compact_missing_model(post):
    with pytest.raises(openai.APIStatusError) as refused:
        post("/responses/compact", {"input": [said("user", "Compact this conversation.")]})
    assert refused.value.status_code in (400, 422)


def test_websocket_compact_new_chain(post, session):
    history = [said("user", "Remember: slate."), said("assistant", "OK."), said("user", "Compress this.")]
    compacted = post("/responses/compact", {"model": MODEL, "input": history})
    base = [*compacted["output"], said("user", "Say 2 words.")]
    (response,) = session({"store": False, "input": base, "tools": []})
    assert response["output"] and response["status"] == "completed"
