//! The warehouses that are served: those of the configuration file, and those that were made since, which are kept in the
//! database.
//!
//! Who looks one up holds it until his request is done; what is added, changed and removed ([`change`]) is there for the
//! next request. One whose secrets cannot be opened is not served, is listed with the reason, and can be mended or removed;
//! meanwhile no purge deletes files, because what its tables reach cannot be known.

pub mod change;

use std::num::NonZero;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Mutex;

use crate::catalog::Catalog;
use crate::catalog::check::{Check, Report};
use crate::catalog::once::Keys;
use crate::clock::Clock;
use crate::error::{Error, Kind, Result, What};
use crate::ingest::{Ingest, IngestSettings, Log, Recovered};
use crate::lake::Warehouse;
use crate::lake::described::{Description, Secrets, Surroundings};
use crate::lake::location::Location;
use crate::lake::seal::SealKey;
use crate::lake::settings::WarehouseSettings;
use crate::maintenance::Driver;
use crate::names::WarehouseName;
use crate::store::Store;
use crate::store::warehouses::WarehouseRow;

/// A warehouse that is served.
#[derive(Debug)]
pub struct Served {
    /// Its namespaces and tables.
    pub catalog: Catalog,
    /// Where rows go in.
    pub ingest: Ingest,
    settings: WarehouseSettings,
    origin: Origin,
}

/// Where a warehouse is described.
#[derive(Debug, Clone)]
enum Origin {
    /// In the configuration file, in the environment, or nowhere.
    File,
    /// In the database.
    Database(Made),
}

/// A warehouse of the database.
#[derive(Debug, Clone)]
struct Made {
    secrets: Secrets,
    created_ms: i64,
}

/// A warehouse of the database that cannot be served.
#[derive(Debug, Clone)]
struct Closed {
    name: WarehouseName,
    description: Description,
    created_ms: i64,
    why: String,
}

/// What is served at a time, the default first.
#[derive(Debug, Default)]
pub struct Set {
    served: Vec<Arc<Served>>,
    closed: Vec<Closed>,
}

impl Set {
    /// Every one that is served.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.served.iter()
    }

    /// Tries the database and every warehouse for real.
    pub async fn report(&self) -> Report {
        let catalogs: Vec<&Catalog> = self.served.iter().map(|served| &served.catalog).collect();
        let mut checks = Report::on(&catalogs).await.checks;
        checks.extend(self.closed.iter().map(|closed| {
            Check::of(format!("warehouse {}", closed.name), Err(Error::new(Kind::Unavailable, closed.why.clone())))
        }));
        Report::of(checks)
    }

    /// How many are served.
    pub fn count(&self) -> usize {
        self.served.len()
    }

    /// The place of the one with this name.
    pub fn place_of(&self, name: &str) -> Option<usize> {
        self.served.iter().position(|served| served.catalog.warehouse().name().as_str() == name)
    }

    /// The one at a place.
    pub fn at(&self, place: usize) -> Selected {
        Selected { served: Arc::clone(&self.served[place]), is_default: place == 0 }
    }

    fn catalogs(&self) -> Vec<Catalog> {
        self.served.iter().map(|served| served.catalog.clone()).collect()
    }

    /// The error for a warehouse that is not served.
    pub fn unknown(&self, asked: &str) -> Error {
        if let Some(closed) = self.closed.iter().find(|closed| closed.name.as_str() == asked) {
            return Error::new(Kind::Unavailable, format!("Warehouse {asked} cannot be served: {}", closed.why));
        }
        let known: Vec<&str> = self.served.iter().map(|served| served.catalog.warehouse().name().as_str()).collect();
        let message = format!("Warehouse does not exist: {asked} (there is {})", known.join(", "));
        Error::new(Kind::NotFound(What::Warehouse), message)
    }
}

/// A warehouse that a request is for.
#[derive(Debug, Clone)]
pub struct Selected {
    /// The warehouse.
    pub served: Arc<Served>,
    /// Whether it is the one that is meant where none is named.
    pub is_default: bool,
}

impl Selected {
    /// The segment under which the paths of `/v1` name it; none for the default.
    pub fn prefix(&self) -> Option<&str> {
        (!self.is_default).then(|| self.served.catalog.warehouse().name().as_str())
    }
}

/// Whether upkeep runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upkeep {
    /// It does.
    Runs,
    /// Nothing happens that nobody asked for.
    Rests,
}

/// What every warehouse is opened with.
#[derive(Debug)]
pub struct Opening {
    /// The database.
    pub store: Store,
    /// The clock.
    pub clock: Clock,
    /// The idempotency keys.
    pub keys: Keys,
    /// What bounds ingest into all of them together.
    pub ingest: IngestSettings,
    /// Where rows go that are acknowledged before they are committed.
    pub log: Log,
    /// What all have in common.
    pub around: Surroundings,
    /// What secrets in the database are sealed with.
    pub seal_key: Option<SealKey>,
}

/// The warehouses.
#[derive(Debug)]
pub struct Warehouses {
    set: RwLock<Arc<Set>>,
    opening: Opening,
    upkeep: Option<Driver>,
    /// Held by who adds, changes or removes one.
    changing: Mutex<()>,
    /// Rows in the log that are for warehouses that are not served.
    left: std::sync::Mutex<Vec<Recovered>>,
}

impl Warehouses {
    /// Opens those of the configuration, the default first, and those of the database.
    pub async fn open(opening: Opening, of_file: &[WarehouseSettings], upkeep: Upkeep) -> Result<Self> {
        let rows = opening.store.warehouses().await?;
        let mut set = Set::default();
        let share = share_of(of_file.len() + rows.len());
        for settings in of_file {
            let catalog = opening.catalog(settings, share).await?;
            let served = opening.serve(&set, catalog, settings.clone(), Origin::File);
            set.served.push(Arc::new(served));
        }
        for row in rows {
            opening.open_kept(&mut set, row, share).await?;
        }
        let upkeep = match upkeep {
            Upkeep::Runs => Some(Driver::start(set.catalogs(), set.closed.is_empty())),
            Upkeep::Rests => None,
        };
        Ok(Self {
            set: RwLock::new(Arc::new(set)),
            opening,
            upkeep,
            changing: Mutex::default(),
            left: Default::default(),
        })
    }

    /// What is served now.
    pub fn set(&self) -> Arc<Set> {
        Arc::clone(&self.set.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, set: Set) {
        // Before anybody can push rows behind them.
        let left = std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner));
        if let Err(error) = self.recover_into(&set, left) {
            tracing::error!(error = error.chain(), "rows in the log cannot be taken up");
        }
        if let Some(upkeep) = &self.upkeep {
            upkeep.serve(set.catalogs(), set.closed.is_empty());
        }
        *self.set.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
    }

    /// Takes up the rows that an earlier process acknowledged and did not commit. Those of a warehouse that is not served
    /// stay in the log until it is.
    pub fn recover(&self, entries: Vec<Recovered>) -> Result<()> {
        self.recover_into(&self.set(), entries)
    }

    fn recover_into(&self, set: &Set, entries: Vec<Recovered>) -> Result<()> {
        let mut left = Vec::new();
        for entry in entries {
            match set.place_of(entry.warehouse()) {
                Some(place) => set.served[place].ingest.recover(entry)?,
                None => left.push(entry),
            }
        }
        if !left.is_empty() {
            let entries = left.len();
            tracing::error!(entries, "rows in the log are for warehouses that are not served: they stay there");
        }
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = left;
        Ok(())
    }

    /// From now on no rows are kept waiting for others.
    pub fn hurry(&self) {
        self.set().all().for_each(|served| served.ingest.stop());
    }

    /// The one that is meant where none is named.
    pub fn default(&self) -> Arc<Served> {
        Arc::clone(&self.set().served[0])
    }

    /// The one that a client names (`?warehouse=`): by its name or its root's URL; the default where it names none.
    pub fn select(&self, asked: &str) -> Result<Selected> {
        let set = self.set();
        if asked.is_empty() {
            return Ok(set.at(0));
        }
        let root = Location::parse(asked).ok();
        let is_meant = |served: &Arc<Served>| {
            let warehouse = served.catalog.warehouse();
            asked == warehouse.name().as_str() || root.as_ref() == Some(warehouse.root())
        };
        let place = set.served.iter().position(is_meant).ok_or_else(|| set.unknown(asked))?;
        Ok(set.at(place))
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.opening.store
    }

    /// Ends upkeep, and closes the log.
    pub async fn stop(&self) {
        if let Some(upkeep) = &self.upkeep {
            upkeep.stop().await;
        }
        self.opening.log.close().await;
    }
}

/// Each of so many gets this part of the memory.
fn share_of(count: usize) -> NonZero<u64> {
    u64::try_from(count).ok().and_then(NonZero::new).unwrap_or(NonZero::<u64>::MIN)
}

impl Opening {
    async fn catalog(&self, settings: &WarehouseSettings, share: NonZero<u64>) -> Result<Catalog> {
        let warehouse = Warehouse::open(settings)?;
        if warehouse.is_local() {
            warehouse.create_folder(&settings.url).await?;
        }
        Ok(Catalog::new(self.store.clone(), warehouse, self.clock.clone(), self.keys.clone(), share))
    }

    /// All ingest is bounded together.
    fn serve(&self, set: &Set, catalog: Catalog, settings: WarehouseSettings, origin: Origin) -> Served {
        // What waits for the tables of a warehouse goes on waiting where that is described anew.
        let own = set.place_of(settings.name.as_str());
        let ingest = match own {
            Some(own) => set.served[own].ingest.over(catalog.clone()),
            None => match set.served.first() {
                Some(first) => first.ingest.also_into(catalog.clone()),
                None => Ingest::new(catalog.clone(), self.ingest.clone(), self.log.clone()),
            },
        };
        Served { catalog, ingest, settings, origin }
    }

    /// Opens a warehouse of the database, or says why that cannot be.
    async fn open_kept(&self, set: &mut Set, row: WarehouseRow, share: NonZero<u64>) -> Result<()> {
        let name = WarehouseName::new(&row.name)?;
        let damaged = |error: serde_json::Error| {
            Error::internal(format!("The description of warehouse {} is damaged", row.name)).because(error)
        };
        let description: Description = serde_json::from_str(&row.description).map_err(damaged)?;
        let opened = async {
            let secrets = self.unseal(&row)?;
            let settings = description.settings(&row.name, &secrets, &self.around)?;
            settings.check_apart(set.served.iter().map(|served| &served.settings))?;
            let catalog = self.catalog(&settings, share).await?;
            let made = Made { secrets, created_ms: row.created_ms };
            Ok::<_, Error>(self.serve(set, catalog, settings, Origin::Database(made)))
        };
        match opened.await {
            Ok(served) => set.served.push(Arc::new(served)),
            Err(error) => {
                tracing::error!(warehouse = row.name, error = error.chain(), "a warehouse cannot be served");
                let why = error.message().to_owned();
                set.closed.push(Closed { name, description, created_ms: row.created_ms, why });
            }
        }
        Ok(())
    }

    fn unseal(&self, row: &WarehouseRow) -> Result<Secrets> {
        if row.sealed.is_empty() {
            return Ok(Secrets::default());
        }
        let no_key = || Error::illegal("its secrets are sealed: set the seal-key that they were sealed with");
        let text = self.seal_key.as_ref().ok_or_else(no_key)?.open(&row.name, &row.sealed)?;
        serde_json::from_str(text.reveal()).map_err(|_| Error::illegal("its secrets are damaged: give them anew"))
    }

    fn seal(&self, name: &WarehouseName, secrets: &Secrets) -> Result<String> {
        if *secrets == Secrets::default() {
            return Ok(String::new());
        }
        let key = self.seal_key.as_ref().ok_or_else(|| {
            Error::illegal(format!(
                "{} would be kept in the database: set seal-key in the configuration first, or leave the keys to the environment",
                secrets.names().join(", ")
            ))
        })?;
        let text = serde_json::to_string(secrets);
        key.seal(name.as_str(), &text.map_err(|error| Error::internal("Secrets cannot be written").because(error))?)
    }
}
