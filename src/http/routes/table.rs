//! The rows.

use hyper::Method;

use super::Route;
use crate::domain::caller::Scope;
use crate::protocols::openapi::Operation;
use crate::protocols::stream::Framing;

const JSON: &str = "application/json";
const TEXT: &str = Framing::TEXT.content_type;
const EVENTS: &str = Framing::EVENT_SOURCE.content_type;
const LINES: &str = Framing::NDJSON.content_type;

/// A row: method, template, operation, and what answers.
macro_rules! row {
    ($method:ident $template:literal $operation:expr, |$edge:ident, $call:ident| $answer:expr) => {
        Route::new(Method::$method, $template, $operation, |$edge, $call| Box::pin(async move { $answer }))
    };
}

fn op(id: &'static str, scope: Scope, summary: &'static str) -> Operation {
    Operation::new(id, Some(scope), summary)
}

/// What anybody may do.
fn open(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(id, None, summary)
}

pub(super) fn routes() -> Vec<Route> {
    [responses(), chat_completions(), ui_messages(), conversations(), webhooks(), others(), browsers(), operations()]
        .into_iter()
        .flatten()
        .collect()
}

fn responses() -> Vec<Route> {
    use Scope::{Chat, Read};
    let create = op("createResponse", Chat, "Generate a response, whole or as a stream of events")
        .body("CreateResponse")
        .header("IdempotencyKey")
        .gives(200, JSON, "Response")
        .gives(200, EVENTS, "Stream")
        .gives(200, LINES, "Lines")
        .gives(200, TEXT, "Text");
    let connect =
        op("connectResponses", Chat, "Responses over a WebSocket: requests and events as messages").websocket();
    let count = op("countInputTokens", Read, "About how many tokens an input takes: an estimate")
        .body("CreateResponse")
        .gives(200, JSON, "InputTokens");
    let compact = op("compactResponse", Chat, "A summary of a conversation, as one sealed item")
        .body("CompactResponse")
        .gives(200, JSON, "Compaction");
    let get = op("getResponse", Read, "A response as it is now, or its events from where a client left off")
        .query(&["stream", "starting_after", "include"])
        .gives(200, JSON, "Response")
        .gives(200, EVENTS, "Stream")
        .gives(200, LINES, "Lines")
        .gives(200, TEXT, "Text");
    let events = op("getResponseEvents", Read, "The events of a response, for EventSource")
        .ticket()
        .header("LastEventID")
        .gives(200, EVENTS, "Stream")
        .empty(204);
    let audio = op("getResponseAudio", Read, "The audio of a spoken response, as it is made")
        .ticket()
        .gives(200, "audio/*", "Audio");
    let list = op("listInputItems", Read, "The items that a response was asked with")
        .query(&["limit", "order", "after", "include"])
        .gives(200, JSON, "ItemList");
    let cancel = op("cancelResponse", Chat, "Stop a response, and keep its output so far").gives(200, JSON, "Response");
    let delete = op("deleteResponse", Chat, "Delete a response").gives(200, JSON, "Deleted");
    vec![
        row!(POST "/v1/responses" create, |edge, call| edge.create_response(&call.asks.who.caller, call.request).await),
        row!(GET "/v1/responses" connect, |edge, call| Ok(edge.connect_responses(&call.asks.who.caller, call.request))),
        row!(POST "/v1/responses/input_tokens" count, |edge, call| edge.count_input_tokens(&call.asks.who.caller, call.request).await),
        row!(POST "/v1/responses/compact" compact, |edge, call| edge.compact_response(&call.asks.who.caller, call.request).await),
        row!(GET "/v1/responses/{response_id}" get, |edge, call| {
            edge.get_response(call.caller(), call.variable(0), call.query(), call.headers()).await
        }),
        row!(DELETE "/v1/responses/{response_id}" delete, |edge, call| edge.delete_response(call.caller(), call.variable(0)).await),
        row!(POST "/v1/responses/{response_id}/cancel" cancel, |edge, call| {
            edge.cancel_response(call.caller(), call.variable(0)).await
        }),
        row!(GET "/v1/responses/{response_id}/input_items" list, |edge, call| {
            edge.input_items(call.caller(), call.variable(0), call.query()).await
        }),
        row!(GET "/v1/responses/{response_id}/events" events, |edge, call| {
            edge.response_events(call.caller(), call.variable(0), call.query(), call.headers()).await
        }),
        row!(GET "/v1/responses/{response_id}/audio" audio, |edge, call| edge.response_audio(call.caller(), call.variable(0)).await),
    ]
}

fn chat_completions() -> Vec<Route> {
    use Scope::{Chat, Read};
    let create = op("createChatCompletion", Chat, "Generate a chat completion, whole or as a stream of chunks")
        .body("CreateChatCompletion")
        .header("IdempotencyKey")
        .gives(200, JSON, "ChatCompletion")
        .gives(200, EVENTS, "Chunks")
        .gives(200, LINES, "ChunkLines")
        .gives(200, TEXT, "Text");
    let get =
        op("getChatCompletion", Read, "A chat completion as it is now, or its chunks from where a client left off")
            .query(&["stream", "starting_after", "include_usage"])
            .gives(200, JSON, "ChatCompletion")
            .gives(200, EVENTS, "Chunks")
            .gives(200, LINES, "ChunkLines")
            .gives(200, TEXT, "Text");
    let delete = op("deleteChatCompletion", Chat, "Delete a chat completion").gives(200, JSON, "Deleted");
    vec![
        row!(POST "/v1/chat/completions" create, |edge, call| {
            edge.create_chat_completion(&call.asks.who.caller, call.request).await
        }),
        row!(GET "/v1/chat/completions/{completion_id}" get, |edge, call| {
            edge.get_chat_completion(call.caller(), call.variable(0), call.query(), call.headers()).await
        }),
        row!(DELETE "/v1/chat/completions/{completion_id}" delete, |edge, call| {
            edge.delete_chat_completion(call.caller(), call.variable(0)).await
        }),
    ]
}

fn ui_messages() -> Vec<Route> {
    use Scope::{Chat, Read};
    let send = op("sendMessages", Chat, "The next turn of a chat, as a UI message stream of the AI SDK")
        .body("SendMessages")
        .header("IdempotencyKey")
        .gives(200, EVENTS, "UiMessageStream");
    let resume = op("resumeChat", Read, "The reply that runs in a chat, from its beginning")
        .gives(200, EVENTS, "UiMessageStream")
        .empty(204);
    let stop = op("stopChat", Chat, "Stop what runs in a chat, and keep its output").optional_body("Object").gives(
        200,
        JSON,
        "ChatStopped",
    );
    vec![
        row!(POST "/api/chat" send, |edge, call| edge.send_messages(&call.asks.who.caller, call.request).await),
        row!(GET "/api/chat/{chat_id}/stream" resume, |edge, call| edge.resume_chat(call.caller(), call.variable(0)).await),
        row!(POST "/api/chat/{chat_id}/stop" stop, |edge, call| {
            let id = call.variable(0).to_owned();
            edge.stop_chat(&call.asks.who.caller, &id, call.request).await
        }),
    ]
}

fn conversations() -> Vec<Route> {
    use Scope::{Chat, Read};
    let create = op("createConversation", Chat, "Create a conversation").optional_body("CreateConversation").gives(
        200,
        JSON,
        "Conversation",
    );
    let all = op("listConversations", Read, "The caller's conversations, by when something last happened in them")
        .query(&["limit", "order", "after", "metadata"])
        .gives(200, JSON, "ConversationList");
    let get = op("getConversation", Read, "A conversation").gives(200, JSON, "Conversation");
    let update = op("updateConversation", Chat, "Set a conversation's metadata").body("UpdateConversation").gives(
        200,
        JSON,
        "Conversation",
    );
    let delete = op("deleteConversation", Chat, "Delete a conversation").gives(200, JSON, "Deleted");
    let events = op("getConversationEvents", Read, "Everything in a conversation as it happens, for EventSource")
        .ticket()
        .header("LastEventID")
        .gives(200, EVENTS, "Stream")
        .empty(204);
    let add = op("createItems", Chat, "Add items to a conversation").body("CreateItems").gives(200, JSON, "ItemList");
    let list = op("listItems", Read, "The items of a conversation")
        .query(&["limit", "order", "after", "include"])
        .gives(200, JSON, "ItemList");
    let item = op("getItem", Read, "An item of a conversation").gives(200, JSON, "Item");
    let remove = op("deleteItem", Chat, "Delete an item of a conversation").gives(200, JSON, "Conversation");
    vec![
        row!(POST "/v1/conversations" create, |edge, call| edge.create_conversation(&call.asks.who.caller, call.request).await),
        row!(GET "/v1/conversations" all, |edge, call| edge.list_conversations(call.caller(), call.query()).await),
        row!(GET "/v1/conversations/{conversation_id}" get, |edge, call| edge.get_conversation(call.caller(), call.variable(0)).await),
        row!(POST "/v1/conversations/{conversation_id}" update, |edge, call| {
            let id = call.variable(0).to_owned();
            edge.update_conversation(&call.asks.who.caller, &id, call.request).await
        }),
        row!(DELETE "/v1/conversations/{conversation_id}" delete, |edge, call| {
            edge.delete_conversation(call.caller(), call.variable(0)).await
        }),
        row!(GET "/v1/conversations/{conversation_id}/events" events, |edge, call| {
            edge.conversation_events(call.caller(), call.variable(0), call.query(), call.headers()).await
        }),
        row!(POST "/v1/conversations/{conversation_id}/items" add, |edge, call| {
            let id = call.variable(0).to_owned();
            edge.create_items(&call.asks.who.caller, &id, call.request).await
        }),
        row!(GET "/v1/conversations/{conversation_id}/items" list, |edge, call| {
            edge.list_items(call.caller(), call.variable(0), call.query()).await
        }),
        row!(GET "/v1/conversations/{conversation_id}/items/{item_id}" item, |edge, call| {
            edge.get_item(call.caller(), call.variable(0), call.variable(1)).await
        }),
        row!(DELETE "/v1/conversations/{conversation_id}/items/{item_id}" remove, |edge, call| {
            edge.delete_item(call.caller(), call.variable(0), call.variable(1)).await
        }),
    ]
}

fn webhooks() -> Vec<Route> {
    use Scope::{Chat, Read};
    let create =
        op("createWebhookEndpoint", Chat, "An endpoint that ends of replies are posted to; its secret is shown once")
            .body("CreateWebhookEndpoint")
            .gives(200, JSON, "WebhookEndpoint");
    let list = op("listWebhookEndpoints", Read, "The caller's endpoints of webhooks")
        .query(&["limit", "order", "after"])
        .gives(200, JSON, "WebhookEndpointList");
    let get = op("getWebhookEndpoint", Read, "An endpoint of webhooks, and how its deliveries are").gives(
        200,
        JSON,
        "WebhookEndpoint",
    );
    let update = op("updateWebhookEndpoint", Chat, "Change an endpoint of webhooks; one that had ended is told again")
        .body("UpdateWebhookEndpoint")
        .gives(200, JSON, "WebhookEndpoint");
    let delete = op("deleteWebhookEndpoint", Chat, "Delete an endpoint of webhooks").gives(200, JSON, "Deleted");
    let rotate = op("rotateWebhookSecret", Chat, "Another secret for an endpoint of webhooks, shown once")
        .optional_body("RotateWebhookSecret")
        .gives(200, JSON, "WebhookEndpoint");
    let test = op("testWebhookEndpoint", Chat, "Send an endpoint an event of a reply that never was")
        .body("TestWebhookEndpoint")
        .gives(200, JSON, "WebhookEndpointTest");
    let deliveries = op("listWebhookDeliveries", Read, "What an endpoint did not take yet, or was given up")
        .query(&["limit", "after", "status"])
        .gives(200, JSON, "WebhookDeliveryList");
    let resend = op("resendWebhookDeliveries", Chat, "Send again what was given up: one delivery, or all")
        .optional_body("ResendWebhookDeliveries")
        .gives(200, JSON, "WebhookResend");
    let types =
        op("listWebhookEventTypes", Read, "What endpoints can be told of").gives(200, JSON, "WebhookEventTypeList");
    vec![
        row!(POST "/v1/webhook_endpoints" create, |edge, call| {
            edge.create_webhook_endpoint(&call.asks.who.caller, call.request).await
        }),
        row!(GET "/v1/webhook_endpoints" list, |edge, call| edge.list_webhook_endpoints(call.caller(), call.query()).await),
        row!(GET "/v1/webhook_endpoints/{webhook_endpoint_id}" get, |edge, call| {
            edge.get_webhook_endpoint(call.caller(), call.variable(0)).await
        }),
        row!(POST "/v1/webhook_endpoints/{webhook_endpoint_id}" update, |edge, call| {
            let id = call.variable(0).to_owned();
            edge.update_webhook_endpoint(&call.asks.who.caller, &id, call.request).await
        }),
        row!(DELETE "/v1/webhook_endpoints/{webhook_endpoint_id}" delete, |edge, call| {
            edge.delete_webhook_endpoint(call.caller(), call.variable(0)).await
        }),
        row!(POST "/v1/webhook_endpoints/{webhook_endpoint_id}/rotate_secret" rotate, |edge, call| {
            let id = call.variable(0).to_owned();
            edge.rotate_webhook_secret(&call.asks.who.caller, &id, call.request).await
        }),
        row!(POST "/v1/webhook_endpoints/{webhook_endpoint_id}/test" test, |edge, call| {
            let id = call.variable(0).to_owned();
            edge.test_webhook_endpoint(&call.asks.who.caller, &id, call.request).await
        }),
        row!(GET "/v1/webhook_endpoints/{webhook_endpoint_id}/deliveries" deliveries, |edge, call| {
            edge.list_webhook_deliveries(call.caller(), call.variable(0), call.query()).await
        }),
        row!(POST "/v1/webhook_endpoints/{webhook_endpoint_id}/resend" resend, |edge, call| {
            let id = call.variable(0).to_owned();
            edge.resend_webhook_deliveries(&call.asks.who.caller, &id, call.request).await
        }),
        row!(GET "/v1/webhook_event_types" types, |edge, _call| Ok(edge.list_webhook_event_types())),
    ]
}

fn others() -> Vec<Route> {
    let speech = op("createSpeech", Scope::Chat, "Speak a text").body("CreateSpeech").gives(200, "audio/*", "Audio");
    let transcription = op("createTranscription", Scope::Chat, "The text of a recording")
        .form("CreateTranscription")
        .gives(200, JSON, "Transcription")
        .gives(200, TEXT, "Text")
        .gives(200, "text/vtt; charset=utf-8", "Text")
        .gives(200, EVENTS, "TranscriptionEvents");
    let models = op("listModels", Scope::Read, "All models").gives(200, JSON, "ModelList");
    let model = op("getModel", Scope::Read, "A model").gives(200, JSON, "Model");
    let usage =
        op("getUsage", Scope::Read, "What the caller's replies used; with the scope tenant, those of its users, too")
            .query(&["from", "to", "group_by"])
            .gives(200, JSON, "UsageList");
    let user = op("deleteUser", Scope::Admin, "Delete all that belongs to a user of the caller's tenant")
        .gives(200, JSON, "Deleted");
    vec![
        row!(POST "/v1/audio/speech" speech, |edge, call| edge.create_speech(&call.asks.who.caller, call.request).await),
        row!(POST "/v1/audio/transcriptions" transcription, |edge, call| {
            edge.create_transcription(&call.asks.who.caller, call.request).await
        }),
        row!(GET "/v1/models" models, |edge, _call| edge.list_models().await),
        row!(GET "/v1/models/{model}" model, |edge, call| edge.get_model(call.variable(0)).await),
        row!(GET "/v1/usage" usage, |edge, call| edge.get_usage(call.caller(), call.query()).await),
        row!(DELETE "/v1/users/{user_id}" user, |edge, call| edge.delete_user(call.caller(), call.variable(0)).await),
    ]
}

fn browsers() -> Vec<Route> {
    use Scope::Read;
    let ticket = op("createTicket", Read, "A ticket: opens one resource for a minute, without a header")
        .body("CreateTicket")
        .gives(200, JSON, "Ticket");
    let begin = op("createSession", Read, "Sign a browser in: a cookie in place of a key").gives(200, JSON, "Session");
    let get = op("getSession", Read, "Who asks").gives(200, JSON, "Session");
    let end = open("deleteSession", "Sign a browser out").empty(204);
    vec![
        row!(POST "/v1/tickets" ticket, |edge, call| edge.create_ticket(&call.asks, call.request).await),
        row!(POST "/v1/session" begin, |edge, call| edge.create_session(&call.asks, call.headers())),
        row!(GET "/v1/session" get, |edge, call| Ok(edge.get_session(&call.asks))),
        row!(DELETE "/v1/session" end, |edge, _call| Ok(edge.delete_session())),
    ]
}

fn operations() -> Vec<Route> {
    let root = open("getRoot", "The page for a browser; for others what this is, and how to use it")
        .gives(200, TEXT, "Text")
        .gives(200, "text/html; charset=utf-8", "Text");
    let file = open("getPageFile", "A file of the page").gives(200, "*/*", "Text").empty(304);
    let document = open("getOpenApi", "This document").gives(200, JSON, "Object");
    let live = open("getLivez", "Whether the process runs").gives(200, TEXT, "Text");
    let ready = open("getReadyz", "Whether requests should be sent here").gives(200, TEXT, "Text").unready();
    let health =
        op("getHealthz", Scope::Admin, "The health of the server and of what it depends on").gives(200, JSON, "Object");
    let metrics = op("getMetrics", Scope::Admin, "All instruments, in Prometheus' text format").gives(
        200,
        crate::telemetry::metrics::EXPOSITION_TYPE,
        "Text",
    );
    vec![
        row!(GET "/" root, |edge, call| Ok(edge.root(call.headers()))),
        row!(GET "/page/{file}" file, |edge, call| edge.page_file(call.variable(0), call.headers())),
        row!(GET "/openapi.json" document, |edge, _call| Ok(edge.openapi())),
        row!(GET "/livez" live, |edge, _call| Ok(edge.live())),
        row!(GET "/readyz" ready, |edge, _call| Ok(edge.ready())),
        row!(GET "/healthz" health, |edge, _call| Ok(edge.health().await)),
        row!(GET "/metrics" metrics, |edge, _call| Ok(edge.metrics())),
    ]
}
