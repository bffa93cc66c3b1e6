//! Is all well? Database and warehouse, tried for real.

use bytes::Bytes;
use futures::future::join_all;
use serde::Serialize;

use super::Catalog;
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::lake::Company;

/// The report of `floeberg check` and `GET /manage/v1/check`.
#[derive(Debug, Clone, Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Report {
    /// Whether everything is well.
    pub ok: bool,
    /// What was tried, in order.
    pub checks: Vec<Check>,
}

/// One thing that was tried.
#[derive(Debug, Clone, Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Check {
    /// What was tried.
    pub name: String,
    /// Whether it is well.
    pub ok: bool,
    /// What was found, in words.
    pub detail: String,
}

impl Report {
    /// Tries the database and every warehouse of the catalogs that share it.
    pub async fn on(catalogs: &[&Catalog]) -> Self {
        let mut checks = Vec::with_capacity(catalogs.len() + 1);
        if let Some(first) = catalogs.first() {
            checks.push(first.check_database().await);
        }
        checks.extend(join_all(catalogs.iter().map(|catalog| catalog.check_warehouse())).await);
        Self::of(checks)
    }

    /// A report of these checks.
    pub fn of(checks: Vec<Check>) -> Self {
        Self { ok: checks.iter().all(|check| check.ok), checks }
    }
}

impl Check {
    /// A check from its outcome.
    pub fn of(name: impl Into<String>, outcome: Result<String>) -> Self {
        let (ok, detail) = match outcome {
            Ok(detail) => (true, detail),
            Err(error) => (false, error.chain()),
        };
        Self { name: name.into(), ok, detail }
    }
}

/// Whether a store lets an object be put over another although it was told not to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overwritten {
    Never,
    Unhindered,
}

impl Catalog {
    /// Tries the database.
    pub async fn check_database(&self) -> Check {
        Check::of("database", self.store.ping().await.map(|()| "answers; all migrations are applied".to_owned()))
    }

    /// Tries the warehouse.
    pub async fn check_warehouse(&self) -> Check {
        Check::of(format!("warehouse {}", self.warehouse.name()), self.probe().await)
    }

    /// Writes, reads, lists and deletes an object, and sees whether it can be overwritten.
    pub async fn probe(&self) -> Result<String> {
        let folder = format!("{}.floeberg-probe", self.warehouse.root().key());
        let (file, location) = {
            let id = clock::new_uuid();
            (id.clone(), format!("{folder}/{id}"))
        };
        let text = Bytes::from_static(b"floeberg was here");
        self.warehouse.create(&location, text.clone(), Company::Alone).await.map_err(|error| error.context("write"))?;
        let tried = self.probe_rest(&folder, &file, &location, &text).await;
        let deleted = self.warehouse.delete(&location).await.map_err(|error| error.context("delete"));
        self.warehouse.remove_empty_folders(&folder).await?;
        let overwritten = tried?;
        deleted?;
        let delegation = self.warehouse.explain_delegation(self.clock.now_ms()).await?;
        let root = self.warehouse.root();
        let warning = match overwritten {
            Overwritten::Never => "",
            Overwritten::Unhindered => {
                "; WARNING: it knows no create-only put, so that unique names alone keep objects from being overwritten"
            }
        };
        Ok(format!("{root} can be written, read, listed and deleted; {delegation}{warning}"))
    }

    async fn probe_rest(&self, folder: &str, file: &str, location: &str, text: &Bytes) -> Result<Overwritten> {
        let read = self.warehouse.read(location, 1_024).await.map_err(|error| error.context("read"))?;
        if read != *text {
            return Err(Error::new(
                Kind::Unavailable,
                format!("{location} reads back differently from what was written"),
            ));
        }
        let listed = self.warehouse.list(folder, 10_000).await.map_err(|error| error.context("list"))?;
        if !listed.iter().any(|name| name == file) {
            return Err(Error::new(Kind::Unavailable, format!("{folder} does not list the object just written")));
        }
        let again = self.warehouse.create(location, Bytes::from_static(b"again"), Company::Alone).await;
        match again {
            Err(error) if matches!(error.kind(), Kind::AlreadyExists(_)) => Ok(Overwritten::Never),
            Err(error) => Err(error.context("create-only write")),
            Ok(()) => Ok(Overwritten::Unhindered),
        }
    }
}
