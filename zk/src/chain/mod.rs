//! x
pub mod durable;
