"""The openai SDK for Python through the door of Chat Completions."""

import base64
import io
import json
import wave

import openai
import pytest
from pydantic import BaseModel

from test_openai import MODEL, SLOW, truth

IMAGE = "data:image/png;base64,iVBORw0KGgo="
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


def user(text: str) -> list:
    return [{"role": "user", "content": text}]


def text_of(chunks) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def read_words(stream, count: int) -> list:
    """Reads until so many pieces of text have come, and leaves."""
    chunks = []
    for chunk in stream:
        chunks.append(chunk)
        if sum(bool(seen.choices[0].delta.content) for seen in chunks) == count:
            break
    stream.close()
    return chunks


def rejoin(client, completion_id: str, last: int):
    """The chunks after the one of event `last`: the SDK has no method for it."""
    path = f"/chat/completions/{completion_id}?stream=true&starting_after={last}"
    return client.get(path, cast_to=object, stream=True, stream_cls=openai.Stream[openai.types.chat.ChatCompletionChunk])


def test_it_creates_a_completion(client):
    completion = client.chat.completions.create(model=MODEL, messages=user("Say 9 words."))
    choice = completion.choices[0]
    assert (choice.message.content, choice.finish_reason) == (truth(9), "stop")
    assert completion.usage.total_tokens == 14


def test_it_streams_a_completion_with_its_usage(client):
    options = {"include_usage": True}
    stream = client.chat.completions.create(model=MODEL, messages=user("Say 20 words."), stream=True, stream_options=options)
    chunks = list(stream)
    assert text_of(chunks) == truth(20)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert (chunks[-1].choices, chunks[-1].usage.total_tokens) == ([], 14)


def test_it_streams_a_completion_with_its_helper(client):
    with client.chat.completions.stream(model=MODEL, messages=user("Say 20 words.")) as stream:
        snapshots = [event.snapshot for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert final.choices[0].message.content == truth(20) == snapshots[-1]


def test_it_parses_json_and_nothing_else(client):
    class Tree(BaseModel):
        name: str

    messages = user('Say exactly {"name":"elm"} please.')
    completion = client.chat.completions.parse(model=MODEL, messages=messages, response_format=Tree)
    assert completion.choices[0].message.parsed == Tree(name="elm")
    with client.chat.completions.stream(model=MODEL, messages=messages, response_format=Tree) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == Tree(name="elm")
    with pytest.raises(openai.APIError) as wrong:
        client.chat.completions.parse(model=MODEL, messages=user("Say 3 words."), response_format=Tree)
    assert "response_format" in str(wrong.value)


@pytest.mark.parametrize("how", ["create", "stream"])
def test_it_calls_a_tool_in_two_turns(client, how):
    messages = user("What is the weather in Paris?")
    asked = {"model": MODEL, "messages": messages, "tools": [WEATHER]}
    if how == "stream":
        with client.chat.completions.stream(**asked) as stream:
            first = stream.get_final_completion().choices[0]
    else:
        first = client.chat.completions.create(**asked).choices[0]
    assert first.finish_reason == "tool_calls"
    assert first.message.reasoning_content == "Let me look it up."
    (call,) = first.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Paris"})
    messages += [first.message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    second = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])
    assert second.choices[0].message.content == "It is sunny in Paris."


def test_it_sends_images_and_gets_probabilities(client):
    parts = [{"type": "text", "text": "Say 2 words with logprobs."}, {"type": "image_url", "image_url": {"url": IMAGE}}]
    asked = {"model": MODEL, "messages": user(parts), "logprobs": True, "top_logprobs": 1}
    choice = client.chat.completions.create(**asked).choices[0]
    assert [token.token for token in choice.logprobs.content] == ["wörd001", " wörd002"]
    with client.chat.completions.stream(**asked) as stream:
        final = stream.get_final_completion().choices[0]
    assert [token.token for token in final.logprobs.content] == ["wörd001", " wörd002"]
    assert final.logprobs.content[0].top_logprobs[0].logprob == -0.25


def test_it_hears_a_completion(client):
    spoken = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}
    message = client.chat.completions.create(model=MODEL, messages=user("Say 20 words."), **spoken).choices[0].message
    assert message.content == message.audio.transcript == truth(20)
    with wave.open(io.BytesIO(base64.b64decode(message.audio.data))) as audio:
        assert (audio.getframerate(), audio.getnchannels(), audio.getsampwidth()) == (24000, 1, 2)
        assert audio.getnframes() > 12000
    stream = client.chat.completions.create(model=MODEL, messages=user("Say 20 words."), stream=True, **spoken)
    deltas = [chunk.to_dict()["choices"][0]["delta"].get("audio", {}) for chunk in stream]
    assert "".join(delta.get("transcript", "") for delta in deltas) == truth(20)
    heard = b"".join(base64.b64decode(delta.get("data", "")) for delta in deltas)
    assert heard[:4] == b"RIFF" and len(heard) > 24000


def test_it_stores_retrieves_and_deletes_a_completion(client):
    completion = client.chat.completions.create(
        model=MODEL, messages=user("Say 4 words."), store=True, metadata={"topic": "trees"}
    )
    assert client.chat.completions.retrieve(completion.id) == completion
    assert completion.metadata == {"topic": "trees"}
    assert client.chat.completions.delete(completion.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.retrieve(completion.id)


def test_it_rejoins_after_a_kill_by_the_number_in_the_last_chunk(client, server):
    seen = []
    with pytest.raises(Exception) as cut:
        for chunk in client.chat.completions.create(model=MODEL, messages=user(SLOW), stream=True, store=True):
            seen.append(chunk)
            if len(seen) == 8:
                server.kill()
    assert not isinstance(cut.value, (AssertionError, json.JSONDecodeError)), cut.value
    server.start()
    rest = list(rejoin(client, seen[0].id, seen[-1].sequence_number))
    assert text_of(seen + rest) == truth(30)
    response = client.responses.retrieve(seen[0].id.replace("chatcmpl-", "resp_"))
    assert response.output_text == truth(30)


def test_it_joins_its_own_request_under_a_key(client):
    asked = {"model": MODEL, "messages": user(SLOW), "stream": True, "extra_headers": {"Idempotency-Key": "python-chat"}}
    seen = read_words(client.chat.completions.create(**asked), 3)
    again = list(client.chat.completions.create(**asked))
    assert (again[0].id, text_of(again)) == (seen[0].id, truth(30))


def test_it_understands_errors(client, start):
    with pytest.raises(openai.BadRequestError) as many:
        client.chat.completions.create(model=MODEL, messages=user("x"), n=2)
    assert many.value.param == "n"
    with start(LLM_CONTINUATION="off").client() as failing:
        chunks = []
        with pytest.raises(openai.APIError):
            for chunk in failing.chat.completions.create(
                model=MODEL, messages=user("Say 9 words, then break off."), stream=True
            ):
                chunks.append(chunk)
        assert text_of(chunks) and truth(9).startswith(text_of(chunks))
