//! Generation: turns an accepted reply into events.

pub mod gather;
pub mod mapper;
pub mod seam;

#[cfg(test)]
mod tests;
