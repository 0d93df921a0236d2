//! Postgres behind a pooler in transaction mode, as hosters give its address first.

use super::checked;
use crate::support::{
    postgres::{PASSWORD, pgbouncer::PgBouncer, shared},
    *,
};

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_share_a_store_behind_a_pooler() {
    for more in ["", "ignore_startup_parameters=extra_float_digits,options"] {
        let (bouncer, database) = (PgBouncer::start(shared(), more), shared().database());
        let url = bouncer.url(&database);
        let one = Given::with(|config| config.env("DATABASE_URL", &url)).await;
        let other = Given::with(|config| config.env("DATABASE_URL", &url)).await;
        let mut kept = Vec::new();
        for (given, about) in [(&one, "one"), (&other, "other"), (&one, "one more")] {
            let conversation = given.conversation().await;
            let prompt = prompt(12, about);
            let request = with(streamed(&prompt), json!({"conversation": conversation}));
            kept.push((given.reply(request).await, conversation));
        }
        one.api.delete(&format!("/v1/responses/{}", kept[2].0.id)).await.ok();
        let ended = "SELECT count(*) FROM replies WHERE ended IS NOT NULL AND NOT deleted";
        until("all to be in the store", async || {
            let found = tokio::task::block_in_place(|| shared().try_sql(&database, ended));
            (found.as_deref() == Some("2")).then_some(())
        })
        .await;
        // Without its log it knows what the store has.
        let config = one.server.stop();
        std::fs::remove_dir_all(config.data_dir().join("data")).expect("its directory");
        let again = config.start().await;
        for (reply, conversation) in &kept[..2] {
            assert_eq!(again.api().get(&format!("/v1/responses/{}", reply.id)).await.ok(), reply.response);
            assert_eq!(conversation_items(&again.api(), conversation).await.len(), 2);
        }
        for server in [&again, &other.server] {
            assert!(!server.output().contains("store unavailable"), "{}", server.output());
            assert_eq!(server.poll("/healthz", |answer| answer.json()["store"]["up"] == true).await.status, 200);
        }
        let (code, row) = checked(&again.stop(), "store");
        assert_eq!(code, Some(0), "{row}");
        assert!(
            row["detail"].as_str().is_some_and(|text| text.contains("behind a pooler in transaction mode")),
            "{row}"
        );
        assert!(!row.to_string().contains(PASSWORD), "{row}");
    }
}
