//! The binary in a terminal, as a person has it.

use std::path::Path;

use pty_process::{Command, Pty, Size};
use rustix::process::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;

use crate::support::wait::soon;

/// A terminal in which the binary runs. Wide enough, if nothing is said, that nothing is wrapped.
pub struct Terminal {
    pty: Pty,
    child: Child,
    seen: String,
    /// How much of `seen` was waited for already.
    read: usize,
}

/// What Ctrl-C and Ctrl-D send.
pub const CTRL_C: &str = "\x03";
pub const CTRL_D: &str = "\x04";

impl Terminal {
    /// Starts `rejoinder` with words that hold no blanks, and a home of its own.
    pub fn start(words: &str, home: &Path) -> Self {
        Self::of_columns(1000, words, home)
    }

    /// As [`Terminal::start`], with lines of another length.
    pub fn of_columns(columns: u16, words: &str, home: &Path) -> Self {
        let (pty, pts) = pty_process::open().expect("a terminal");
        pty.resize(Size::new(40, columns)).expect("a size");
        let command = Command::new(env!("CARGO_BIN_EXE_rejoinder"))
            .args(words.split(' '))
            .env("TERM", "xterm")
            .env("NO_COLOR", "1")
            .env("XDG_STATE_HOME", home)
            .kill_on_drop(true);
        let child = command.spawn(pts).expect("the binary");
        Self { pty, child, seen: String::new(), read: 0 }
    }

    /// The program's process.
    pub fn pid(&self) -> Pid {
        self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it runs")
    }

    /// Types something.
    pub async fn type_in(&mut self, keys: &str) {
        self.pty.write_all(keys.as_bytes()).await.expect("a terminal");
    }

    /// Waits for the prompt, then types a line.
    pub async fn say(&mut self, line: &str) {
        self.wait_for("> ").await;
        self.type_in(&format!("{line}\r")).await;
    }

    /// Waits until `text` is shown, after what was waited for before; returns what came up to it.
    pub async fn wait_for(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = self.seen[self.read..].find(text) {
                let end = self.read + at + text.len();
                let found = self.seen[self.read..end].to_owned();
                self.read = end;
                return found;
            }
            let what = format!("“{text}” in the terminal, after {:?}", &self.seen[self.read..]);
            assert!(soon(&what, self.read_on()).await, "ended, and no {what}");
        }
    }

    /// Waits until the program has ended, and returns its exit code.
    pub async fn wait(&mut self) -> i32 {
        while soon("the terminal's end", self.read_on()).await {}
        soon("the program's end", self.child.wait()).await.expect("our own child").code().expect("no signal")
    }

    /// Whether there was more. Linux says EIO where the other end is closed.
    async fn read_on(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let read = self.pty.read(&mut bytes).await.unwrap_or(0);
        self.seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
        read > 0
    }
}
