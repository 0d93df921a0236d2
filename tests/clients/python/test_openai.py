"""The openai SDK for Python: streams, rejoins, cancels, converses, calls tools."""

import asyncio
import base64
import io
import json
import wave

import openai
import pytest
from pydantic import BaseModel

SLOW = "Say 30 words slowly."
SPOKEN = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}
MODEL = "truth"


def truth(count: int) -> str:
    return " ".join(f"wörd{place:03}" for place in range(1, count + 1))


def text_of(events) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def read_words(stream, count: int) -> list:
    """Reads until so many pieces of text have come, and leaves."""
    events = []
    for event in stream:
        events.append(event)
        if sum(seen.type == "response.output_text.delta" for seen in events) == count:
            break
    stream.close()
    return events


def test_it_creates_a_reply(client):
    response = client.responses.create(model=MODEL, input="Say 9 words.")
    assert (response.output_text, response.status) == (truth(9), "completed")
    assert client.responses.retrieve(response.id) == response


def test_it_streams_a_reply(client):
    events = list(client.responses.create(model=MODEL, input="Say 20 words.", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert text_of(events) == truth(20)
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == truth(20)


def test_it_streams_a_reply_with_its_helper(client):
    with client.responses.stream(model=MODEL, input="Say 20 words.") as stream:
        snapshots = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
        assert stream.get_final_response().output_text == truth(20)
    assert snapshots[-1] == truth(20)


def test_it_takes_a_reply_that_is_also_spoken(client):
    with client.responses.stream(model=MODEL, input="Say 20 words.", extra_body=SPOKEN) as stream:
        events = list(stream)
        response = stream.get_final_response()
    assert response.output_text == truth(20)
    deltas = [event.delta for event in events if event.type == "response.audio.delta"]
    heard = b"".join(base64.b64decode(delta) for delta in deltas)
    transcript = "".join(event.delta for event in events if event.type == "response.audio.transcript.delta")
    assert transcript == truth(20)
    with wave.open(io.BytesIO(heard)) as audio:
        assert (audio.getframerate(), audio.getnchannels(), audio.getsampwidth()) == (24000, 1, 2)
    assert len(heard) > 24000
    rest = list(client.responses.retrieve(response.id, stream=True, starting_after=0))
    assert text_of(rest) == truth(20)


def test_it_has_a_text_spoken(client):
    speech = client.audio.speech.create(model="tts-1", voice="alloy", input="Good morning.", response_format="wav")
    assert speech.content[:4] == b"RIFF" and len(speech.content) > 20000


def test_it_has_a_recording_transcribed(start):
    audio = io.BytesIO()
    with wave.open(audio, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(b"\x00\x20\x00\xe0" * 8000)
    with start(LLM_BASE_URL="", LLM_MODEL="", ASR_COMMAND="sh -c 'cat > /dev/null; echo good morning'").client() as client:

        def ask(**more):
            file = ("a.wav", audio.getvalue())
            return client.audio.transcriptions.create(model="whisper-1", file=file, **more)

        assert ask().text == "good morning"
        assert ask(response_format="text").strip() == "good morning"
        verbose = ask(response_format="verbose_json")
        assert (verbose.duration, verbose.segments[0].text) == (1.0, "good morning")
        assert ask(response_format="srt") == "1\n00:00:00,000 --> 00:00:01,000\ngood morning\n\n"
        kinds = [event.type for event in ask(stream=True)]
        assert kinds == ["transcript.text.delta", "transcript.text.done"]
        data = base64.b64encode(audio.getvalue()).decode()
        part = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
        messages = [{"role": "user", "content": [part]}]
        completion = client.chat.completions.create(model="echo", messages=messages)
        assert completion.choices[0].message.content == "good morning"


def test_it_rejoins_a_running_reply_with_starting_after(client):
    seen = read_words(client.responses.create(model=MODEL, input=SLOW, stream=True), 5)
    last = seen[-1].sequence_number
    rest = list(client.responses.retrieve(seen[0].response.id, stream=True, starting_after=last))
    assert rest[0].sequence_number == last + 1
    assert text_of(seen + rest) == truth(30)


def test_it_rejoins_a_running_reply_with_its_helper(client):
    seen = read_words(client.responses.create(model=MODEL, input=SLOW, stream=True, background=True), 5)
    last = seen[-1].sequence_number
    with client.responses.stream(response_id=seen[0].response.id, starting_after=last) as stream:
        rest = list(stream)
        assert rest[0].sequence_number == last + 1
        assert stream.get_final_response().output_text == truth(30)


def test_it_sees_a_kill_as_an_error_and_rejoins_after_the_restart(client, server):
    seen = []
    with pytest.raises(Exception) as cut:
        for event in client.responses.create(model=MODEL, input=SLOW, stream=True):
            seen.append(event)
            if len(seen) == 10:
                server.kill()
    assert not isinstance(cut.value, (AssertionError, json.JSONDecodeError)), cut.value
    server.start()
    query = {"stream": True, "starting_after": seen[-1].sequence_number}
    rest = list(client.responses.retrieve(seen[0].response.id, **query))
    assert text_of(seen + rest) == truth(30)


def test_it_cancels_a_reply(client):
    stream = client.responses.create(model=MODEL, input="Say 200 words slowly.", stream=True, background=True)
    response_id = read_words(stream, 3)[0].response.id
    cancelled = client.responses.cancel(response_id)
    assert cancelled.status == "cancelled"
    assert truth(200).startswith(cancelled.output_text)
    assert client.responses.retrieve(response_id).status == "cancelled"


def test_it_polls_a_background_reply(client):
    response = client.responses.create(model=MODEL, input=SLOW, background=True)
    while response.status in ("queued", "in_progress"):
        response = client.responses.retrieve(response.id)
    assert response.output_text == truth(30)


def test_it_converses_by_previous_response_id(client):
    first = client.responses.create(model=MODEL, input="Say 3 words.")
    second = client.responses.create(model=MODEL, input="Say 4 words.", previous_response_id=first.id)
    assert (second.previous_response_id, second.output_text) == (first.id, truth(4))
    items = list(client.responses.input_items.list(second.id, order="asc"))
    assert items[-1].content[0].text == "Say 4 words."


def test_it_is_given_a_summary_of_a_long_context_and_goes_on_from_it(client):
    management = [{"type": "compaction", "compact_threshold": 1000}]
    first = client.responses.create(model=MODEL, input="Say 3 words. " + "All of it matters. " * 300)
    more = {"model": MODEL, "previous_response_id": first.id, "context_management": management}
    with client.responses.stream(input="Say 4 words.", **more) as stream:
        events = list(stream)
        second = stream.get_final_response()
    assert [item.type for item in second.output] == ["compaction", "message"]
    assert text_of(events) == second.output_text == truth(4)
    # Items that a client keeps itself are taken back.
    history = [*second.output, {"role": "user", "content": "Say 5 words."}]
    third = client.responses.create(model=MODEL, input=history, context_management=management)
    assert [item.type for item in third.output] == ["message"] and third.output_text == truth(5)


def test_it_converses_in_a_conversation(client):
    conversation = client.conversations.create(metadata={"topic": "trees"})
    for prompt in ("Say 3 words.", "Say 4 words."):
        client.responses.create(model=MODEL, input=prompt, conversation=conversation.id)
    items = client.conversations.items.list(conversation.id, order="asc", limit=3)
    texts = [item.content[0].text for item in items]
    assert texts == ["Say 3 words.", truth(3), "Say 4 words.", truth(4)]
    changed = client.conversations.update(conversation.id, metadata={"topic": "shrubs"})
    assert changed.metadata == {"topic": "shrubs"}
    assert client.conversations.delete(conversation.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve(conversation.id)


WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


@pytest.mark.parametrize("how", ["previous_response_id", "input"])
def test_it_calls_a_tool_in_two_turns(client, how):
    prompt = "What is the weather in Paris?"
    with client.responses.stream(model=MODEL, input=prompt, tools=[WEATHER]) as stream:
        first = stream.get_final_response()
    call = next(item for item in first.output if item.type == "function_call")
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Paris"})
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    if how == "input":
        said = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in first.output]
        turn = {"input": [{"role": "user", "content": prompt}, *said, output]}
    else:
        turn = {"input": [output], "previous_response_id": first.id}
    second = client.responses.create(model=MODEL, tools=[WEATHER], **turn)
    assert second.output_text == "It is sunny in Paris."


def test_it_parses_nothing_that_is_not_the_json_it_asked_for(client):
    class Tree(BaseModel):
        name: str

    with pytest.raises(openai.APIError):
        client.responses.parse(model=MODEL, input="Say 3 words.", text_format=Tree)


def test_it_understands_errors(client):
    with pytest.raises(openai.BadRequestError) as missing:
        client.responses.create(model=MODEL, input="x", previous_response_id="resp_nothing")
    assert (missing.value.code, missing.value.param) == ("previous_response_not_found", "previous_response_id")
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_nothing")


def test_it_sees_a_failure_in_the_middle_as_an_error(start):
    with start(LLM_CONTINUATION="off").client() as client:
        events = []
        with pytest.raises(openai.APIError):
            for event in client.responses.create(model=MODEL, input="Say 9 words, then break off.", stream=True):
                events.append(event)
        assert text_of(events) and truth(9).startswith(text_of(events))
        assert client.responses.retrieve(events[0].response.id).status == "failed"


def test_many_replies_at_once_from_the_async_client(server):
    async def run() -> None:
        async with openai.AsyncOpenAI(base_url=f"{server.base}/v1", api_key="unused", max_retries=0) as client:

            async def reply(count: int) -> str:
                stream = await client.responses.create(model=MODEL, input=f"Say {count} words slowly.", stream=True)
                return text_of([event async for event in stream])

            texts = await asyncio.gather(*(reply(count) for count in range(5, 15)))
            assert texts == [truth(count) for count in range(5, 15)]

    asyncio.run(run())
