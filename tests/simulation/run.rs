//! One simulation, from its plan to what is wrong with it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rejoinder::log::Subject;
use rejoinder::log::simulated::Cluster;
use rejoinder::simulated::World;
use rejoinder::simulation::{Dice, KINDS};
use rejoinder::store::simulated::Database;
use tokio::time::{sleep, timeout};

use crate::checker::Checker;
use crate::client::Client;
use crate::fate;
use crate::final_look::FinalLook;
use crate::fleet::Fleet;
use crate::hook::Listener;
use crate::model::Player;
use crate::plan::Plan;
use crate::rules::{Changed, Rules, WellSince};
use crate::trace::Trace;

/// What came of a simulation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    pub(crate) violations: Vec<String>,
    pub(crate) faults: [u64; KINDS],
    /// Faults that would have been made, the spared ones among them.
    pub(crate) struck: u64,
    pub(crate) simulated: Duration,
    pub(crate) replies: usize,
    pub(crate) digest: u64,
}

/// How long clients have when nothing goes wrong any more.
const CALM: Duration = Duration::from_mins(4);

/// Runtimes that the first simulations have, which are wild.
const WILD: u64 = 3;

/// Has everything happen once.
pub(crate) fn warm_up() {
    for seed in 0..WILD {
        drop(simulate_as(Plan::wild(seed), seed, false));
    }
}

/// Simulates a plan.
pub(crate) fn simulate(plan: Plan) -> Outcome {
    let is_traced = std::env::var("SIMULATION_TRACE").is_ok_and(|trace| trace == "1");
    let runtime = plan.seed + WILD;
    simulate_as(plan, runtime, is_traced)
}

/// Simulates a plan, on a thread of its own, in which nothing is left to chance.
fn simulate_as(plan: Plan, runtime: u64, is_traced: bool) -> Outcome {
    let said = std::env::var("SIMULATION_LOG").ok();
    let thread = std::thread::Builder::new().stack_size(16 << 20).spawn(move || {
        fate::seal(plan.seed);
        let runtime = fate::runtime(runtime);
        let _said = said.filter(|_| is_traced).map(|said| {
            let said = tracing_subscriber::fmt().with_env_filter(said).without_time().finish();
            tracing::subscriber::set_default(said)
        });
        runtime.block_on(tokio::task::LocalSet::new().run_until(run(plan, is_traced)))
    });
    let simulated = thread.expect("a thread").join();
    simulated.unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<String>().cloned();
        let what = what.or_else(|| panic.downcast_ref::<&str>().map(|what| (*what).to_owned()));
        Outcome { violations: vec![format!("a panic: {}", what.unwrap_or_default())], ..Outcome::default() }
    })
}

async fn run(plan: Plan, is_traced: bool) -> Outcome {
    let trace = Arc::new(Trace::new(is_traced));
    let dice = Arc::new(Dice::new(plan.seed, &plan.rates, plan.spared.clone()));
    let of_faults = Arc::clone(&trace);
    dice.observe(move |number, fault| of_faults.note(format_args!("fault {number}: {fault:?}")));
    let cluster = Cluster::new(Arc::clone(&dice), Duration::from_mins(10), Duration::from_mins(5));
    if let Some(longest) = plan.max_payload {
        cluster.limit(longest);
    }
    let of_instances = cluster.clone();
    let well_since: WellSince = Box::new(move |instance| of_instances.well_since(instance.parse().ok()?));
    let changed = Arc::new(Mutex::new(Changed::new()));
    let rules =
        Rules { well_since: plan.hears().then_some(well_since), bound: plan.bound(), changed: Arc::clone(&changed) };
    let checker = Checker::new(Arc::clone(&trace), rules);
    let of_records = Arc::clone(&checker);
    cluster.observe(move |subject, stored| match subject {
        Subject::Transcript(thread) => of_records.stored(&thread.to_string(), false, &stored.payload),
        Subject::ReplyLog(reply) => of_records.stored(&reply.to_string(), true, &stored.payload),
    });
    let database = if plan.has_webhook {
        let hook = Listener { dice: Arc::clone(&dice), checker: Arc::clone(&checker) };
        Database::with_webhooks(Arc::clone(&dice), Arc::new(hook)).expect("tables of webhooks")
    } else {
        Database::new(Arc::clone(&dice))
    };
    let world = World {
        cluster,
        database,
        model: Arc::new(Player { dice: Arc::clone(&dice), checker: Arc::clone(&checker) }),
        environment: plan.environment(),
    };
    let fleet = Fleet::new(world, (Arc::clone(&dice), Arc::clone(&trace)), (plan.newer, changed));
    let before = tasks();
    for _ in 0..plan.instances {
        fleet.start().await;
    }
    // What each has to do with itself.
    sleep(Duration::from_secs(3)).await;
    let per_instance = (tasks() - before) / plan.instances;
    play(&plan, &fleet, &checker).await;
    let may_fail = plan.may_fail();
    let tasks = plan.leaves_nothing().then_some((before, per_instance));
    let look = FinalLook { fleet: Arc::clone(&fleet), checker: Arc::clone(&checker), may_fail, tasks };
    look.look().await;
    if plan.has_webhook {
        look.look_at_webhooks().await;
    }
    Outcome {
        violations: checker.violations(),
        faults: dice.made(),
        struck: dice.struck(),
        simulated: fate::elapsed(),
        replies: checker.accepted_in_log().len(),
        digest: trace.digest(),
    }
}

/// Tasks that have not ended.
pub(crate) fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Clients take their turns while things go wrong, and end them in peace.
async fn play(plan: &Plan, fleet: &Arc<Fleet>, checker: &Arc<Checker>) {
    let mut clients = tokio::task::JoinSet::new();
    for number in (0..plan.clients).filter(|number| !plan.absent.contains(number)) {
        let client = Client { number, fleet: Arc::clone(fleet), checker: Arc::clone(checker) };
        clients.spawn(client.run(plan.turns));
    }
    fleet.trouble(fleet.dice.millis(3_000..25_000)).await;
    fleet.calm().await;
    let ended = async {
        while let Some(ended) = clients.join_next().await {
            if let Err(panic) = ended {
                checker.violation(format!("a client: {panic}"));
            }
        }
    };
    if timeout(CALM, ended).await.is_err() {
        checker.violation("clients wait for ever");
    }
    // What was frozen or late goes on.
    sleep(Duration::from_secs(20)).await;
}
