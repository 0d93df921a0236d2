//! The domain: what a conversation, an item, an event and a reply are. No I/O, no clock, no wire format.

pub mod caller;
pub mod ids;
pub mod items;
pub mod compaction;
pub mod params;
pub mod tokens;
pub mod event;
pub mod open;
pub mod reply;
pub mod layout;
pub mod record;
pub mod erase;
pub mod remains;
pub mod thread;
pub mod usage;
pub mod webhook;
pub(crate) mod surrogates;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
