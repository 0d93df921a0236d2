//! Programs of this machine: one that is given a text and writes a WAV, and one that is given a WAV and writes a text.
//! A process for each call, with a limit on number and time; a process whose output is not wanted any more is killed,
//! with all that it started.

use std::io;
use std::process::Stdio;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;

/// Bytes that are read at once.
const PIECE: usize = 16 * 1024;

/// A program that speaks, or that transcribes.
#[derive(Debug, Clone)]
pub(super) struct Local {
    command: Arc<[String]>,
    room: Arc<Semaphore>,
}

/// A program that runs.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    stdout: ChildStdout,
    _feeding: AbortOnDropHandle<()>,
    _room: OwnedSemaphorePermit,
}

impl Local {
    /// The program, and what it is called with: the text comes on its standard input, the WAV on its standard output.
    /// `{voice}` among the words stands for the voice that is asked for. At most so many run at once.
    pub(super) fn new(command: Vec<String>, at_once: usize) -> Self {
        Self { command: command.into(), room: Arc::new(Semaphore::new(at_once)) }
    }

    /// The program's name.
    pub(super) fn name(&self) -> &str {
        &self.command[0]
    }

    /// Has a text spoken, as soon as there is room.
    pub(super) async fn speak(&self, text: &str, voice: Option<&str>) -> io::Result<Process> {
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(io::Error::other)?;
        let voice = voice.filter(|voice| is_plain(voice)).unwrap_or("default");
        let words = self.command[1..].iter().map(|word| word.replace("{voice}", voice));
        Process::start(&self.command[0], words, format!("{text}\n").into(), room)
    }

    /// Runs the program with these bytes as its input, as soon as there is room.
    pub(super) async fn run(&self, input: Bytes) -> io::Result<Process> {
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(io::Error::other)?;
        Process::start(&self.command[0], self.command[1..].iter().cloned(), input, room)
    }
}

impl Process {
    fn start(
        program: &str,
        words: impl Iterator<Item = String>,
        input: Bytes,
        room: OwnedSemaphorePermit,
    ) -> io::Result<Self> {
        let mut child = Command::new(program)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else { return Err(io::Error::other("no pipes")) };
        let feeding = tokio::spawn(async move {
            // A program that takes no more input shows that by its output.
            let _ = stdin.write_all(&input).await;
        });
        Ok(Self { child, stdout, _feeding: AbortOnDropHandle::new(feeding), _room: room })
    }

    /// What comes next. `None`: it has ended well. Nothing is lost when the future is dropped before it is ready.
    pub(super) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let mut bytes = BytesMut::with_capacity(PIECE);
        if self.stdout.read_buf(&mut bytes).await? > 0 {
            return Ok(Some(bytes.freeze()));
        }
        let status = self.child.wait().await?;
        if status.success() { Ok(None) } else { Err(io::Error::other(format!("it ended with {status}"))) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Not waited for yet, so that the number is still its own.
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// What can stand on a command line without meaning anything else.
fn is_plain(voice: &str) -> bool {
    voice.starts_with(|c: char| c.is_ascii_alphanumeric())
        && voice.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+' | '.'))
}
