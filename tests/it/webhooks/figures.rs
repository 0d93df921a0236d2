//! How soon healthy endpoints are told while others hang, and what endpoints cost those who wait for a reply.
//!
//! `REJOINDER_BIN=target/release/rejoinder cargo test --release --test it webhooks::figures -- --ignored --nocapture`
//! (`RATE` and `SECONDS` change what is asked of it.)

use std::time::Duration;

use super::*;
use crate::support::{Cluster, postgres::shared};

const ENDPOINTS: usize = 10;
const HANGING: usize = 3;

fn from_env(name: &str, otherwise: u32) -> u32 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

fn binary() -> String {
    std::env::var("REJOINDER_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_rejoinder").to_owned())
}

/// Asks for so many replies a second, of the owners in turn, and waits until all healthy endpoints were told: of a hundred
/// ends, 99 within `goal`, a bound of the histogram in seconds.
async fn measure(apis: &[Vec<Api>], hook: &Hook, goal: &str, of_carrier: impl AsyncFn() -> String) {
    let (rate, seconds) = (from_env("RATE", 1000), from_env("SECONDS", 10));
    let total = rate * seconds;
    let known = format!("rejoinder_webhook_endpoints{{state=\"ok\"}} {ENDPOINTS}");
    until("the carrier to know all endpoints", async || {
        of_carrier().await.lines().any(|line| line == known).then_some(())
    })
    .await;
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let (mut running, mut asked) = (tokio::task::JoinSet::new(), 0);
    while asked < total {
        ticks.tick().await;
        for _ in 0..rate.div_ceil(100).min(total - asked) {
            let owner = asked as usize % ENDPOINTS;
            let api = apis[owner][asked as usize / ENDPOINTS % apis[owner].len()].clone();
            running.spawn(async move { reply(&api).await });
            asked += 1;
        }
    }
    let begun = std::time::Instant::now();
    while running.join_next().await.is_some() {}
    println!("{total} replies at {rate}/s; the last took {:?}", begun.elapsed());
    let healthy = ENDPOINTS - HANGING;
    let each = total as usize / ENDPOINTS;
    for number in 0..healthy {
        hook.wait(&format!("/{number}"), each).await;
    }
    let metrics = of_carrier().await;
    for line in metrics.lines().filter(|line| line.starts_with("rejoinder_webhook_")) {
        println!("{line}");
    }
    let bucket = |le: &str| {
        let name = format!("rejoinder_webhook_delivery_seconds_bucket{{le=\"{le}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse::<f64>().ok()).unwrap_or_default()
    };
    println!(
        "within 100 ms {:.2} %, 250 ms {:.2} %, 400 ms {:.2} %",
        100.0 * bucket("0.1") / bucket("+Inf"),
        100.0 * bucket("0.25") / bucket("+Inf"),
        100.0 * bucket("0.4") / bucket("+Inf")
    );
    assert!(bucket(goal) >= 0.99 * bucket("+Inf"), "p99 is above {goal} s");
}

/// Endpoints, each of another owner; the last ones hang. A key for each owner, and their lines.
fn keys() -> (Vec<String>, String) {
    let made = (0..ENDPOINTS).map(|number| {
        let args =
            ["keys", "new", "--tenant", "acme", "--scopes", "chat,read,admin", "--user", &format!("user{number}")];
        let out = std::process::Command::new(binary()).args(args).env_clear().output().expect("the binary");
        let text = String::from_utf8(out.stdout).expect("text");
        let (secret, line) = text.trim().split_once('\n').expect("a key, and its line");
        (secret.to_owned(), line.to_owned())
    });
    let (secrets, lines): (Vec<_>, Vec<_>) = made.unzip();
    (secrets, lines.join(";"))
}

async fn endpoints(apis: &[Vec<Api>], hook: &Hook) {
    for (number, api) in apis.iter().enumerate() {
        let path = format!("/{number}");
        if number >= ENDPOINTS - HANGING {
            hook.on(&path, Does::Hangs);
        }
        endpoint(&api[0], &hook.url(&path)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, of a release build"]
async fn measure_how_soon_healthy_endpoints_are_told_by_one_instance() {
    let hook = Hook::start().await;
    let (secrets, lines) = keys();
    let server = calling().env("AUTH", "keys").env("API_KEYS", lines).start().await;
    let api = |secret: &String| vec![server.api().header("authorization", &format!("Bearer {secret}"))];
    let apis: Vec<_> = secrets.iter().map(api).collect();
    endpoints(&apis, &hook).await;
    measure(&apis, &hook, "0.25", async || apis[0][0].get("/metrics").await.text().to_owned()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, of a release build"]
async fn measure_how_soon_healthy_endpoints_are_told_by_instances_on_nats() {
    let (postgres, hook) = (shared(), Hook::start().await);
    let (secrets, lines) = keys();
    let env = vec![
        ("DATABASE_URL", postgres.url(&postgres.database())),
        ("WEBHOOK_ALLOW_PRIVATE", "on".to_owned()),
        ("AUTH", "keys".to_owned()),
        ("API_KEYS", lines),
        ("LLM_BASE_URL", String::new()),
        ("LLM_MODEL", String::new()),
    ];
    let cluster = Cluster::with_env(env).await;
    let api = |secret: &String| {
        (0..3).map(|index| cluster.api(index).header("authorization", &format!("Bearer {secret}"))).collect()
    };
    let apis: Vec<Vec<Api>> = secrets.iter().map(api).collect();
    endpoints(&apis, &hook).await;
    let of_carrier = async || {
        for api in &apis[0] {
            let metrics = api.get("/metrics").await.text().to_owned();
            if metrics.lines().any(|line| line == "rejoinder_webhook_carrier 1") {
                return metrics;
            }
        }
        panic!("nobody delivers");
    };
    measure(&apis, &hook, "0.4", of_carrier).await;
}

/// Two servers in turns under the same load: one without endpoints, and one with ten that are told of every end, of which
/// three hang.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, of a release build"]
async fn measure_what_endpoints_cost_the_token_path() {
    let hook = Hook::start().await;
    let (without, with) = (calling().start().await, calling().start().await);
    endpoints(&vec![vec![with.api()]; ENDPOINTS], &hook).await;
    let (turns, seconds) = (from_env("TURNS", 3), format!("{}s", from_env("SECONDS", 10)));
    let mut bench = tokio::process::Command::new(binary());
    // A hundred replies a second: a thousand webhooks.
    bench.args([
        "bench",
        &format!("http://{}", without.address()),
        "--clients",
        "20",
        "--every",
        "200ms",
        "--for",
        &seconds,
    ]);
    bench.args(["--turns", &turns.to_string(), "--pid", &without.pid().to_string()]);
    bench.args(["--compare", &format!("http://{}", with.address()), "--compare-pid", &with.pid().to_string()]);
    let ran = bench.env_clear().output().await.expect("the binary");
    println!("{}", String::from_utf8_lossy(&ran.stdout));
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let told: usize = (0..ENDPOINTS - HANGING).map(|number| hook.posted(&format!("/{number}")).len()).sum();
    println!("{told} webhooks were taken");
    assert!(told > 0, "nothing was told");
}
