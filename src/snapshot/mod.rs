//! Manifests and snapshots as data: what an append writes beside its data files, and what a deletion writes.
//!
//! Everything here turns values into bytes and bytes into values; nothing is read from or written to a store. What is
//! written goes through the `iceberg` crate's writers; what they leave out (merging, row ids of rewritten entries,
//! totals) is done here. What is looked at is read into columns ([`entries`], [`list`]), whatever types the table has.

pub mod append;
mod avro_shape;
mod columns;
pub(crate) mod container;
pub mod delete;
pub mod entries;
pub mod list;
pub mod manifest;
pub mod summary;
pub mod thinning;
pub mod value;
