//! Which locations a table's clients are given the means to reach.

use indexmap::IndexMap;

use super::{Catalog, Loaded};
use crate::error::{Kind, Result, What};
use crate::lake::delegation::{Access, Asked, Granted, SignRequest};
use crate::limits;
use crate::names::TableName;
use crate::store::tables::Others;

impl Catalog {
    /// What a client that asks is given to reach a table's objects with.
    pub async fn grant(&self, name: &TableName, loaded: &Loaded, asked: Asked, access: Access) -> Result<Granted> {
        if asked == Asked::default() || self.warehouse.is_local() {
            return Ok(Granted::Nothing);
        }
        self.grant_at(&self.own_locations(name, loaded).await?, asked, access).await
    }

    /// The same of a table that is there, that somebody has staged, or that was dropped a moment ago.
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
    pub(super) async fn remember_staged(&self, name: &TableName, loaded: &Loaded) -> Result<()> {
        if self.warehouse.is_local() {
            return Ok(());
        }
        self.store.put_staged(self.warehouse.name(), name, loaded.locations()).await
    }

    /// Where the table of this name is, or is to be, or was until a moment ago: who stages a table writes to it before it is
    /// there, and Spark drops one before it deletes its files.
    async fn locations_of(&self, name: &TableName) -> Result<Vec<String>> {
        let missing = match self.load_table(name).await {
            Ok(loaded) => return self.own_locations(name, &loaded).await,
            Err(error) if error.kind() == Kind::NotFound(What::Table) => error,
            Err(error) => return Err(error),
        };
        if let Some(staged) = self.store.staged(self.warehouse.name(), name).await? {
            return self.not_anothers(&staged, None).await;
        }
        let since_ms = self.clock.now_ms() - limits::IN_REACH_AFTER_DROP_MS;
        let Some(row) = self.store.dropped_since(self.warehouse.name(), name, since_ms).await? else {
            return Err(missing);
        };
        let loaded = self.load_row(&row).await?;
        self.not_anothers(loaded.locations(), Some(&row.id)).await
    }

    /// A table's locations, but for those that have become another's since it moved away.
    async fn own_locations(&self, name: &TableName, loaded: &Loaded) -> Result<Vec<String>> {
        match loaded.locations() {
            // Where a table is, no other may be.
            [only] if loaded.metadata_location.is_some() => Ok(vec![only.clone()]),
            locations => {
                let row = self.row(name).await?;
                self.not_anothers(locations, row.as_ref().map(|row| &*row.id)).await
            }
        }
    }

    /// Those of these locations that belong to no table but the one of this row. The first is where it is or would be, where
    /// a dropped table may have been; no table was ever at the others' whole area.
    async fn not_anothers(&self, locations: &[String], own_id: Option<&str>) -> Result<Vec<String>> {
        let mut own = Vec::new();
        for (at, location) in locations.iter().enumerate() {
            let Ok(place) = self.warehouse.check(location) else { continue };
            let others = if at == 0 { Others::Live } else { Others::Known };
            let whole = at > 0 && self.warehouse.is_whole_area(&place);
            if !whole && !self.store.belongs_to_another(&place.key(), own_id, others).await? {
                own.push(location.clone());
            }
        }
        Ok(own)
    }
}
