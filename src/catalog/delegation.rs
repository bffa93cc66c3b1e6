//! Which locations a table's clients are given the means to reach.

use indexmap::IndexMap;

use super::{Catalog, Loaded, place};
use crate::error::Result;
use crate::lake::delegation::{Access, Asked, Granted, SignRequest};
use crate::names::TableName;

impl Catalog {
    /// What a client that asks is given to reach a table's objects with.
    pub async fn grant(&self, loaded: &Loaded, asked: Asked, access: Access) -> Result<Granted> {
        if asked == Asked::default() || self.warehouse.is_local() {
            return Ok(Granted::Nothing);
        }
        self.grant_at(&locations(loaded), asked, access).await
    }

    /// The same of a table that is there, or that somebody has staged.
    pub async fn grant_again(&self, name: &TableName, asked: Asked, access: Access) -> Result<Granted> {
        self.grant_at(&self.locations_of(name).await?, asked, access).await
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
            self.staged.insert(name.clone(), locations(loaded).into());
        }
    }

    async fn locations_of(&self, name: &TableName) -> Result<Vec<String>> {
        match self.load_table(name).await {
            Ok(loaded) => Ok(locations(&loaded)),
            Err(error) if error.is_not_found() => match self.staged.get(name) {
                Some(staged) => Ok(staged.to_vec()),
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }
}

/// Its own location, those that its properties name, and where its metadata file is.
fn locations(loaded: &Loaded) -> Vec<String> {
    let metadata = &loaded.metadata;
    let named = place::NAMED_BY.iter().filter_map(|key| metadata.properties.get(*key)).cloned();
    let file = loaded.metadata_location.as_deref().and_then(|file| file.rsplit_once('/'));
    let folder = file.map(|(folder, _)| folder.to_owned());
    [metadata.location.clone()].into_iter().chain(named).chain(folder).collect()
}
