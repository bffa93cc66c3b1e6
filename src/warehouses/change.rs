//! Warehouses that are made, changed and removed while the server runs.

use std::sync::Arc;

use super::{Closed, Made, Opening, Origin, Served, Set, Warehouses, share_of};
use crate::catalog::Catalog;
use crate::error::{Error, Kind, Result, What};
use crate::lake::described::{Description, Secrets};
use crate::lake::location::{Location, Scheme};
use crate::lake::settings::WarehouseSettings;
use crate::limits;
use crate::names::WarehouseName;
use crate::store::warehouses::WarehouseRow;

/// A warehouse as it is shown: no secret, but which are set.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Its name.
    pub name: String,
    /// What describes it.
    pub description: Description,
    /// Which secrets are set; nothing is known of those of one that cannot be served.
    pub secrets: Vec<&'static str>,
    /// Whether it is the one that is meant where none is named.
    pub is_default: bool,
    /// When it was made; `None` for those of the configuration file.
    pub created_ms: Option<i64>,
    /// Why it cannot be served, if so.
    pub problem: Option<String>,
}

/// What to do with the secrets that are kept.
#[derive(Debug, Clone, Default)]
pub struct SecretChanges {
    /// Those that are new.
    pub set: Secrets,
    /// The names of those that go.
    pub removed: Vec<String>,
}

/// What came of an addition or a change: the warehouse, and what was found when it was tried.
#[derive(Debug, Clone)]
pub struct Changed {
    /// The warehouse.
    pub shown: Shown,
    /// What its store can do.
    pub found: String,
}

impl Warehouses {
    /// Every warehouse, the default first.
    pub fn shown(&self) -> Vec<Shown> {
        let set = self.set();
        let served = set.served.iter().enumerate().map(|(place, served)| shown_of(served, place == 0));
        served.chain(set.closed.iter().map(shown_closed)).collect()
    }

    /// One of them.
    pub fn show(&self, name: &str) -> Result<Shown> {
        let found = self.shown().into_iter().find(|shown| shown.name == name);
        found.ok_or_else(|| self.set().unknown(name))
    }

    /// Adds a warehouse once it has been tried.
    pub async fn add(&self, name: &str, description: Description, secrets: Secrets) -> Result<Changed> {
        let name = WarehouseName::new(name)?;
        let _alone = self.changing.lock().await;
        let set = self.set();
        if set.place_of(name.as_str()).is_some() || set.closed.iter().any(|closed| closed.name == name) {
            return Err(Error::new(Kind::AlreadyExists(What::Warehouse), format!("Warehouse already exists: {name}")));
        }
        if set.served.len() + set.closed.len() >= limits::WAREHOUSES_MAX {
            let max = limits::WAREHOUSES_MAX;
            return Err(Error::new(Kind::TooLarge, format!("There are {max} warehouses already, and no more may be")));
        }
        let made = Made { secrets, created_ms: self.opening.clock.now_ms() };
        let settings = self.settings(&set, &name, &description, &made.secrets)?;
        let catalog = self.opening.catalog(&settings, share_of(set.served.len() + 1)).await.map_err(unusable)?;
        self.keep(&set, catalog, settings, made).await
    }

    /// Describes a warehouse anew once the new description has been tried. Secrets that nothing is said of stay.
    pub async fn change(&self, name: &str, description: Description, changes: SecretChanges) -> Result<Changed> {
        let _alone = self.changing.lock().await;
        let set = self.set();
        let Kept { name, url, made, catalog: old } = kept(&set, name)?;
        if description.url != url && self.opening.store.is_warehouse_in_use(&name).await? {
            return Err(Error::new(
                Kind::Conflict,
                format!("Warehouse {name} cannot move: it has namespaces, or files that are still to be deleted"),
            ));
        }
        let made = Made { secrets: changes.applied_to(made.secrets), ..made };
        let settings = self.settings(&set, &name, &description, &made.secrets)?;
        let opened = self.opening.catalog(&settings, share_of(set.served.len())).await.map_err(unusable)?;
        // What is under way with the old description takes its turns with what comes.
        let catalog = old.map_or_else(|| opened.clone(), |old| opened.in_place_of(&old));
        self.keep(&set, catalog, settings, made).await
    }

    /// Removes a warehouse in which nothing is. Files that dropped tables have left stay where they are.
    pub async fn remove(&self, name: &str) -> Result<()> {
        let _alone = self.changing.lock().await;
        let set = self.set();
        let own = kept(&set, name)?.name;
        if !self.opening.store.remove_warehouse(&own).await? {
            let message =
                format!("Warehouse {name} is not empty: it has namespaces, or files that are still to be deleted");
            return Err(Error::new(Kind::NotEmpty, message));
        }
        self.replace(without(&set, &own));
        Ok(())
    }

    fn settings(
        &self,
        set: &Set,
        name: &WarehouseName,
        description: &Description,
        secrets: &Secrets,
    ) -> Result<WarehouseSettings> {
        let settings = description.settings(name.as_str(), secrets, &self.opening.around)?;
        let others = set.served.iter().map(|served| &served.settings).filter(|other| other.name != *name);
        settings.check_apart(others)?;
        self.opening.check_root(&settings)?;
        Ok(settings)
    }

    /// Tries the warehouse, keeps it, and serves it.
    async fn keep(&self, set: &Set, catalog: Catalog, settings: WarehouseSettings, made: Made) -> Result<Changed> {
        let name = settings.name.clone();
        let sealed = self.opening.seal(&name, &made.secrets)?;
        let found = Box::pin(catalog.probe()).await.map_err(unusable)?;
        let text = serde_json::to_string(&settings.description);
        let text = text.map_err(|error| Error::internal("A description cannot be written").because(error))?;
        let row = WarehouseRow { name: name.to_string(), description: text, sealed, created_ms: made.created_ms };
        self.opening.store.put_warehouse(&row).await?;
        let served = Arc::new(self.opening.serve(set, catalog, settings, Origin::Database(made)));
        let mut next = without(set, &name);
        next.served.push(Arc::clone(&served));
        self.replace(next);
        Ok(Changed { shown: shown_of(&served, false), found })
    }
}

impl SecretChanges {
    fn applied_to(self, kept: Secrets) -> Secrets {
        let stays = |name: &str, old: Option<String>, new: Option<String>| {
            new.or_else(|| old.filter(|_| !self.removed.iter().any(|removed| removed == name)))
        };
        let new = self.set;
        Secrets {
            access_key_id: stays("access-key-id", kept.access_key_id, new.access_key_id),
            secret_access_key: stays("secret-access-key", kept.secret_access_key, new.secret_access_key),
            session_token: stays("session-token", kept.session_token, new.session_token),
            service_account: stays("service-account", kept.service_account, new.service_account),
            account_key: stays("account-key", kept.account_key, new.account_key),
            client_secret: stays("client-secret", kept.client_secret, new.client_secret),
        }
    }
}

impl Opening {
    /// Over HTTP no directory of this machine is made a warehouse but where the configuration allows tables anyway, and no
    /// file of it is read for a key.
    fn check_root(&self, settings: &WarehouseSettings) -> Result<()> {
        let root = Location::parse(&settings.url)?;
        let allowed = |text: &String| Location::parse(text).is_ok_and(|area| area.contains(&root));
        if root.scheme() == Scheme::File && !self.around.allowed.iter().any(allowed) {
            return Err(Error::new(
                Kind::Forbidden,
                format!(
                    "Warehouse at {root} is refused: a directory must be inside an allow-location, or stand in the configuration file"
                ),
            ));
        }
        let account = settings.store.service_account.as_ref();
        if account.is_some_and(|account| !account.reveal().trim_start().starts_with('{')) {
            return Err(Error::illegal(
                "service-account must be the JSON of a key here: no file of the server is read for it",
            ));
        }
        Ok(())
    }
}

/// A warehouse of the database.
struct Kept {
    name: WarehouseName,
    url: Option<String>,
    made: Made,
    /// None where it cannot be served.
    catalog: Option<Catalog>,
}

/// The warehouse of this name, if it is one that is changed here.
fn kept(set: &Set, name: &str) -> Result<Kept> {
    if let Some(place) = set.place_of(name) {
        let Served { catalog, settings, origin, .. } = &*set.served[place];
        let Origin::Database(made) = origin else { return Err(of_the_file(name)) };
        let (name, url) = (settings.name.clone(), settings.description.url.clone());
        return Ok(Kept { name, url, made: made.clone(), catalog: Some(catalog.clone()) });
    }
    let closed = set.closed.iter().find(|closed| closed.name.as_str() == name);
    let closed = closed.ok_or_else(|| set.unknown(name))?;
    let made = Made { secrets: Secrets::default(), created_ms: closed.created_ms };
    Ok(Kept { name: closed.name.clone(), url: closed.description.url.clone(), made, catalog: None })
}

fn without(set: &Set, name: &WarehouseName) -> Set {
    let is_other = |other: &WarehouseName| other != name;
    Set {
        served: set.served.iter().filter(|served| is_other(&served.settings.name)).cloned().collect(),
        closed: set.closed.iter().filter(|closed| is_other(&closed.name)).cloned().collect(),
    }
}

fn shown_of(served: &Served, is_default: bool) -> Shown {
    let created_ms = match &served.origin {
        Origin::File => None,
        Origin::Database(made) => Some(made.created_ms),
    };
    let settings = &served.settings;
    let (description, secrets) = (settings.description.clone(), settings.secrets.clone());
    Shown { name: settings.name.to_string(), description, secrets, is_default, created_ms, problem: None }
}

fn shown_closed(closed: &Closed) -> Shown {
    Shown {
        name: closed.name.to_string(),
        description: closed.description.clone(),
        secrets: Vec::new(),
        is_default: false,
        created_ms: Some(closed.created_ms),
        problem: Some(closed.why.clone()),
    }
}

fn of_the_file(name: &str) -> Error {
    Error::new(
        Kind::Conflict,
        format!("Warehouse {name} is of the configuration file: change it there, and start anew"),
    )
}

/// What is wrong with a store is here what is wrong with the description.
fn unusable(error: Error) -> Error {
    let message = format!("Warehouse cannot be used: {}", error.message());
    Error::new(Kind::Invalid, message).because(error)
}
