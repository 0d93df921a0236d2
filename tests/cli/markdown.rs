//! README, taken apart.

/// A fenced block of code.
#[derive(Debug)]
pub struct Block {
    /// The heading that it stands under.
    pub section: String,
    pub language: String,
    pub text: String,
}

/// README's prose, and its blocks of code.
pub fn readme() -> (String, Vec<Block>) {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("README.md");
    let (mut prose, mut blocks, mut section) = (String::new(), Vec::new(), String::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            let text = lines
                .by_ref()
                .take_while(|line| line.trim() != "```")
                .fold(String::new(), |all, line| all + line + "\n");
            blocks.push(Block { section: section.clone(), language: language.to_owned(), text });
            continue;
        }
        if let Some(heading) = line.strip_prefix("## ").or_else(|| line.strip_prefix("# ")) {
            heading.clone_into(&mut section);
        }
        prose += line;
        prose.push('\n');
    }
    (prose, blocks)
}

/// The command lines of the binary that prose names, whole; `bench …` is short for `rejoinder bench …`.
pub fn commands(prose: &str) -> impl Iterator<Item = String> {
    code(prose).filter_map(|code| match code.split(' ').next()? {
        "rejoinder" => Some(code.to_owned()),
        "bench" => Some(format!("rejoinder {code}")),
        _ => None,
    })
}

/// The files of this repository that a text names, as code or as links.
pub fn paths(text: &str) -> impl Iterator<Item = &str> {
    let linked = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    // Of a section of a file, the file.
    let linked =
        linked.map(|path| path.split_once('#').map_or(path, |(file, _)| if file.is_empty() { path } else { file }));
    let named = text.split(|char: char| char.is_whitespace() || "`()[]|,;:".contains(char));
    let ours = |path: &&str| ["src/", "tests/", ".ci/"].iter().any(|start| path.starts_with(start));
    linked.filter(|path| !path.contains("://") && !path.starts_with('#')).chain(named.filter(ours))
}

/// What stands between backticks.
fn code(prose: &str) -> impl Iterator<Item = &str> {
    prose.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}
