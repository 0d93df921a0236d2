//! Health and figures, for those whom they are for.

use super::{Keys, keyed};
use crate::support::{Api, ports::free_port, server::Config, until};

#[tokio::test]
async fn health_and_figures_have_a_listener_of_their_own() {
    let keys = Keys::new(&[("all", "--tenant ops --scopes chat,read,tenant,admin")]);
    let admin = format!("127.0.0.1:{}", free_port());
    let server = keyed(&keys).env("ADMIN_ADDR", &admin).start().await;
    let (operators, public) = (Api::new(&format!("http://{admin}")), keys.api(&server, "all"));
    for path in ["/healthz", "/metrics"] {
        assert_eq!(operators.get(path).await.status, 200, "{path}");
        assert_eq!(public.get(path).await.status, 404, "{path}");
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(operators.get(path).await.text(), "ok\n", "{path}");
        assert_eq!(server.api().get(path).await.text(), "ok\n", "{path}");
    }
    for path in ["/", "/openapi.json", "/v1/models", "/v1/session"] {
        assert_eq!(operators.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn strangers_are_told_nothing_of_what_is_behind_a_server() {
    let keys = Keys::new(&[("alice", "--tenant acme")]);
    let server = keyed(&keys).start().await;
    let told = server.api().get("/").await;
    assert!(told.text().starts_with("rejoinder ") && !told.text().contains("sqlite"), "{}", told.text());
    assert!(server.output().contains("callers  API keys"), "{}", server.output());
}

#[tokio::test]
async fn what_a_start_waits_for_is_told_to_those_who_may_know() {
    let keys = Keys::new(&[("ops", "--tenant ops --scopes admin"), ("alice", "--tenant acme")]);
    let waiting = |config: Config| config.env("NATS_URL", format!("nats://127.0.0.1:{}", free_port())).begin();
    let told = async |api: &Api| {
        let live = async || api.try_call(hyper::Method::GET, "/livez", "").await.ok();
        until("the server to listen", live).await;
        let health = api.get("/healthz").await;
        assert_eq!((health.status.as_u16(), health.header("retry-after")), (503, Some("1")));
        (health.json()["waiting_for"][0]["what"] == "log", health.text().contains("nats://"))
    };
    let server = waiting(keyed(&keys));
    assert_eq!(told(&keys.api(&server, "ops")).await, (true, true));
    assert_eq!(told(&keys.api(&server, "alice")).await, (false, false));
    assert_eq!(told(&server.api()).await, (false, false));

    let admin = format!("127.0.0.1:{}", free_port());
    let server = waiting(keyed(&keys).env("ADMIN_ADDR", &admin));
    assert_eq!(told(&keys.api(&server, "ops")).await, (false, false));
    assert_eq!(told(&Api::new(&format!("http://{admin}"))).await, (true, true));
}
