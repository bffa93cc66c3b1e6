//! The one integration test binary: everything through the server's real interfaces.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    unreachable_pub,
    reason = "tests wait, read their environment, and fail loudly"
)]

mod auth;
mod catalog;
mod clouds;
mod databases;
mod delegation;
#[cfg(feature = "failpoints")]
mod failpoints;
mod ingest;
mod kit;
mod managed_warehouses;
mod operations;
mod oracle;
mod packaging;
mod plans;
mod rollback;
mod rust_client;
mod specification;
mod store;
mod tidy;
mod warehouses;
