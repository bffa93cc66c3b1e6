//! The parts, built once, and run until told to stop.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use ::http::Method;
use futures::future::join_all;
use tokio::net::{TcpListener, TcpSocket};

use crate::auth::{Access, ServerKey};
use crate::catalog::Catalog;
use crate::catalog::once::Keys;
use crate::catalog::reports::Reports;
use crate::clock::{self, Clock};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::http::{Api, Bodies, Parts, Readiness};
use crate::ingest::{Log, Recovered};
use crate::store::Store;
use crate::warehouses::{Opening, Upkeep, Warehouses};
use crate::{http, limits, telemetry};

/// A server whose parts are built and whose port is open, not yet serving.
#[derive(Debug)]
pub struct App {
    api: Api,
    listener: TcpListener,
    address: SocketAddr,
    grace: Duration,
    cors_origins: Vec<String>,
    // Held until the end: another process that opens the directory meanwhile gets a clear error.
    lock: DataDirLock,
}

impl App {
    /// Locks the data directory, opens the database and the warehouse, and binds the address.
    pub async fn open(config: &Config) -> Result<Self> {
        let mut lock = DataDirLock::take(&config.data_dir)?;
        let clock = Clock::system();
        let (warehouses, left) = open_warehouses(config, &clock, Upkeep::Runs).await?;
        warehouses.recover(left)?;
        let listener = bind(config.listen)?;
        let address = listener.local_addr().map_err(|error| Error::internal("No local address").because(error))?;
        lock.write_address(address)?;
        let store = warehouses.store().clone();
        let access = Access::open(config.auth, store.clone(), clock, server_key(&config.data_dir)?).await?;
        let reports = Reports::start(store);
        let (readiness, metrics, bodies) = (Readiness::default(), telemetry::metrics()?, Bodies::default());
        let (base_path, metrics_auth) = (config.base_path.clone(), config.metrics_auth);
        let parts = Parts { warehouses, access, reports, readiness, metrics, metrics_auth, bodies, base_path };
        let api = Api::from(parts);
        let (grace, cors_origins) = (config.shutdown_timeout, config.cors_origins.clone());
        Ok(Self { api, listener, address, grace, cors_origins, lock })
    }

    /// Where the server listens; with port 0 in the configuration, the port it was given.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address for people and clients, with the base path.
    pub fn url(&self) -> String {
        format!("http://{}{}", self.address, self.api.base_path)
    }

    /// Who may call.
    pub fn access(&self) -> &Access {
        &self.api.access
    }

    /// The catalog of every warehouse, the default first.
    pub fn catalogs(&self) -> Vec<Catalog> {
        self.api.warehouses.set().all().map(|served| served.catalog.clone()).collect()
    }

    /// The catalog of the default warehouse.
    pub fn catalog(&self) -> Catalog {
        self.api.warehouses.default().catalog.clone()
    }

    /// Status and body of the answer to a request of our own, which needs no port.
    pub async fn ask(&self, method: Method, path: &str, body: String) -> Result<(u16, String)> {
        http::ask(&self.api, method, path, body).await
    }

    /// Serves until `stop` is done, finishes what is under way, and closes everything.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<()> {
        let Self { api, listener, grace, cors_origins, lock, .. } = self;
        let router = http::router(api.clone(), &cors_origins)?;
        let paths = http::Paths::of(&api);
        let upkeep = tokio::spawn(keep_metrics(api.metrics.clone()));
        let stopping = api.clone();
        let stop = async move {
            stop.await;
            stopping.readiness.stop();
            // Who waits for rows should not wait for others' now.
            stopping.warehouses.hurry();
        };
        let served = http::serve(listener, (router, paths), stop, grace).await;
        // What clients left behind is finished too.
        let set = api.warehouses.set();
        let works = set.all().map(|warehouse| {
            warehouse.catalog.works().close();
            warehouse.catalog.works().wait()
        });
        tokio::select! {
            _ = join_all(works) => {}
            () = clock::sleep(grace) => tracing::warn!("commits were still under way when the time to stop was over"),
        }
        upkeep.abort();
        api.warehouses.stop().await;
        api.reports.drain().await;
        api.warehouses.store().close().await;
        drop(lock);
        served
    }
}

/// The key that access tokens are signed with, in a file of the data directory that only its owner reads; made at the first
/// start. The caller holds the directory's lock.
pub fn server_key(data_dir: &Path) -> Result<ServerKey> {
    let path = data_dir.join("access.key");
    let failed = |error: std::io::Error| {
        let message = format!("{} cannot be read or made: it holds the key of access tokens", path.display());
        Error::new(Kind::Unavailable, message).because(error)
    };
    match fs::read(&path) {
        Ok(bytes) => {
            let bytes = <[u8; 32]>::try_from(bytes.as_slice());
            let damaged = |_| Error::illegal(format!("{} is damaged: remove it, and clients ask anew", path.display()));
            return bytes.map(|bytes| ServerKey::new(&bytes)).map_err(damaged);
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let bytes = clock::random_bytes()?;
    // Whole or not there at all.
    let fresh = data_dir.join("access.key.new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh).map_err(failed)?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&fresh, &path).and_then(|()| File::open(data_dir)?.sync_all()).map_err(failed)?;
    Ok(ServerKey::new(&bytes))
}

/// Opens the database; the caller holds the data directory's lock.
pub async fn open_store(config: &Config, clock: &Clock) -> Result<Store> {
    Store::open(&config.data_dir.join("catalog.db"), clock.clone()).await
}

/// Opens the database and every warehouse; the caller holds the data directory's lock.
///
/// What comes with them are rows that an earlier process acknowledged, to be taken up by who serves.
pub async fn open_warehouses(config: &Config, clock: &Clock, upkeep: Upkeep) -> Result<(Warehouses, Vec<Recovered>)> {
    let store = open_store(config, clock).await?;
    let (marks, folder) = (store.log_marks().await?, config.data_dir.join("wal"));
    let (runtime, known) = (tokio::runtime::Handle::current(), store.clone());
    let row_of = move |uuid: &str| runtime.block_on(known.id_of(uuid));
    let opened = tokio::task::spawn_blocking(move || Log::open(&folder, &marks, &row_of)).await;
    let (log, left) = opened.map_err(|error| Error::internal("The log cannot be opened").because(error))??;
    let keys = Keys::open(&store, config.keys).await?;
    let opening = Opening {
        store,
        clock: clock.clone(),
        keys,
        ingest: config.ingest.clone(),
        log,
        around: config.around.clone(),
        seal_key: config.seal_key.clone(),
    };
    Ok((Warehouses::open(opening, &config.warehouses, upkeep).await?, left))
}

fn bind(address: SocketAddr) -> Result<TcpListener> {
    let failed = |error: std::io::Error| {
        Error::new(Kind::Unavailable, format!("{address} cannot be listened on: {error}; choose another with --listen"))
    };
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(failed)?;
    socket.set_reuseaddr(true).map_err(failed)?;
    socket.bind(address).map_err(failed)?;
    socket.listen(limits::ACCEPT_BACKLOG).map_err(failed)
}

/// Histograms are folded together now and then, so that they do not grow while nobody asks for them.
async fn keep_metrics(handle: metrics_exporter_prometheus::PrometheusHandle) {
    loop {
        clock::sleep(Duration::from_secs(5)).await;
        handle.run_upkeep();
    }
}

/// The lock of a data directory: one process at a time. It is the kernel's, so it ends with the process, however that
/// ends; the file's content is the address of whoever holds it.
#[derive(Debug)]
pub struct DataDirLock {
    file: File,
}

impl Drop for DataDirLock {
    fn drop(&mut self) {
        // A process that is being started holds a copy of the file until it runs: to close ours alone would not let go.
        drop(self.file.unlock());
    }
}

impl DataDirLock {
    /// Takes the lock, making the directory where needed.
    pub fn take(data_dir: &Path) -> Result<Self> {
        let failed = |error: std::io::Error| {
            Error::new(Kind::Unavailable, format!("Data directory {} cannot be used: {error}", data_dir.display()))
        };
        fs::create_dir_all(data_dir).map_err(failed)?;
        let path = data_dir.join("floeberg.lock");
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                drop(file.read_to_string(&mut holder));
                return Err(Error::new(
                    Kind::Unavailable,
                    format!(
                        "Data directory {} is in use by another floeberg{}: stop it, or choose another with --data-dir",
                        data_dir.display(),
                        if holder.trim().is_empty() { String::new() } else { format!(" at http://{}", holder.trim()) }
                    ),
                ));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // The directory's own name, and those on the way to it, must outlive a power loss with what is put inside.
        let whole = fs::canonicalize(data_dir).map_err(failed)?;
        for folder in whole.ancestors().take(limits::SYNCED_ANCESTORS) {
            // One that may not be opened was not made by us.
            if let Ok(folder) = File::open(folder) {
                folder.sync_all().map_err(failed)?;
            }
        }
        file.set_len(0).map_err(failed)?;
        Ok(Self { file })
    }

    /// The address of the process that holds a directory's lock, if one does and has said so.
    pub fn holder(data_dir: &Path) -> Option<SocketAddr> {
        let path = data_dir.join("floeberg.lock");
        let file = OpenOptions::new().read(true).write(true).open(&path).ok()?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => fs::read_to_string(path).ok()?.trim().parse().ok(),
            _ => None,
        }
    }

    fn write_address(&mut self, address: SocketAddr) -> Result<()> {
        let failed =
            |error| Error::new(Kind::Unavailable, "The data directory's lock cannot be written").because(error);
        self.file.rewind().map_err(failed)?;
        self.file.write_all(address.to_string().as_bytes()).map_err(failed)
    }
}
