//! Long computations off the runtime's workers: what takes more than a few milliseconds would delay every other client
//! whose task waits for the same worker.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Work on fewer bytes than this is done where it is: about a millisecond, and moving the worker's other tasks costs too.
const LARGE: usize = 128 * 1024;

/// Does work on so many bytes. Where these are many, the worker's other tasks go on elsewhere meanwhile.
///
/// Unlike `spawn_blocking` it may borrow, so that nothing has to be copied for it. Not for work that waits for others.
pub(crate) fn offload<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let flavor = Handle::try_current().map(|handle| handle.runtime_flavor());
    if bytes >= LARGE && matches!(flavor, Ok(RuntimeFlavor::MultiThread)) {
        return tokio::task::block_in_place(work);
    }
    work()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn the_only_worker_serves_others_during_long_work() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let work = tokio::spawn(async move {
            let other = tokio::spawn(async move { sender.send(()) });
            let served = offload(LARGE, || receiver.recv_timeout(std::time::Duration::from_secs(10)).is_ok());
            drop(other.await);
            served
        });
        assert!(work.await.unwrap(), "the other task came to its turn only after the work");
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_does_it_itself() {
        assert_eq!(offload(LARGE, || 7), 7);
    }
}
