"""Against a model server that nobody here wrote: LLMock breaks calls on demand, watches what comes of them, and judges
whoever called. Its verdict is on the server: whether it waits as long as it is asked to, backs off, gives up, asks again
where that is no use, takes a half of a reply for a whole one."""

import openai
import pytest

MODEL = "gpt-4o"
TEXT = "One after another the old trees stood there and were silent about all that they had seen."


@pytest.fixture
def mocked(start, llmock):
    """The server, in front of the mock."""
    server = start(
        LLM_BASE_URL=llmock.base_url("openai"),
        LLM_MODEL=MODEL,
        LLM_API_KEY="sk-mock",
        LLM_FIRST_TIMEOUT="3s",
        LLM_IDLE_TIMEOUT="3s",
    )
    with server.client() as client:
        yield client


def calls(llmock):
    return [request for request in llmock.requests if request.path.endswith("/chat/completions")]


def ask(client):
    return client.responses.create(model=MODEL, input="Tell me of the trees.")


def test_it_says_what_the_mock_says(mocked, llmock):
    llmock.reply(TEXT, times=None)
    response = ask(mocked)
    assert (response.output_text, response.status) == (TEXT, "completed")
    assert len(calls(llmock)) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
def test_a_moment_of_trouble_is_waited_out(mocked, llmock, status):
    # (The model is said so that health checks are left alone.)
    llmock.fail(status, times=2, model=MODEL).reply(TEXT, times=None)
    assert ask(mocked).output_text == TEXT
    assert len(calls(llmock)) == 3
    llmock.assert_resilient(strict=True)


def test_it_waits_as_long_as_it_is_asked_to(mocked, llmock):
    llmock.fail(429, retry_after=1.5, model=MODEL).reply(TEXT, times=None)
    assert ask(mocked).output_text == TEXT
    llmock.assert_resilient(strict=True)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_no_other_try_can_mend_is_not_tried_again(mocked, llmock, status):
    llmock.fail(status, times=None, model=MODEL)
    with pytest.raises(openai.APIStatusError):
        ask(mocked)
    assert len(calls(llmock)) == 1
    llmock.assert_resilient(strict=True)


def test_an_outage_is_no_success_and_no_storm(mocked, llmock):
    llmock.fail(503, times=None, model=MODEL)
    with pytest.raises(openai.APIStatusError):
        ask(mocked)
    assert len(calls(llmock)) == 3
    llmock.assert_resilient()


@pytest.mark.parametrize("fault", ["disconnect", "truncate", "corrupt", "stall"])
def test_a_stream_that_breaks_is_gone_on_with_from_where_it_broke(mocked, llmock, fault):
    llmock.reply(TEXT, times=None)
    getattr(llmock, fault)(after_chunks=4)
    response = ask(mocked)
    # The mock does not know how to go on: what matters is that it was told what was said, and that no success was
    # made of a half.
    broken, continued = calls(llmock)
    last = continued.body["messages"][-1]
    assert last["role"] == "assistant" and TEXT.startswith(last["content"]) and last["content"]
    assert response.output_text.startswith(last["content"]) and response.output_text.endswith(TEXT[-20:])
    assert broken.body["messages"] == continued.body["messages"][:-1]


def test_a_second_server_takes_over_at_once(start, llmock, tmp_path, upstream):
    llmock.fail(503, times=None, model="truth")
    file = tmp_path / "rejoinder.toml"
    file.write_text(
        f'[[llm]]\nname = "mock"\nbase_url = "{llmock.base_url("openai")}"\nmodels = ["truth"]\n'
        f'[[llm]]\nname = "ours"\nbase_url = "{upstream}"\n'
    )
    server = start(LLM_BASE_URL="", REJOINDER_CONFIG=str(file))
    with server.client() as client:
        for _ in range(8):
            response = client.responses.create(model="truth", input="Say 9 words.")
            assert response.output_text.startswith("wörd001") and response.status == "completed"
    # It is left alone for as long as it asks, and from the fifth failure on but for a try now and then.
    assert 1 <= len(calls(llmock)) <= 7
    llmock.assert_resilient()
