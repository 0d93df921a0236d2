//! The binary as a script runs it.

use std::{path::Path, process::Stdio};

use tokio::{io::AsyncWriteExt, process::Command};

use crate::support::wait::soon;

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs `rejoinder` with words that hold no blanks, and something on its standard input.
pub async fn rejoinder(words: &str, input: &str) -> Ran {
    let mut command = command(words);
    command.env_remove("REJOINDER_URL").env_remove("REJOINDER_API_KEY");
    run(command, words, input).await
}

/// Runs it in a directory, with nothing in its environment but this.
pub async fn rejoinder_in(directory: &Path, environment: &[(&str, &str)], words: &str) -> Ran {
    let mut command = command(words);
    command.env_clear().envs(environment.iter().copied()).current_dir(directory);
    for kept in ["PATH", "HOME", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    run(command, words, "").await
}

fn command(words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rejoinder"));
    command.args(words.split(' ')).kill_on_drop(true);
    command
}

async fn run(mut command: Command, words: &str, input: &str) -> Ran {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary");
    let mut stdin = child.stdin.take().expect("piped");
    // A command that reads nothing may be gone already.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = soon(words, child.wait_with_output()).await.expect("our own child");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: output.status.code().expect("no signal"), out: text(output.stdout), err: text(output.stderr) }
}
