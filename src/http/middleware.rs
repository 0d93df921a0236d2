//! What stands between a request and its handler: from where it may come, who asks, and whether they may.

mod auth;
pub(super) mod cookie;
mod cors;
pub(super) mod limits;
mod site;

pub(super) use auth::{Admission, Asks, By, Refused};
pub(super) use site::Foreign;
