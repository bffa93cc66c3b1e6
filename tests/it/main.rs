//! The one integration test binary: everything through the server's real interfaces.

#![expect(clippy::disallowed_methods, reason = "tests may wait, and may read their environment")]

mod catalog;
mod kit;
mod operations;
mod tidy;
