//! Which locations a table's clients are given the means to reach.

use std::sync::Arc;

use indexmap::IndexMap;

use super::{Catalog, Loaded};
use crate::error::{Kind, Result, What};
use crate::lake::delegation::{Access, Asked, Granted, SignRequest};
use crate::names::TableName;

/// A table that somebody has staged.
#[derive(Debug)]
pub(super) struct Staged {
    uuid: String,
    locations: Vec<String>,
}

impl Staged {
    /// Bytes held, about.
    pub(super) fn weight(&self) -> u32 {
        let bytes: usize = self.locations.iter().map(|location| location.len() + 24).sum();
        u32::try_from(bytes + 200).unwrap_or(u32::MAX)
    }
}

impl Catalog {
    /// What a client that asks is given to reach a table's objects with.
    pub async fn grant(&self, loaded: &Loaded, asked: Asked, access: Access) -> Result<Granted> {
        if asked == Asked::default() || self.warehouse.is_local() {
            return Ok(Granted::Nothing);
        }
        self.grant_at(&self.own_locations(loaded).await?, asked, access).await
    }

    /// The same of a table that is there, or that somebody has staged.
    pub async fn grant_again(&self, name: &TableName, asked: Asked, access: Access) -> Result<Granted> {
        self.grant_at(&self.locations_of(name).await?, asked, access).await
    }

    /// An error if a client that asks for keys could not be lent any: to be asked before something is made for it, because
    /// a client that hears of it afterwards makes it again.
    pub async fn could_grant(&self, asked: Asked) -> Result<()> {
        if asked == Asked::default() || self.warehouse.is_local() {
            return Ok(());
        }
        self.warehouse.could_lend(asked, self.clock.now_ms()).await
    }

    async fn grant_at(&self, locations: &[String], asked: Asked, access: Access) -> Result<Granted> {
        let locations: Vec<&str> = locations.iter().map(String::as_str).collect();
        self.warehouse.grant(asked, access, &locations, self.clock.now_ms()).await
    }

    /// The headers that sign a client's request to the store for a table.
    pub async fn sign(
        &self,
        name: &TableName,
        request: &SignRequest,
        access: Access,
    ) -> Result<IndexMap<String, Vec<String>>> {
        let locations = self.locations_of(name).await?;
        let locations: Vec<&str> = locations.iter().map(String::as_str).collect();
        self.warehouse.sign(request, access, &locations, self.clock.now_ms()).await
    }

    /// Remembers where a staged table will be: whoever stages it will ask for keys again before it is there.
    pub(super) fn remember_staged(&self, name: &TableName, loaded: &Loaded) {
        if !self.warehouse.is_local() {
            let uuid = loaded.metadata.table_uuid.clone().unwrap_or_default();
            self.staged.insert(name.clone(), Arc::new(Staged { uuid, locations: loaded.locations().to_vec() }));
        }
    }

    async fn locations_of(&self, name: &TableName) -> Result<Vec<String>> {
        match self.load_table(name).await {
            Ok(loaded) => self.own_locations(&loaded).await,
            Err(error) if error.kind() == Kind::NotFound(What::Table) => match self.staged.get(name) {
                Some(staged) => self.not_anothers(&staged.locations, &staged.uuid).await,
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// A table's locations, but for those that have become another's since it moved away.
    async fn own_locations(&self, loaded: &Loaded) -> Result<Vec<String>> {
        let uuid = loaded.metadata.table_uuid.as_deref().unwrap_or_default();
        // The first is where the table is, which no other may be.
        let [first, others @ ..] = loaded.locations() else { return Ok(Vec::new()) };
        let others = if others.is_empty() { Vec::new() } else { self.not_anothers(others, uuid).await? };
        Ok([first.clone()].into_iter().chain(others).collect())
    }

    /// Those of these locations that belong to no live table but the one with this uuid. No table was ever the whole
    /// warehouse.
    async fn not_anothers(&self, locations: &[String], uuid: &str) -> Result<Vec<String>> {
        let mut own = Vec::new();
        for location in locations {
            let Ok(place) = self.warehouse.check(location) else { continue };
            if place != *self.warehouse.root() && !self.store.belongs_to_another(&place.key(), uuid).await? {
                own.push(location.clone());
            }
        }
        Ok(own)
    }
}
