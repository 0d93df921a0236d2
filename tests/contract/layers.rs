//! Dependencies point down: a module imports only what stands below it.
//!
//! `main → cli → app → {http, generation, projection} → {threads, health} → {log, store, upstream} → {api, conversation}`,
//! and the workers around the log do not import each other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What each module of the crate may import.
const LAYERS: &[(&str, &[&str])] = &[
    ("values", &[]),
    ("conversation", &[]),
    ("causes", &[]),
    ("crash", &[]),
    ("disk", &[]),
    ("telemetry", &[]),
    ("shutdown", &[]),
    ("log", &["causes", "conversation", "crash", "disk", "telemetry"]),
    ("store", &["causes", "conversation", "disk", "values"]),
    ("upstream", &["causes", "conversation", "values"]),
    ("config", &["store", "telemetry", "values"]),
    ("speech", &["conversation", "telemetry", "upstream"]),
    ("replies", &["conversation", "log", "speech", "store", "telemetry", "upstream"]),
    ("protocols", &["conversation", "replies"]),
    ("consumers", &["conversation", "crash", "log", "replies", "store"]),
    ("http", &["causes", "conversation", "log", "protocols", "replies", "speech", "telemetry", "upstream"]),
    ("health", &["consumers", "conversation", "http", "log", "store", "telemetry", "upstream"]),
    (
        "app",
        &[
            "config",
            "conversation",
            "health",
            "http",
            "log",
            "consumers",
            "replies",
            "shutdown",
            "speech",
            "store",
            "telemetry",
            "upstream",
        ],
    ),
    ("cli", &["app", "config", "conversation", "http", "log", "store", "telemetry", "upstream", "values"]),
];

#[test]
fn dependencies_point_down() {
    let allowed: BTreeMap<_, _> = LAYERS.iter().copied().collect();
    let mut wrong = Vec::new();
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let module = module(&path);
        if matches!(module.as_str(), "lib" | "main") {
            continue;
        }
        let may = allowed.get(module.as_str()).unwrap_or_else(|| panic!("{module} has no place among the layers"));
        let text = std::fs::read_to_string(&path).expect("a source file");
        for imported in imports(&text) {
            if imported != module && !may.contains(&imported.as_str()) {
                wrong.push(format!("{}: {module} imports {imported}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_has_its_place() {
    let text = include_str!("../../src/lib.rs");
    let declared = text.lines().filter_map(|line| {
        line.trim_start_matches("pub ").strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';'))
    });
    for module in declared {
        assert!(LAYERS.iter().any(|(name, _)| *name == module), "{module}");
    }
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The top module that a file belongs to.
fn module(path: &Path) -> String {
    let source = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("a source");
    let first = source.components().next().expect("a name").as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The modules that a file names with `crate::`, also in the middle of a line. Comments and tests' own modules do not
/// count.
fn imports(text: &str) -> Vec<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found: Vec<String> = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with('$') || code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        let names = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default().split(',').map(first_name).collect(),
            None => vec![first_name(rest)],
        };
        found.extend(names.into_iter().filter(|name| !name.is_empty()));
    }
    found
}

fn first_name(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}
