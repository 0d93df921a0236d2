//! Dependencies point down: a module imports only what stands below it.
//!
//! `main → cli → app → http → protocols → replies → {speech, upstream} → {log, store} → conversation`, consumers beside the
//! protocols, and no circles.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What each module of the crate may import: only what stands above it in this list.
const LAYERS: &[(&str, &[&str])] = &[
    ("values", &[]),
    ("causes", &[]),
    ("crash", &[]),
    ("disk", &[]),
    ("shutdown", &[]),
    ("conversation", &[]),
    ("surrogates", &[]),
    ("telemetry", &[]),
    ("log", &["causes", "conversation", "crash", "disk", "telemetry"]),
    ("store", &["causes", "conversation", "disk", "values"]),
    ("config", &["store", "telemetry", "values"]),
    ("upstream", &["causes", "conversation", "surrogates", "values"]),
    ("speech", &["conversation", "telemetry", "upstream"]),
    ("replies", &["causes", "conversation", "log", "speech", "store", "telemetry", "upstream"]),
    ("consumers", &["conversation", "crash", "log", "replies", "store"]),
    ("protocols", &["conversation", "replies", "speech", "surrogates"]),
    ("http", &["causes", "config", "conversation", "protocols", "replies", "speech", "telemetry", "upstream"]),
    ("health", &["conversation"]),
    (
        "app",
        &[
            "config",
            "consumers",
            "conversation",
            "health",
            "http",
            "log",
            "replies",
            "shutdown",
            "speech",
            "store",
            "telemetry",
            "upstream",
        ],
    ),
    ("cli", &["app", "causes", "config", "conversation", "http", "log", "store", "telemetry", "upstream", "values"]),
];

#[test]
fn the_layers_have_no_circle() {
    for (index, (module, may)) in LAYERS.iter().enumerate() {
        let above = |name: &&str| LAYERS[..index].iter().any(|(other, _)| other == name);
        assert!(may.iter().all(above), "{module} imports what does not stand above it");
    }
}

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
