//! For tests: a file of given bytes, opened as any other.

use std::io::Write;
use std::sync::Arc;

use async_trait::async_trait;

use super::input::{Input, Stored};
use super::names::{Compression, Dialect, Format, Table};
use super::sources::{Access, Entry, Source};
use super::stripes::{Form, Opened, Planned};
use crate::error::Result;

/// A source of one file.
#[derive(Debug)]
struct Memory(Vec<u8>);

#[async_trait]
impl Source for Memory {
    async fn list(&self, _: &str) -> Result<Vec<Entry>> {
        Ok(Vec::new())
    }

    async fn open(&self, _: &Entry, _: Access) -> Result<Input> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&self.0).expect("written");
        Ok(Input::Stored(Stored::new(Arc::new(file), self.0.len() as u64)))
    }
}

/// A file of these bytes, cut.
pub(super) async fn opened(bytes: &[u8], format: Format) -> Arc<Opened> {
    let (name, size) = ("memory".to_owned(), bytes.len() as u64);
    let planned = Planned {
        entry: Entry { shown: name.clone(), location: name, size, version: String::new(), etag: None },
        source: Arc::new(Memory(bytes.to_vec())),
        form: Form { format, compression: Compression::Plain, dialect: Dialect::of(format, &[]) },
        table: Table::parse("a.b").expect("a table"),
    };
    Arc::new(planned.open().await.expect("opened"))
}
