//! Several instances of the server on one NATS server: together, they are to be one.

use serde_json::{Value, json};

use super::{
    check::{Reply, check_reply},
    follower::{Place, follow_anywhere},
    http::Api,
    nats::Nats,
    server::{Config, Server},
    sse::Event,
    upstream::Upstream,
    wait::until,
};

/// Instances, the NATS server that they share, and their upstream.
#[derive(Debug)]
pub struct Cluster {
    pub instances: Vec<Server>,
    pub upstream: Upstream,
    pub nats: Nats,
    config: fn(Config) -> Config,
    env: Vec<(&'static str, String)>,
}

impl Cluster {
    /// Three instances.
    pub async fn new() -> Self {
        Self::with(|config| config).await
    }

    /// Three instances with further variables.
    pub async fn with_env(env: Vec<(&'static str, String)>) -> Self {
        Self::start(|config| config, env).await
    }

    /// Three instances of a changed configuration.
    pub async fn with(config: fn(Config) -> Config) -> Self {
        Self::start(config, Vec::new()).await
    }

    /// Three instances of a changed configuration, with further variables.
    pub async fn with_config(config: fn(Config) -> Config, env: Vec<(&'static str, String)>) -> Self {
        Self::start(config, env).await
    }

    async fn start(config: fn(Config) -> Config, env: Vec<(&'static str, String)>) -> Self {
        let (upstream, nats) = tokio::join!(Upstream::start(), Nats::start());
        let mut cluster = Self { instances: Vec::new(), upstream, nats, config, env };
        // At once, as a platform starts them: they make their streams together.
        let (a, b, c) = tokio::join!(cluster.another(), cluster.another(), cluster.another());
        cluster.instances = vec![a, b, c];
        cluster
    }

    /// A further instance, that knows nothing but where the NATS server is.
    pub async fn another(&self) -> Server {
        let config = Server::before(&self.upstream).env("NATS_URL", &self.nats.url).env("HEARTBEAT", "200ms");
        let config = self.env.iter().fold(config, |config, (name, value)| config.env(name, value));
        (self.config)(config).start().await
    }

    /// A client of one instance.
    pub fn api(&self, instance: usize) -> Api {
        self.instances[instance].api()
    }

    /// Clients of all instances but one.
    pub fn others(&self, instance: usize) -> Vec<Api> {
        let others = self.instances.iter().enumerate().filter(|(number, _)| *number != instance);
        others.map(|(_, server)| server.api()).collect()
    }

    /// Waits until the instances have known each other for a while: before, none presumes another dead.
    pub async fn settled(&self) {
        self.settled_for(&self.api(0)).await;
    }

    /// The same, as this client of one of them sees it.
    pub async fn settled_for(&self, api: &Api) {
        let made = api.post("/v1/conversations", json!({})).await.ok();
        let conversation = made["id"].as_str().expect("an id");
        let mut idle = api.follow(&format!("/v1/conversations/{conversation}/events")).await;
        // Five heartbeats a second.
        while idle.parser.comments < 17 {
            let bytes = idle.chunk().await.expect("the stream goes on");
            idle.parser.feed(&bytes);
        }
    }

    /// Waits until one of these instances says a reply, the only one that runs; gives which.
    pub async fn speaker(&self, among: impl IntoIterator<Item = usize>) -> usize {
        let among: Vec<_> = among.into_iter().collect();
        until("an instance to say the reply", async || {
            for &number in &among {
                if self.api(number).gauge("rejoinder_replies_running").await == 1 {
                    return Some(number);
                }
            }
            None
        })
        .await
    }

    /// A new conversation's id.
    pub async fn conversation(&self) -> String {
        let made = self.api(0).post("/v1/conversations", json!({})).await.ok();
        made["id"].as_str().expect("an id").to_owned()
    }

    /// Replays a reply on every instance: it is the same everywhere.
    pub async fn same_everywhere(&self, id: &str) -> Reply {
        let mut told: Vec<Vec<Event>> = Vec::new();
        for server in &self.instances {
            told.push(follow_anywhere(&[server.api()], id, Place::Responses, Vec::new()).await);
        }
        let bodies = |events: &[Event]| events.iter().map(|event| event.body.clone()).collect::<Vec<Value>>();
        for other in &told[1..] {
            assert_eq!(bodies(other), bodies(&told[0]), "the same on every instance");
        }
        let reply = check_reply(&told[0]);
        for server in &self.instances {
            assert_eq!(server.api().get(&format!("/v1/responses/{id}")).await.ok(), reply.response);
        }
        reply
    }
}
