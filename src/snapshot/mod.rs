//! Manifests and snapshots as data: what an append writes beside its data files.
//!
//! Everything here turns values into bytes and bytes into values; nothing is read from or written to a store. Manifests
//! go through the `iceberg` crate's writers and readers; what they leave out (merging, row ids of rewritten entries,
//! totals) is done here.

pub mod append;
pub mod manifest;
pub mod paths;
pub mod summary;
