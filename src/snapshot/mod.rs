//! Manifests and snapshots as data.

pub mod paths;
