use super::*;
use crate::config::Config;

/// The configuration with this file.
fn with(text: &str) -> Result<Config, Vec<String>> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rejoinder.toml");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    let set = [
        ("REJOINDER_CONFIG", path),
        ("KEY_A", "sk-a"),
        ("KEY_B", "sk-b"),
        ("KEY_BAD", "a b"),
        ("LLM_IDLE_TIMEOUT", "7s"),
    ];
    let set = set.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
    let (config, faults) = Config::with_faults(&set);
    if faults.is_empty() {
        assert!(Config::from_env_map(&set).is_ok());
        return Ok(config);
    }
    assert!(Config::from_env_map(&set).is_err());
    Err(faults.iter().map(|fault| fault.to_string().replace(path, "file")).collect())
}

#[test]
fn servers_are_read_in_order_with_what_holds_for_all() {
    let config = with(
        r#"
[[llm]]
name = "gpu"
base_url = "http://gpu:8000/v1/"
keys = ["KEY_A", "KEY_B"]
models = ["small"]
rename = { big = "meta/big", "*" = "any" }
default_model = "big"
continuation = "prefill"
max_in_flight = 64
max_queued = 0
queue_timeout = "2s"
connect_timeout = "1s"
first_timeout = "20s"
ca_file = "/etc/ca.pem"

[[llm]]
base_url = "https://api.example.com/v1"
"#,
    )
    .unwrap();
    let [gpu, hosted] = &config.upstream.servers[..] else { panic!("{config:?}") };
    assert_eq!((gpu.server.name.as_str(), gpu.server.base_url.as_str()), ("gpu", "http://gpu:8000/v1"));
    assert_eq!(gpu.server.keys.iter().map(Secret::expose).collect::<Vec<_>>(), ["sk-a", "sk-b"]);
    assert_eq!((gpu.models.clone(), gpu.rename["big"].as_str()), (vec!["small".to_owned()], "meta/big"));
    assert_eq!((gpu.model.as_deref(), gpu.continuation), (Some("big"), ContinuationPolicy::Prefill));
    let limits = gpu.server.limits;
    assert_eq!((limits.max_in_flight, limits.max_queued, limits.queue_timeout.as_secs()), (64, 0, 2));
    assert_eq!((gpu.first.as_secs(), gpu.first_with_fallback.map(|time| time.as_secs())), (20, Some(20)));
    assert_eq!(hosted.server.name, "api.example.com");
    assert_eq!((hosted.first.as_secs(), hosted.first_with_fallback, hosted.idle.as_secs()), (300, None, 7));
    assert_eq!(hosted.server.limits.max_in_flight, 1000);
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn all_that_is_wrong_is_told_with_its_line_and_field() {
    let faults = with(
        r#"
[[llm]]
name = "a b"
base_url = "gpu:8000"
keys = ["KEY_C"]
max_in_flight = 0
first_timout = "20s"

[[llm]]
idle_timeout = 5
keys = ["KEY_BAD"]
rename = { a = 1 }
[other]
"#,
    )
    .unwrap_err();
    for expected in [
        "REJOINDER_CONFIG=file, line 3, llm[0].name: expected up to 64 letters",
        "line 4, llm[0].base_url: expected an address such as",
        "line 5, llm[0].keys: expected the name of a variable of the environment that is set (KEY_C is not)",
        "line 6, llm[0].max_in_flight: expected a whole number, at least 1",
        "line 7, llm[0].first_timout: expected one of ",
        "llm[1].base_url: expected to be set",
        "line 10, llm[1].idle_timeout: expected a text in quotes",
        "line 11, llm[1].keys: expected a variable that holds visible ASCII",
        "line 12, llm[1].rename: expected a table of texts",
        "line 13, other: expected one of llm",
    ] {
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{expected}\nis not in\n{faults:#?}");
    }
    assert_eq!(faults.len(), 10, "{faults:#?}");
    assert!(!faults.concat().contains("a b: "), "a secret is not told");
}

#[test]
fn what_is_no_toml_or_no_file_is_told() {
    let faults = with("[[llm]]\nname = \n").unwrap_err();
    assert!(faults[0].starts_with("REJOINDER_CONFIG=file, line 2: expected TOML ("), "{faults:?}");
    let set = HashMap::from([("REJOINDER_CONFIG".to_owned(), "/nowhere/x.toml".to_owned())]);
    let error = Config::from_env_map(&set).unwrap_err().to_string();
    assert!(error.starts_with("REJOINDER_CONFIG=/nowhere/x.toml: expected a file that can be read ("), "{error}");
}

#[test]
fn two_servers_of_one_name_and_an_address_beside_a_list_are_refused() {
    let one = "[[llm]]\nbase_url = \"http://a/v1\"\n";
    let faults = with(&format!("{one}{one}")).unwrap_err();
    assert!(faults[0].contains("llm[1].name: expected a name that no other"), "{faults:?}");
}

#[test]
fn webhooks_have_an_address_a_secret_and_whose_replies_they_are_told_of() {
    let file = r#"
[[webhook]]
url = "https://billing.example.com/hook?x=1"
secret = "LONG"
event_types = ["response.failed"]
tenant = "acme"

[[webhook]]
name = "all"
url = "http://10.0.0.1/"
secret = "LONG"
"#;
    let parse = |text: &str| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rejoinder.toml");
        std::fs::write(&path, text).unwrap();
        let set = [
            ("REJOINDER_CONFIG", path.to_str().unwrap()),
            ("LONG", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            ("SHORT", "whsec_x"),
        ];
        Config::with_faults(&set.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect())
    };
    let (config, faults) = parse(file);
    assert_eq!(faults, []);
    let [billing, all] = &config.webhooks.of_file[..] else { panic!("{config:?}") };
    assert_eq!((billing.name.as_str(), billing.tenant.as_deref()), ("billing.example.com", Some("acme")));
    assert_eq!(billing.event_types, ["response.failed"]);
    assert_eq!((all.event_types.len(), all.tenant.as_ref(), config.webhooks.allows_private), (4, None, false));
    assert!(!format!("{config:?}").contains("MfKQ9r"));
    for (part, wrong, told) in [
        ("\"LONG\"", "\"SHORT\"", "at least 24"),
        ("\"LONG\"", "\"UNSET\"", "UNSET is not"),
        ("https://", "ftp://", "https://example.com"),
        ("https://", "https://me:pw@", "without a password"),
        ("response.failed", "response.deleted", "some of response.completed"),
        ("tenant = \"acme\"", "user = \"alice\"", "tenant beside it"),
    ] {
        let faults = parse(&file.replacen(part, wrong, 1)).1;
        assert!(faults.iter().any(|fault| fault.to_string().contains(told)), "{wrong}: {faults:?}");
    }
}
