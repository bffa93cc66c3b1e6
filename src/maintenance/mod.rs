//! Upkeep: what happens without anybody asking.
//!
//! One file a kind of upkeep, and the driver that wakes them. Each takes no input, may run at any time and any number of
//! times, and goes on where a killed one left off.

mod driver;
mod gc;
mod reachable;
mod rejected;

pub use driver::Driver;
