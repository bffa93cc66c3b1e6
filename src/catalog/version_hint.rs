//! `metadata/version-hint.text`: readers without a catalog find a table's current metadata file by its path alone.
//!
//! For tables that ask (`floeberg.version-hint=true`, or the warehouse's default). It is the one object that is ever
//! overwritten, and it is a hint: nothing here reads it, the pointer in the database is what is true, and a hint that cannot
//! be put is logged and never fails a commit. Hints of one table are put one at a time, each only while what it says is
//! current, so that they follow the order of the commits.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;

use super::metadata::TableMetadata;
use super::{Catalog, Loaded, place, properties};
use crate::limits;
use crate::names::TableName;

/// The property with which a table asks.
pub(super) const PROPERTY: &str = "floeberg.version-hint";

impl Catalog {
    /// Where a table's hint is, if it asks for one and its metadata is where readers look for it. Its metadata is then not
    /// compressed: no reader of hints knows that.
    pub(super) fn hint_of(&self, metadata: &TableMetadata) -> Option<String> {
        if !properties::flag(&metadata.properties, PROPERTY, self.warehouse.hints_versions()) {
            return None;
        }
        let folder = place::metadata_folder(metadata);
        let usual = folder.strip_suffix("/metadata").is_some_and(|table| table == metadata.location);
        usual.then(|| file_in(&folder))
    }

    /// Puts the hints of tables whose pointers have moved.
    pub(super) async fn put_hints<'a>(&self, moved: impl IntoIterator<Item = (&'a TableName, &'a Arc<Loaded>)>) {
        let hints = moved.into_iter().filter_map(|(name, loaded)| {
            let hint = self.hint_of(&loaded.metadata)?;
            let current = loaded.metadata_location.as_ref()?;
            let folder = hint.strip_suffix(FILE)?;
            let version = current.strip_prefix(folder)?.strip_suffix(".metadata.json")?;
            // A file below another folder, or a compressed one, cannot be said.
            let plain = !version.contains('/') && place::Codec::of_file(current) == place::Codec::Plain;
            plain.then(|| self.put_hint(name, current, version.to_owned(), hint))
        });
        join_all(hints.collect::<Vec<_>>()).await;
    }

    async fn put_hint(&self, name: &TableName, current: &Arc<str>, version: String, hint: String) {
        let put = async {
            let _turn = self.hinting.enter(vec![hint.as_str().into()]).await;
            // Whoever moved the pointer on meanwhile puts the next hint.
            if self.row(name).await?.is_none_or(|row| row.metadata_location != *current) {
                return Ok(());
            }
            self.warehouse.replace(&hint, Bytes::from(version)).await
        };
        let why = match tokio::time::timeout(limits::VERSION_HINT_WAIT, put).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.chain(),
            Err(_) => "the store took too long".to_owned(),
        };
        metrics::counter!("floeberg_version_hint_failures_total").increment(1);
        tracing::warn!(hint, error = why, "a version hint is behind its table until the next commit");
    }
}

const FILE: &str = "version-hint.text";

/// The hint in a metadata folder.
pub(crate) fn file_in(folder: &str) -> String {
    format!("{folder}/{FILE}")
}
