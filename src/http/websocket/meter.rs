//! Counts what was read of a message that is not whole yet, as a part of the budget of memory.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::http::budget::{Budget, NoRoom, Share};

/// What was read since the last whole message.
pub(super) struct Meter {
    budget: Arc<Budget>,
    unread: Mutex<Unread>,
}

struct Unread {
    share: Share,
    since: Option<Instant>,
}

/// A connection whose reads are counted. Where there is no memory, they fail.
pub(super) struct Metered<T> {
    io: T,
    meter: Arc<Meter>,
}

impl Meter {
    /// Around a connection.
    pub(super) fn around<T>(io: T, budget: &Arc<Budget>) -> (Metered<T>, Arc<Self>) {
        let unread = Mutex::new(Unread { share: budget.share(), since: None });
        let meter = Arc::new(Self { budget: Arc::clone(budget), unread });
        (Metered { io, meter: Arc::clone(&meter) }, meter)
    }

    /// A message is whole: its part of the budget.
    pub(super) fn take(&self) -> Share {
        let mut unread = self.unread.lock();
        unread.since = None;
        std::mem::replace(&mut unread.share, self.budget.share())
    }

    /// Since when a message is being read that is not whole yet.
    pub(super) fn since(&self) -> Option<Instant> {
        self.unread.lock().since
    }

    fn read(&self, bytes: usize) -> io::Result<()> {
        let mut unread = self.unread.lock();
        unread.since.get_or_insert_with(Instant::now);
        unread.share.try_grow(bytes).map_err(|NoRoom| io::ErrorKind::OutOfMemory.into())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        match buf.filled().len() - before {
            0 => Poll::Ready(Ok(())),
            bytes => Poll::Ready(self.meter.read(bytes)),
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Metered<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
