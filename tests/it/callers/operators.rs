//! Health and figures, for those whom they are for.

use super::{Keys, keyed};
use crate::support::{Api, ports::free_port};

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
