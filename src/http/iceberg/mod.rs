//! The Iceberg REST protocol under `/v1`: shapes in, one call of the catalog, shapes out.

pub(super) mod commits;
pub(super) mod config;
pub(super) mod delegation;
pub(super) mod functions;
pub(super) mod namespaces;
pub(super) mod plan_wire;
pub(super) mod plans;
pub(super) mod reports;
pub(super) mod tables;
pub(super) mod views;
pub(super) mod wire;
