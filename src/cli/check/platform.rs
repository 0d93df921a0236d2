//! The platform that it runs on, as far as its environment tells, and which settings that platform would break.

use std::collections::HashMap;
use std::time::Duration;

use super::row::{Row, Status};
use crate::config::Config;
use crate::config::values::duration_text;
use crate::store;

const WHAT: &str = "platform";

/// What a platform lets an instance have.
struct Platform {
    name: &'static str,
    /// The variable that shows that it is this one.
    variable: &'static str,
    /// From SIGTERM to the end, and what may be set to give more.
    grace: (Duration, Option<&'static str>),
    /// The longest that a request lasts.
    request: Option<Duration>,
    /// Whether the disk outlives an instance.
    keeps_disk: bool,
}

/// The first that fits: what is below another one shows the variables of that one, too.
const PLATFORMS: [Platform; 5] = [
    Platform {
        name: "Lambda",
        variable: "AWS_LAMBDA_FUNCTION_NAME",
        grace: (Duration::from_millis(500), None),
        request: Some(Duration::from_mins(15)),
        keeps_disk: false,
    },
    Platform {
        name: "Fly.io",
        variable: "FLY_APP_NAME",
        grace: (Duration::from_secs(5), Some("kill_timeout")),
        request: None,
        keeps_disk: true,
    },
    Platform {
        name: KNATIVE,
        variable: "K_SERVICE",
        grace: (Duration::from_mins(5), Some("timeoutSeconds")),
        request: Some(Duration::from_mins(10)),
        keeps_disk: false,
    },
    Platform {
        name: CLOUD_RUN,
        variable: "K_SERVICE",
        grace: (Duration::from_secs(10), None),
        request: Some(Duration::from_hours(1)),
        keeps_disk: false,
    },
    Platform {
        name: "Kubernetes",
        variable: KUBERNETES,
        grace: (Duration::from_secs(30), Some("terminationGracePeriodSeconds")),
        request: None,
        keeps_disk: true,
    },
];

const KNATIVE: &str = "Knative";
const CLOUD_RUN: &str = "Cloud Run";
/// Every pod of Kubernetes has it; Cloud Run, which looks like Knative otherwise, has not.
const KUBERNETES: &str = "KUBERNETES_SERVICE_HOST";

/// What does not fit the platform; one line that says which it is where everything does. Nothing where none is known.
pub(super) fn rows(set: &HashMap<String, String>, config: &Config) -> Vec<Row> {
    let is_set = |name: &str| set.get(name).is_some_and(|value| !value.is_empty());
    let is_it = |platform: &&Platform| {
        is_set(platform.variable)
            && match platform.name {
                KNATIVE => is_set(KUBERNETES),
                CLOUD_RUN => !is_set(KUBERNETES),
                _ => true,
            }
    };
    let Some(platform) = PLATFORMS.iter().find(is_it) else { return Vec::new() };
    let rows: Vec<Row> =
        [grace(platform, config), age(platform, config), disk(platform, config)].into_iter().flatten().collect();
    if rows.is_empty() { vec![Row::new(Status::Ok, WHAT, platform.name, "the settings fit it")] } else { rows }
}

fn grace(platform: &Platform, config: &Config) -> Option<Row> {
    let ((grace, more), wanted) = (platform.grace, config.drain.timeout);
    if wanted <= grace {
        return None;
    }
    let value = format!("DRAIN_TIMEOUT={}", duration_text(wanted));
    let given = duration_text(grace);
    let name = platform.name;
    Some(match more {
        None => Row::new(Status::Warn, WHAT, value, format!("{name} kills an instance {given} after SIGTERM"))
            .why("replies that run then are not handed over in good order, and go on later")
            .change(format!("DRAIN_TIMEOUT={given}, or less")),
        Some(setting) => {
            let detail = format!("{name} kills an instance {given} after SIGTERM, unless {setting} is more");
            Row::new(Status::Note, WHAT, value, detail)
        }
    })
}

fn age(platform: &Platform, config: &Config) -> Option<Row> {
    let longest = platform.request?;
    if config.http.stream_max_age.is_some_and(|age| age < longest) {
        return None;
    }
    let value = format!("STREAM_MAX_AGE={}", config.http.stream_max_age.map_or("off".to_owned(), duration_text));
    let detail = format!("{} cuts a request after {} at most", platform.name, duration_text(longest));
    let row = Row::new(Status::Warn, WHAT, value, detail);
    Some(
        row.change(format!(
            "STREAM_MAX_AGE, to less than its timeout, for example STREAM_MAX_AGE={}",
            example(longest)
        )),
    )
}

/// Less than the longest, with room for the spread.
fn example(longest: Duration) -> String {
    duration_text(Duration::from_mins(longest.as_secs() / 60 * 3 / 4))
}

fn disk(platform: &Platform, config: &Config) -> Option<Row> {
    let stays = config.log.nats.is_some() && matches!(config.store, store::Config::Postgres(_));
    if platform.keeps_disk || stays {
        return None;
    }
    let value = format!("DATA_DIR={}", config.data_dir.display());
    let detail = format!("what is on a disk of {} goes with its instance", platform.name);
    Some(Row::new(Status::Warn, WHAT, value, detail).change("NATS_URL and DATABASE_URL=postgres://…"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(set: &[(&str, &str)]) -> Vec<(Status, String)> {
        let set: HashMap<_, _> = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (config, faults) = Config::with_faults(&set);
        assert!(faults.is_empty(), "{faults:?}");
        rows(&set, &config).into_iter().map(|row| (row.status, row.value)).collect()
    }

    #[test]
    fn what_a_platform_would_break_is_told() {
        assert_eq!(found(&[]), []);
        let (nats, postgres) = (("NATS_URL", "nats://n:4222"), ("DATABASE_URL", "postgres://u:p@d/r"));
        let run = ("K_SERVICE", "chat");
        let row = |status, value: &str| (status, value.to_owned());
        assert_eq!(
            found(&[run, ("DRAIN_TIMEOUT", "25s")]),
            [
                row(Status::Warn, "DRAIN_TIMEOUT=25s"),
                row(Status::Warn, "STREAM_MAX_AGE=off"),
                row(Status::Warn, "DATA_DIR=./data"),
            ]
        );
        assert_eq!(found(&[run, nats, postgres, ("STREAM_MAX_AGE", "45m")]), [row(Status::Ok, "Cloud Run")]);
        let knative = [run, nats, postgres, (KUBERNETES, "10.0.0.1"), ("STREAM_MAX_AGE", "45m")];
        assert_eq!(found(&knative), [row(Status::Warn, "STREAM_MAX_AGE=45m")]);
        assert_eq!(
            found(&[("AWS_LAMBDA_FUNCTION_NAME", "chat"), nats, postgres, ("STREAM_MAX_AGE", "12m")]),
            [row(Status::Warn, "DRAIN_TIMEOUT=10s")]
        );
        assert_eq!(
            found(&[(KUBERNETES, "10.0.0.1"), ("DRAIN_TIMEOUT", "40s")]),
            [row(Status::Note, "DRAIN_TIMEOUT=40s")]
        );
        assert_eq!(found(&[(KUBERNETES, "10.0.0.1"), ("DRAIN_TIMEOUT", "25s")]), [row(Status::Ok, "Kubernetes")]);
    }
}
