//! # floeberg, the map
//!
//! One binary that is an Apache Iceberg REST catalog, an HTTP ingest endpoint and a keeper of its tables. This page says
//! where things are and what is always true; the code says how.
//!
//! ## Floors
//!
//! A room uses the floors below it, never up. `tests/it/tidy.rs` keeps that, and the lengths of files and functions.
//!
//! ```text
//! 5  main  cli  demo  app  config  telemetry   wiring: the only code that knows everything
//! 4  http  warehouses  maintenance/driver      things that call in: requests and timers; what there is to call
//! 3  ingest  maintenance                       verbs built on the catalog
//! 2  catalog  auth                             the rules of tables and views; who may
//! 1  store  lake  snapshot                     SQL; objects; manifests and snapshots as data
//! 0  error  names  clock  limits  failpoint    words every room shares; steps where a test can break in
//! ```
//!
//! ## What is always true
//!
//! * A pointer changes only in [`store::swap`] (the one writer behind it is in `store/writer.rs`, its SQL in `step.rs` and
//!   `moves.rs`), called only from `catalog/`'s `append`, `commit`, `lifecycle`, `rollback` and `views`. Clients, ingest and
//!   maintenance all go through that door.
//! * What answers a request with an `Idempotency-Key` is kept in the SQL transaction of its effect ([`catalog::once`]).
//! * Every request is let in at one gate (`http/authenticate.rs`), before it is routed.
//! * Objects are immutable: create-only puts under names that hold a fresh id. They are deleted only in [`maintenance`],
//!   and only what the `gc_queue` names, whose rows enter in the transaction that makes a thing unreachable.
//! * No client is given keys or a signature that reach past its table, or further than its token ([`lake::delegation`]).
//! * What a pointer names is on the disk before the pointer: local files and their directories are fsynced by
//!   `lake/local.rs`, and the swap is one fsynced SQL transaction.
//! * An outcome that is not known is never called a failure, and nothing is deleted for it.
//! * Everything that grows has a number in [`limits`].
//!
//! ## Four walks
//!
//! **loadTable**: `http/iceberg/tables` → [`catalog::Catalog::load_table`] → the pointer, from memory
//! (`store/pointers.rs`) → the metadata, from memory ([`catalog::loaded`]), its body's bytes handed out as they are.
//!
//! **commit**: `http/iceberg/commits` → `catalog/commit`: the table's turn (`catalog/sequencer.rs`), the change applied
//! ([`catalog::change`], pure), the new metadata file put, the pointer swapped. Swaps that arrive while one is being made
//! durable share the next transaction.
//!
//! **plan**: `http/iceberg/plans` → [`catalog::plan`]: the filter bound to columns, manifests left out by their summaries,
//! files by partition and statistics (read into columns by [`snapshot::entries`]), deletes attached; what is left of a
//! large table goes back as tasks that hold the whole question, so nothing is kept for them.
//!
//! **ingest**: `http/ingest` → [`ingest::Ingest::append`]: admitted by bytes, decoded to Arrow while the body arrives
//! (`ingest/intake.rs`) with a verdict for every row, as the table says its rows are read (worked out once for each of its
//! metadata files, `ingest/of_table.rs`); the table grown where rows ask for it (`ingest/evolve.rs`), gathered with the rows
//! of others for the same table (`ingest/group.rs`), encoded, and committed through [`catalog::append`] with data, manifests
//! and metadata put in one round. Columns with a dictionary are encoded by code of our own, byte for byte as the library
//! does it and for half of the time (`ingest/parquet_writer`): two thirds of what an ingest costs was that. Dead letters, and
//! rows for several tables that are to be there together, go through the queue of one of them and are committed beside its
//! rows (`ingest/beside.rs`).

pub mod app;
pub mod auth;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod error;
pub mod failpoint;
pub mod http;
pub mod ingest;
pub mod lake;
pub mod limits;
pub mod maintenance;
pub mod names;
pub mod snapshot;
pub mod store;
pub mod telemetry;
pub mod warehouses;
