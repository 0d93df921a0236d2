//! The domain: what a conversation, an item, an event and a reply are. No I/O, no clock, no wire format.

pub mod event;
pub mod ids;
pub mod items;
pub mod params;
pub mod record;
pub mod reply;
pub mod skeleton;
pub mod thread;
