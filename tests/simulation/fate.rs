//! Takes chance out of a thread: its random numbers come from a seed, and its clocks are that of the simulation's runtime.
//!
//! The program asks the C library for both, as everybody does, so this program has functions of the same names, which the
//! linker prefers. On threads that are not simulated they ask the kernel. So nothing in the program has to know of it: ids,
//! the order of hash maps, the branches of `select!`, deadlines and breakers all follow the seed.
#![expect(unsafe_code, reason = "the C library's own functions have its calling convention")]

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rejoinder::simulation::clock_ahead;
use rustix::time::ClockId;

/// When all simulations begin, in seconds of Unix time, and of a machine's.
const UNIX: i64 = 1_800_000_000;
const MONOTONIC: i64 = 1_000_000;

thread_local! {
    /// The state of the generator, on a thread that is simulated.
    static RANDOM: Cell<Option<u64>> = const { Cell::new(None) };
    static BEGUN: Cell<Option<Instant>> = const { Cell::new(None) };
    /// The runtime is being asked for the time, and asks in turn.
    static ASKING: Cell<bool> = const { Cell::new(false) };
}

/// How many runtimes this process has made: each gets its own order of branches from that number, too.
static RUNTIMES: AtomicU64 = AtomicU64::new(0);

/// From here on this thread is simulated.
pub(crate) fn seal(seed: u64) {
    RANDOM.set(Some(seed));
    BEGUN.set(Some(Instant::now()));
}

/// The runtime of this number in the process: so it is the same for a seed, whatever ran before; as long as seeds come in
/// order.
pub(crate) fn runtime(number: u64) -> tokio::runtime::Runtime {
    while RUNTIMES.fetch_add(1, Ordering::Relaxed) < number {
        drop(tokio::runtime::Builder::new_current_thread());
    }
    let mut builder = tokio::runtime::Builder::new_current_thread();
    RUNTIMES.store(number + 1, Ordering::Relaxed);
    builder.enable_time().start_paused(true).build().expect("a runtime on one thread")
}

/// The simulated time since the beginning.
pub(crate) fn elapsed() -> Duration {
    let Some(begun) = BEGUN.get() else { return Duration::ZERO };
    if ASKING.replace(true) {
        return Duration::ZERO;
    }
    let elapsed = tokio::time::Instant::now().into_std().saturating_duration_since(begun);
    ASKING.set(false);
    elapsed
}

/// The next number: `SplitMix64`.
fn next(state: u64) -> (u64, u64) {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (state, mixed ^ (mixed >> 31))
}

/// The C library's function.
///
/// # Safety
///
/// `buffer` has room for `length` bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    // SAFETY: the caller says so.
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer, length) };
    let Some(mut state) = RANDOM.get() else {
        let filled = rustix::rand::getrandom(buffer, rustix::rand::GetRandomFlags::empty());
        return filled.map_or(-1, |filled| isize::try_from(filled).unwrap_or(-1));
    };
    for chunk in buffer.chunks_mut(8) {
        let (after, number) = next(state);
        state = after;
        chunk.copy_from_slice(&number.to_le_bytes()[..chunk.len()]);
    }
    RANDOM.set(Some(state));
    isize::try_from(length).unwrap_or(-1)
}

/// As the C library has it on 64 bits.
#[repr(C)]
pub(crate) struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

/// The C library's function.
///
/// # Safety
///
/// `time` points to a place for the answer.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn clock_gettime(clock: i32, time: *mut Timespec) -> i32 {
    const REALTIME: i32 = 0;
    let now = if BEGUN.get().is_some() || RANDOM.get().is_some() {
        // The wall clock is that of the process that has its turn, and may have leapt.
        let (begun, ahead) = if clock == REALTIME { (UNIX, clock_ahead()) } else { (MONOTONIC, 0) };
        let nanoseconds = i64::try_from(elapsed().as_nanos()).unwrap_or(i64::MAX) + ahead * 1_000_000;
        Timespec {
            seconds: begun + nanoseconds.div_euclid(1_000_000_000),
            nanoseconds: nanoseconds.rem_euclid(1_000_000_000),
        }
    } else {
        let clock = if clock == REALTIME { ClockId::Realtime } else { ClockId::Monotonic };
        let now = rustix::time::clock_gettime(clock);
        Timespec { seconds: now.tv_sec, nanoseconds: now.tv_nsec }
    };
    // SAFETY: the caller says so.
    unsafe { time.write(now) };
    0
}
