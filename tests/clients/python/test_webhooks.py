"""Webhooks, by the openai SDK for Python: it makes endpoints, and reads and verifies what is posted to them."""

import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai
import pytest

TYPES = ["response.completed", "response.failed", "response.incomplete", "response.cancelled"]


@pytest.fixture
def hook():
    """A server for webhooks: its address, and what came to it."""
    posted = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            posted.put((body, dict(self.headers)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook", posted
    server.shutdown()


@pytest.fixture
def calling(start):
    with start(WEBHOOK_ALLOW_PRIVATE="on").client() as client:
        yield client


def test_it_unwraps_what_is_posted(calling, hook):
    url, posted = hook
    endpoint = calling.webhooks.create(name="mine", url=url, event_types=TYPES)
    response = calling.responses.create(model="truth", input="Say 3 words.")
    body, headers = posted.get(timeout=30)
    event = calling.webhooks.unwrap(body, headers, secret=endpoint.signing_secret)
    assert (event.type, event.object, event.data.id) == ("response.completed", "event", response.id)
    assert abs(event.created_at - response.created_at) < 60
    with pytest.raises(openai.InvalidWebhookSignatureError):
        calling.webhooks.unwrap(body + " ", headers, secret=endpoint.signing_secret)


def test_it_manages_endpoints(calling, hook):
    url, posted = hook
    assert calling.webhooks.event_types.list().data == TYPES
    made = calling.webhooks.create(name="mine", url=url, event_types=["response.failed"])
    assert made.signing_secret.startswith("whsec_") and made.object == "webhook_endpoint"
    shown = calling.webhooks.retrieve(made.id)
    assert (shown.name, shown.url, shown.event_types) == ("mine", url, ["response.failed"])
    assert made.signing_secret.endswith(shown.signing_secret_hint[-4:])
    assert [one.id for one in calling.webhooks.list(limit=1)] == [made.id]
    changed = calling.webhooks.update(made.id, name="other", event_types=TYPES)
    assert (changed.name, changed.url, changed.event_types) == ("other", url, TYPES)
    rotated = calling.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
    tested = calling.webhooks.test(made.id, event_type="response.cancelled")
    assert (tested.status_code, tested.success, tested.event_type) == (204, True, "response.cancelled")
    body, headers = posted.get(timeout=30)
    for secret in (made.signing_secret, rotated.signing_secret):
        assert calling.webhooks.unwrap(body, headers, secret=secret).type == "response.cancelled"
    deleted = calling.webhooks.delete(made.id)
    assert (deleted.deleted, deleted.object) == (True, "webhook_endpoint.deleted")
    with pytest.raises(openai.NotFoundError):
        calling.webhooks.retrieve(made.id)
