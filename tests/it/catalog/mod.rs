//! The catalog over HTTP, resource by resource.

mod bad_input;
mod commits;
mod deletion;
mod formats;
mod functions;
mod keys;
mod locations;
mod namespaces;
mod tables;
mod version_hints;
mod views;
