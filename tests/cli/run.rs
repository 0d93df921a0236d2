//! The binary as a script runs it.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;

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
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_rejoinder"));
    command.args(words.split(' ')).env_remove("REJOINDER_URL").env_remove("REJOINDER_API_KEY").kill_on_drop(true);
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
