//! A shell with what README tells the reader to paste into one, in a directory of its own.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::support::wait::soon;

/// Stands in for cargo: what it would build is there already.
const CARGO: &str = r#"#!/bin/sh
case "$*" in
  "build --release") ;;
  "run --release") exec target/release/rejoinder ;;
  *) echo "cargo $*?" >&2; exit 64 ;;
esac
"#;

/// A running shell; with all that it has started it does not outlive its handle.
pub struct Shell {
    directory: TempDir,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Shell {
    /// Types `code` into a shell in which servers listen on `port`.
    pub fn start(code: &str, port: u16) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        furnish(directory.path());
        let path = std::env::var("PATH").expect("a PATH");
        let mut child = Command::new("bash")
            .current_dir(directory.path())
            .env("PATH", format!("{}:{path}", directory.path().join("bin").display()))
            .env("PORT", port.to_string())
            .env_remove("DATA_DIR")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut stdin = child.stdin.take().expect("piped");
        let code = format!("{code}\nwait\n");
        // Code fits into the pipe; the shell takes a line when it has done the one before, as in a terminal.
        tokio::spawn(async move { stdin.write_all(code.as_bytes()).await });
        Self { directory, child, lines }
    }

    /// The address of the server that was started.
    pub async fn server(&mut self) -> String {
        loop {
            let line = soon("a server's address", self.lines.next_line()).await.expect("UTF-8").expect("a server");
            if let Some((_, url)) = line.split_once("address  ") {
                return url.to_owned();
            }
        }
    }

    /// All that is printed, to the end of the shell and of what it started.
    pub async fn output(&mut self) -> String {
        let mut text = String::new();
        soon("the shell's end", self.lines.get_mut().read_to_string(&mut text)).await.expect("UTF-8");
        text
    }

    /// The bytes of a file that it has written.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.directory.path().join(name)).expect(name)
    }

    /// A file that it has written.
    pub fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).expect(name)
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Its own group, and all that is in it; the shell itself is a zombie at worst until `child` is dropped.
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// The directory as a reader has it after `cargo build --release`.
fn furnish(directory: &Path) {
    let (bin, release) = (directory.join("bin"), directory.join("target/release"));
    for made in [&bin, &release] {
        std::fs::create_dir_all(made).expect("a directory");
    }
    symlink(env!("CARGO_BIN_EXE_rejoinder"), release.join("rejoinder")).expect("a link");
    std::fs::write(bin.join("cargo"), CARGO).expect("a file");
    std::fs::set_permissions(bin.join("cargo"), std::fs::Permissions::from_mode(0o755)).expect("a file of ours");
}
