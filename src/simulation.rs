//! What a simulation of several instances is made of, below everything else: the [`Dice`] from which every choice comes,
//! and the [`Process`] that an instance would be. Only with the feature `simulation`, which no release has.
//!
//! The parts that are simulated stand beside the real ones: [`Simulated`](crate::log::Simulated) log, a store in memory, a
//! model server that plays what it is told. All else is the program itself.

mod dice;
mod hook;
mod process;

pub use dice::{Dice, Fault, KINDS};
pub use hook::Hook;
pub use process::{Process, clock_ahead};
