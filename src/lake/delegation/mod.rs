//! How clients reach a table's objects without ever seeing the server's own keys.
//!
//! A client says what it can do ([`Asked`]); the warehouse says what it allows ([`Delegation`]). Keys are lent for an hour,
//! narrowed to the table's locations and to reading or writing, and lent again until half of their life is over, so that one
//! question to the store's service serves many loads. A signature is given to one request at a time, after every key that
//! it touches was looked at.
//!
//! Where the configuration says that keys are lent, that they are not is an error (503). Where nobody has said so
//! (`delegation = "auto"`), clients are given nothing then, a warning says why, and the service is left alone for a minute.

mod aws;
mod azure;
mod google;
mod lending;
mod policy;
mod request;
mod signature;
mod sts;

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use indexmap::IndexMap;

use super::location::Location;
use super::opening::Own;
use super::settings::StoreSettings;
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::limits;
use aws::S3;
use azure::Azure;
use google::Google;
use lending::NotLent;
pub use request::SignRequest;

/// What a warehouse allows (`delegation = "…"`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delegation {
    /// Lent keys where the store can lend them and, on S3, the configuration says of which role; else signatures.
    #[default]
    Auto,
    /// Lent keys.
    Vended,
    /// Signatures.
    Signed,
    /// The warehouse's own keys, to whoever may load the table.
    Static,
    /// Nothing: clients have keys of their own.
    Nothing,
}

impl Delegation {
    const ALL: [Self; 5] = [Self::Auto, Self::Vended, Self::Signed, Self::Static, Self::Nothing];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Vended => "vended",
            Self::Signed => "signed",
            Self::Static => "static",
            Self::Nothing => "none",
        }
    }

    /// The one with this word.
    pub fn parse(word: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == word).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.into_iter().map(Self::as_str).collect();
            Error::illegal(format!("delegation = {word:?} is not known: {}", known.join(", ")))
        })
    }
}

/// What a client may do with a table's objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Read and list them.
    Read,
    /// Put and delete them too.
    Write,
}

/// What a client says it can do (`X-Iceberg-Access-Delegation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    /// Use keys that it is lent.
    pub vended: bool,
    /// Have its requests signed.
    pub signed: bool,
}

/// What a client is given.
#[derive(Debug, Clone)]
pub enum Granted {
    /// Nothing.
    Nothing,
    /// Keys.
    Keys(Keys),
    /// Its requests will be signed.
    Signatures,
}

/// Keys for a table's objects.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// What the locations begin with that they are for.
    pub prefix: String,
    /// What the client is to configure, endpoint and region included.
    pub config: IndexMap<String, String>,
    /// When they end.
    pub expires_ms: Option<i64>,
    /// The name under which a client is told where to ask again.
    pub again_under: &'static str,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The keys themselves stay out of every log.
        f.debug_struct("Keys").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// The way a warehouse was found to go.
#[derive(Debug)]
enum Way {
    Nothing,
    /// The warehouse's own keys.
    Static(S3),
    Signed(S3),
    Vended(Lender),
}

/// Who lends keys.
#[derive(Debug)]
enum Lender {
    S3(S3),
    Google(Google),
    Azure(Azure),
}

impl Lender {
    async fn keys(&self, of: (Access, Vec<Location>), now_ms: i64) -> Result<Keys, NotLent> {
        match self {
            Self::S3(s3) => s3.lent_keys(of, now_ms).await,
            Self::Google(google) => google.lent_keys(of, now_ms).await,
            Self::Azure(azure) => azure.lent_keys(of, now_ms).await,
        }
    }
}

/// Whether the configuration says that keys are lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Promise {
    Made,
    /// Nobody has said so: it is tried.
    None,
}

/// Delegation in one warehouse.
#[derive(Debug)]
pub(super) struct Delegate {
    way: Way,
    why: &'static str,
    promise: Promise,
    /// When a service that has promised nothing refused last.
    refused: Mutex<Option<Instant>>,
}

impl Delegate {
    /// What the settings of a warehouse come to; `own` are the keys that the server itself uses.
    pub(super) fn new(
        root: &Location,
        settings: &StoreSettings,
        own: Own,
        config: &IndexMap<String, String>,
    ) -> Result<Self> {
        let (way, promise, why) = match own {
            Own::Nothing => (no_store(root, settings)?, Promise::None, "its files are on this machine's disk"),
            Own::S3(own) => of_s3(settings, S3::new(settings, own, config)?)?,
            Own::Google => {
                let google = Google::new(settings, config)?;
                of_cloud(root, settings, google.map(Lender::Google), "its keys lend no others")?
            }
            Own::Azure(own) => {
                let azure = Azure::new(root, settings, own, config)?;
                of_cloud(root, settings, Some(Lender::Azure(azure)), "")?
            }
        };
        Ok(Self { way, why, promise, refused: Mutex::default() })
    }

    /// Tries it for a place where nothing is, and says in words what clients are given and why. An error if keys are to be
    /// lent and cannot be.
    pub(super) async fn explain(&self, nowhere: Location, now_ms: i64) -> Result<String> {
        let given = match &self.way {
            Way::Nothing => "clients use keys of their own",
            Way::Static(_) => "clients that ask are given the warehouse's own keys",
            Way::Signed(s3) if s3.lends() => {
                "requests of clients that ask are signed with keys that are lent for their table"
            }
            Way::Signed(_) => "requests of clients that ask are signed",
            Way::Vended(_) => "clients that ask are lent keys",
        };
        let why = self.why;
        let of = (Access::Read, vec![nowhere]);
        let tried = match &self.way {
            Way::Vended(lender) => lender.keys(of, now_ms).await.map(|_| ()),
            Way::Signed(s3) => s3.could_sign(of, now_ms).await,
            Way::Nothing | Way::Static(_) => Ok(()),
        };
        match tried {
            Ok(()) => Ok(format!("{given} ({why})")),
            Err(refused) if self.promise == Promise::None => {
                let refused = refused.into_error();
                Ok(format!("clients use keys of their own, because none are lent: {}", refused.message()))
            }
            Err(refused) => Err(refused.into_error().context("lend keys")),
        }
    }

    /// What a client is given for a table with these locations, of which the first is its own.
    pub(super) async fn grant(
        &self,
        asked: Asked,
        access: Access,
        locations: Vec<Location>,
        now_ms: i64,
    ) -> Result<Granted> {
        if locations.is_empty() {
            return Ok(Granted::Nothing);
        }
        match &self.way {
            Way::Static(s3) if asked.vended => Ok(Granted::Keys(s3.own_keys(&locations).await?)),
            Way::Vended(lender) if asked.vended => {
                self.kept_promise(async || lender.keys((access, locations), now_ms).await.map(Granted::Keys)).await
            }
            Way::Signed(s3) if asked.signed => {
                let could = async || s3.could_sign((access, locations), now_ms).await;
                self.kept_promise(async || could().await.map(|()| Granted::Signatures)).await
            }
            _ => Ok(Granted::Nothing),
        }
    }

    /// What is granted, if the store lends what was promised; nothing if it refuses what was not.
    async fn kept_promise(&self, grant: impl AsyncFnOnce() -> Result<Granted, NotLent>) -> Result<Granted> {
        let refused = || self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused().is_some_and(|at| at.elapsed() < limits::REFUSED_FOR) {
            return Ok(Granted::Nothing);
        }
        match grant().await {
            Ok(granted) => Ok(granted),
            Err(NotLent::NoPolicy(why)) => {
                tracing::warn!(why, "no keys are lent for a table");
                Ok(Granted::Nothing)
            }
            Err(NotLent::Refused(error)) if self.promise == Promise::None => {
                tracing::warn!(error = error.chain(), "clients that ask are given no keys");
                *refused() = Some(clock::tick());
                Ok(Granted::Nothing)
            }
            Err(refused) => Err(refused.into_error()),
        }
    }

    /// An error if keys are to be lent and cannot be.
    pub(super) async fn could_lend(&self, asked: Asked, nowhere: Location, now_ms: i64) -> Result<()> {
        let granted = self.grant(asked, Access::Read, vec![nowhere], now_ms).await;
        granted.map(|_| ())
    }

    /// The headers that sign a client's request, if it stays within these locations and `access`.
    pub(super) async fn sign(
        &self,
        request: &SignRequest,
        access: Access,
        locations: Vec<Location>,
        now_ms: i64,
    ) -> Result<IndexMap<String, Vec<String>>> {
        match &self.way {
            Way::Signed(s3) => s3.sign(request, (access, locations), now_ms).await,
            _ => Err(Error::new(Kind::Unsupported, "Requests are not signed in this warehouse")),
        }
    }
}

type Chosen = (Way, Promise, &'static str);

fn not_for(root: &Location, choice: Delegation) -> Error {
    let (word, scheme) = (choice.as_str(), root.scheme().prefix());
    Error::illegal(format!("delegation = {word:?} is not for {scheme} warehouses: remove it"))
}

fn no_store(root: &Location, settings: &StoreSettings) -> Result<Way> {
    match settings.delegation {
        Delegation::Auto | Delegation::Nothing => Ok(Way::Nothing),
        other => Err(not_for(root, other)),
    }
}

/// Which way an S3 warehouse goes, and why.
fn of_s3(settings: &StoreSettings, s3: S3) -> Result<Chosen> {
    let choice = settings.delegation;
    let has_role = settings.sts_role_arn.is_some() || settings.sts_endpoint.is_some();
    if has_role && matches!(choice, Delegation::Static | Delegation::Nothing) {
        let word = choice.as_str();
        return Err(Error::illegal(format!(
            "sts-role-arn and sts-endpoint have no use with delegation = {word:?}: remove them"
        )));
    }
    Ok(match choice {
        Delegation::Vended => (Way::Vended(Lender::S3(s3)), Promise::Made, "delegation = \"vended\""),
        Delegation::Auto if has_role => {
            (Way::Vended(Lender::S3(s3)), Promise::Made, "sts-role-arn or sts-endpoint is set")
        }
        Delegation::Auto => {
            (Way::Signed(s3), Promise::None, "no sts-role-arn is set, so keys cannot be lent to clients")
        }
        Delegation::Signed => (Way::Signed(s3), Promise::Made, "delegation = \"signed\""),
        Delegation::Static => (Way::Static(s3), Promise::Made, "delegation = \"static\""),
        Delegation::Nothing => (Way::Nothing, Promise::None, "delegation = \"none\""),
    })
}

/// Which way a warehouse of another cloud goes, and why.
fn of_cloud(
    root: &Location,
    settings: &StoreSettings,
    lender: Option<Lender>,
    without: &'static str,
) -> Result<Chosen> {
    Ok(match (settings.delegation, lender) {
        (Delegation::Nothing, _) => (Way::Nothing, Promise::None, "delegation = \"none\""),
        (Delegation::Auto, None) => (Way::Nothing, Promise::None, without),
        (Delegation::Auto, Some(lender)) => (Way::Vended(lender), Promise::None, "this kind of store lends them"),
        (Delegation::Vended, Some(lender)) => (Way::Vended(lender), Promise::Made, "delegation = \"vended\""),
        (Delegation::Vended, None) => {
            return Err(Error::illegal(format!("delegation = \"vended\" cannot be for {root}: {without}")));
        }
        (other @ (Delegation::Signed | Delegation::Static), _) => return Err(not_for(root, other)),
    })
}
