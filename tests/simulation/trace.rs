//! What happened in a simulation, line by line: kept only where somebody wants to read it.

use std::fmt::Display;

use parking_lot::Mutex;

/// The lines.
#[derive(Default)]
pub(crate) struct Trace {
    is_on: bool,
    /// A digest of all lines, also of those that are not kept: two runs of a seed have the same.
    state: Mutex<u64>,
}

impl Trace {
    pub(crate) fn new(is_on: bool) -> Self {
        Self { is_on, state: Mutex::default() }
    }

    /// Notes what happened.
    #[expect(clippy::print_stdout, reason = "it is for a person")]
    pub(crate) fn note(&self, what: impl Display) {
        let line = format!("{:>9.3} {what}", crate::fate::elapsed().as_secs_f64());
        let mut state = self.state.lock();
        for byte in line.bytes() {
            *state = (*state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.is_on {
            println!("{line}");
        }
    }

    pub(crate) fn digest(&self) -> u64 {
        *self.state.lock()
    }
}
