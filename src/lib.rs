//! floeberg: an Apache Iceberg REST catalog, an HTTP ingest endpoint and a table keeper in one binary.
pub mod app;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod error;
pub mod http;
pub mod ingest;
pub mod lake;
pub mod limits;
pub mod maintenance;
pub mod names;
pub mod snapshot;
pub mod store;
pub mod telemetry;
