//! Namespaces: create, load, list, drop, and their properties.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::Catalog;
use super::place::LOCATION_PROPERTY;
use crate::error::{Error, Kind, Result};
use crate::names::{LEVEL_SEPARATOR, Namespace, TableName};
use crate::store::namespaces::Properties;

/// What is to become of a namespace's properties.
#[derive(Debug, Clone, Default)]
pub struct PropertyChanges {
    /// Keys to remove.
    pub removals: Vec<String>,
    /// Values to set.
    pub updates: IndexMap<String, String>,
}

/// What became of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PropertyRemovals {
    /// Keys that were set.
    pub updated: Vec<String>,
    /// Keys that were removed.
    pub removed: Vec<String>,
    /// Keys to be removed that were not there.
    pub missing: Vec<String>,
}

impl PropertyRemovals {
    /// As text that is kept.
    pub fn to_text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| Error::internal("Properties cannot be written").because(error))
    }

    /// From such a text.
    pub fn from_text(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| Error::internal("A kept answer is damaged").because(error))
    }
}

impl Catalog {
    /// Creates a namespace whose parent exists.
    pub async fn create_namespace(&self, namespace: &Namespace, properties: &Properties) -> Result<()> {
        self.check_namespace_location(properties)?;
        let key = self.key_with(String::new())?;
        self.store.create_namespace(self.warehouse.name(), namespace, properties, key.as_ref()).await?;
        self.kept();
        Ok(())
    }

    /// The namespace's properties; a `location` is always among them.
    pub async fn load_namespace(&self, namespace: &Namespace) -> Result<Properties> {
        let mut properties = self.store.namespace_properties(self.warehouse.name(), namespace).await?;
        if !properties.contains_key(LOCATION_PROPERTY) {
            properties.insert(LOCATION_PROPERTY.to_owned(), self.default_namespace_location(namespace));
        }
        Ok(properties)
    }

    /// Whether the namespace exists; an error if not.
    pub async fn namespace_exists(&self, namespace: &Namespace) -> Result<()> {
        self.store.namespace_properties(self.warehouse.name(), namespace).await.map(drop)
    }

    /// The one of these names that is meant, where dots may join the levels of a namespace or stand in one (then they are
    /// the first): the one whose namespace exists, or the last where none does.
    pub async fn meant(&self, names: Vec<TableName>) -> Result<TableName> {
        if let [only] = names.as_slice() {
            return Ok(only.clone());
        }
        let mut existing = Vec::new();
        for name in &names {
            if self.namespace_exists(&name.namespace).await.is_ok() {
                existing.push(name.clone());
            }
        }
        match existing.as_slice() {
            [] => names.into_iter().next_back().ok_or_else(|| Error::internal("No name is meant")),
            [one] => Ok(one.clone()),
            [one_level, .., levels] => {
                let (dots, joined) = (&one_level.namespace, levels.namespace.path().replace(LEVEL_SEPARATOR, "%1F"));
                let (one, several) = (dots.to_string().replace('.', "%2E"), joined);
                let message = format!("There are both namespaces: write {several} for the levels, {one} for the one");
                Err(Error::malformed(message).with_code("ambiguous_namespace"))
            }
        }
    }

    /// The direct children of `parent` after `after`, at most `most`. The parent must exist.
    pub async fn list_namespaces(&self, parent: Option<&Namespace>, after: &str, most: i64) -> Result<Vec<Namespace>> {
        if let Some(parent) = parent {
            self.namespace_exists(parent).await?;
        }
        self.store.list_namespaces(self.warehouse.name(), parent, after, most).await
    }

    /// Drops an empty namespace.
    pub async fn drop_namespace(&self, namespace: &Namespace) -> Result<()> {
        let key = self.key_with(String::new())?;
        self.store.drop_namespace(self.warehouse.name(), namespace, key.as_ref()).await?;
        self.kept();
        Ok(())
    }

    /// Changes a namespace's properties, all or nothing.
    pub async fn change_properties(&self, namespace: &Namespace, changes: PropertyChanges) -> Result<PropertyRemovals> {
        if let Some(both) = changes.removals.iter().find(|key| changes.updates.contains_key(*key)) {
            return Err(Error::new(
                Kind::Unprocessable,
                format!("Invalid namespace update: cannot set and remove the same key {both:?}"),
            ));
        }
        self.check_namespace_location(&changes.updates)?;
        let apply = |properties: &mut Properties| {
            let done = apply(properties, changes);
            let key = self.key_with(done.to_text()?)?;
            Ok((done, key))
        };
        let done = self.store.change_namespace_properties(self.warehouse.name(), namespace, apply).await?;
        self.kept();
        Ok(done)
    }

    fn check_namespace_location(&self, properties: &Properties) -> Result<()> {
        match properties.get(LOCATION_PROPERTY) {
            Some(location) => self.warehouse.check(location).map(drop),
            None => Ok(()),
        }
    }
}

fn apply(properties: &mut Properties, changes: PropertyChanges) -> PropertyRemovals {
    let mut done = PropertyRemovals::default();
    for key in changes.removals {
        let list = if properties.shift_remove(&key).is_some() { &mut done.removed } else { &mut done.missing };
        if !list.contains(&key) {
            list.push(key);
        }
    }
    // A key named twice was removed the first time.
    done.missing.retain(|key| !done.removed.contains(key));
    for (key, value) in changes.updates {
        done.updated.push(key.clone());
        properties.insert(key, value);
    }
    done
}
