//! How clients reach a table's objects without ever seeing the server's own keys.
//!
//! A client says what it can do ([`Asked`]); the warehouse says what it allows ([`Delegation`]). Keys are lent for an hour,
//! narrowed to the table's locations and to reading or writing, and lent again until half of their life is over, so that one
//! question to the Security Token Service serves many loads. A signature is given to one request at a time, after every key
//! that it touches was looked at.

mod policy;
mod request;
mod signature;
mod sts;

use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use indexmap::IndexMap;
use moka::future::Cache;
use object_store::aws::AwsCredentialProvider;

use super::location::{Location, Scheme};
use super::settings::{Secret, StoreSettings};
use crate::error::{Error, Kind, Result};
use crate::limits;
use request::Hosts;
pub use request::SignRequest;
use signature::{Body, Signer};
use sts::Sts;

/// What a warehouse allows (`delegation = "…"`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delegation {
    /// Lent keys where the configuration says of which role; else signatures.
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
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The keys themselves stay out of every log.
        f.debug_struct("Keys").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// Keys that a store has lent.
#[derive(Debug)]
struct Lent {
    access_key_id: String,
    secret_access_key: Secret,
    session_token: Option<Secret>,
    expires_ms: Option<i64>,
    /// How long they were good for when they were lent.
    lasts: Duration,
}

/// The way a warehouse was found to go.
#[derive(Debug)]
enum Way {
    Nothing,
    Static,
    /// With keys that are lent for the table, where the store lends them: some stores look at less of a request than its
    /// signature covers, so that it could be made to reach further with the warehouse's own.
    Signed(Option<Sts>),
    Vended(Sts),
}

/// Delegation in one warehouse.
#[derive(Debug)]
pub(super) struct Delegate {
    way: Way,
    choice: Delegation,
    why: &'static str,
    s3: Option<S3>,
    lent: Cache<(Access, Vec<Location>), Arc<Lent>>,
}

/// What is needed to speak for an S3 store.
#[derive(Debug)]
struct S3 {
    own: AwsCredentialProvider,
    region: String,
    hosts: Hosts,
    /// What clients configure whatever they are given.
    config: IndexMap<String, String>,
}

impl Delegate {
    /// What the settings of a warehouse come to; `own` are the keys that the server itself uses.
    pub(super) fn new(
        root: &Location,
        settings: &StoreSettings,
        own: Option<AwsCredentialProvider>,
        config: &IndexMap<String, String>,
    ) -> Result<Self> {
        let region = settings.region_or_default().to_owned();
        let endpoint = settings.s3_endpoint();
        let s3 = own.map(|own| S3 { own, hosts: Hosts::of(endpoint, &region), region, config: config.clone() });
        let (way, why) = way(root, settings)?;
        let lent = Cache::builder().max_capacity(limits::LENT_KEYS_MAX).expire_after(UntilHalfOver).build();
        Ok(Self { way, choice: settings.delegation, why, s3, lent })
    }

    /// In words, what clients are given and why.
    pub(super) fn explain(&self) -> String {
        let given = match &self.way {
            Way::Nothing => "clients use keys of their own",
            Way::Static => "clients that ask are given the warehouse's own keys",
            Way::Signed(None) => "requests of clients that ask are signed",
            Way::Signed(Some(_)) => "requests of clients that ask are signed with keys that are lent for their table",
            Way::Vended(_) => "clients that ask are lent keys",
        };
        format!("{given} ({})", self.why)
    }

    /// What a client is given for a table with these locations, of which the first is its own.
    pub(super) async fn grant(
        &self,
        asked: Asked,
        access: Access,
        locations: Vec<Location>,
        now_ms: i64,
    ) -> Result<Granted> {
        let Some(s3) = self.s3.as_ref().filter(|_| !locations.is_empty()) else { return Ok(Granted::Nothing) };
        match &self.way {
            Way::Vended(sts) if asked.vended => {
                let of = (access, locations);
                let lent = self.lend(s3, sts, &of, now_ms).await?;
                Ok(lent.map_or(Granted::Nothing, |lent| Granted::Keys(s3.keys(&lent, &of.1))))
            }
            Way::Static if asked.vended => Ok(Granted::Keys(s3.keys(&s3.own().await?, &locations))),
            Way::Signed(None) if asked.signed => Ok(Granted::Signatures),
            Way::Signed(Some(sts)) if asked.signed => match self.lend(s3, sts, &(access, locations), now_ms).await {
                Ok(Some(_)) => Ok(Granted::Signatures),
                Err(error) if self.choice != Delegation::Auto => Err(error),
                // Nobody has said that this store lends keys.
                Ok(None) | Err(_) => Ok(Granted::Nothing),
            },
            _ => Ok(Granted::Nothing),
        }
    }

    /// An error if keys are to be lent and cannot be.
    pub(super) async fn could_lend(&self, asked: Asked, nowhere: Location, now_ms: i64) -> Result<()> {
        let granted = self.grant(asked, Access::Read, vec![nowhere], now_ms).await;
        granted.map(|_| ())
    }

    /// Keys for these locations; `None` where no policy could say which they are.
    async fn lend(&self, s3: &S3, sts: &Sts, of: &(Access, Vec<Location>), now_ms: i64) -> Result<Option<Arc<Lent>>> {
        let (access, locations) = of;
        let Some(policy) = policy::session_policy(*access, locations) else {
            tracing::warn!(location = ?locations.first(), "no keys are lent for a location that holds * ? $ or quotes");
            return Ok(None);
        };
        let lent = async {
            let signer = s3.own().await?.signer(s3, now_ms);
            Ok::<_, Error>(Arc::new(sts.assume_role(&signer, &policy).await?))
        };
        let lent = self.lent.try_get_with(of.clone(), lent).await;
        lent.map(Some).map_err(|error: Arc<Error>| error.copy())
    }

    /// The headers that sign a client's request, if it stays within these locations and `access`.
    pub(super) async fn sign(
        &self,
        request: &SignRequest,
        access: Access,
        locations: &[Location],
        now_ms: i64,
    ) -> Result<IndexMap<String, Vec<String>>> {
        let (Some(s3), Way::Signed(sts)) = (&self.s3, &self.way) else {
            return Err(Error::new(Kind::Unsupported, "Requests are not signed in this warehouse"));
        };
        request::judge(request, &s3.hosts, access, locations)?;
        let signer = match sts {
            None => s3.own().await?.signer(s3, now_ms),
            Some(sts) => match self.lend(s3, sts, &(access, locations.to_vec()), now_ms).await? {
                Some(lent) => lent.signer(s3, now_ms),
                None => {
                    return Err(Error::new(Kind::Forbidden, "No policy can say where this table is: * ? $ and quotes"));
                }
            },
        };
        let own =
            ["authorization", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token", "content-length", "host"];
        let kept = |name: &str| !own.iter().any(|one| name.eq_ignore_ascii_case(one));
        let sent = request.headers.iter().filter(|(name, _)| kept(name));
        let sent: Vec<(&str, &str)> =
            sent.flat_map(|(name, values)| values.iter().map(move |value| (name.as_str(), value.as_str()))).collect();
        let body = match &request.body {
            Some(body) if !body.is_empty() => Body::Whole(body.as_bytes()),
            _ => Body::Said(request::header(request, "x-amz-content-sha256").unwrap_or("UNSIGNED-PAYLOAD").to_owned()),
        };
        let signed = signature::sign(&signer, "s3", (&request.method, &request.uri), &sent, body)?;
        let mut headers: IndexMap<String, Vec<String>> = request
            .headers
            .iter()
            .filter(|(name, _)| kept(name))
            .map(|(name, values)| (name.clone(), values.clone()))
            .collect();
        headers.extend(signed.into_iter().map(|(name, value)| (name, vec![value])));
        Ok(headers)
    }
}

impl S3 {
    async fn own(&self) -> Result<Lent> {
        let own = self.own.get_credential().await.map_err(|error| {
            Error::new(Kind::Unavailable, "The warehouse's own keys cannot be had: check its configuration")
                .because(error)
        })?;
        Ok(Lent {
            access_key_id: own.key_id.clone(),
            secret_access_key: Secret::new(own.secret_key.clone()),
            session_token: own.token.clone().map(Secret::new),
            expires_ms: None,
            lasts: limits::LENT_KEYS,
        })
    }

    fn keys(&self, lent: &Lent, locations: &[Location]) -> Keys {
        let mut config = self.config.clone();
        config.insert("s3.access-key-id".to_owned(), lent.access_key_id.clone());
        config.insert("s3.secret-access-key".to_owned(), lent.secret_access_key.reveal().to_owned());
        if let Some(token) = &lent.session_token {
            config.insert("s3.session-token".to_owned(), token.reveal().to_owned());
        }
        if let Some(expires_ms) = lent.expires_ms {
            config.insert("s3.session-token-expires-at-ms".to_owned(), expires_ms.to_string());
        }
        // Clients take the keys whose prefix a location begins with; Java takes no more than one pair.
        let prefix = match locations {
            [only] => only.key(),
            [first, ..] => format!("s3://{}/", first.bucket()),
            [] => String::new(),
        };
        Keys { prefix, config, expires_ms: lent.expires_ms }
    }
}

impl Lent {
    fn signer(&self, s3: &S3, now_ms: i64) -> Signer {
        let token = self.session_token.as_ref().map(|token| token.reveal().to_owned());
        let (id, secret) = (self.access_key_id.clone(), self.secret_access_key.reveal());
        Signer { credentials: Credentials::new(id, secret, token, None, "floeberg"), region: s3.region.clone(), now_ms }
    }
}

/// Lent keys are lent again until half of their life is over.
struct UntilHalfOver;

impl moka::Expiry<(Access, Vec<Location>), Arc<Lent>> for UntilHalfOver {
    fn expire_after_create(
        &self,
        _: &(Access, Vec<Location>),
        lent: &Arc<Lent>,
        _: std::time::Instant,
    ) -> Option<Duration> {
        Some(lent.lasts.min(limits::LENT_KEYS) / 2)
    }
}

/// Which way a warehouse goes, and why.
fn way(root: &Location, settings: &StoreSettings) -> Result<(Way, &'static str)> {
    let choice = settings.delegation;
    if root.scheme() != Scheme::S3 {
        return match choice {
            Delegation::Auto | Delegation::Nothing if root.scheme() == Scheme::File => {
                Ok((Way::Nothing, "its files are on this machine's disk"))
            }
            Delegation::Auto | Delegation::Nothing => Ok((Way::Nothing, "keys of this kind of store are not lent")),
            other => {
                let (word, scheme) = (other.as_str(), root.scheme().prefix());
                Err(Error::illegal(format!("delegation = {word:?} is not for {scheme} warehouses: remove it")))
            }
        };
    }
    let sts = || {
        let endpoint = settings.sts_endpoint.clone().or_else(|| settings.s3_endpoint().map(str::to_owned));
        let endpoint =
            endpoint.unwrap_or_else(|| format!("https://sts.{}.amazonaws.com", settings.region_or_default()));
        Sts::new(endpoint, settings.sts_role_arn.as_deref())
    };
    let has_role = settings.sts_role_arn.is_some() || settings.sts_endpoint.is_some();
    if has_role && matches!(choice, Delegation::Static | Delegation::Nothing) {
        let word = choice.as_str();
        return Err(Error::illegal(format!(
            "sts-role-arn and sts-endpoint have no use with delegation = {word:?}: remove them"
        )));
    }
    // AWS itself looks at all that a signature covers.
    let signed = || {
        let lends = has_role || settings.s3_endpoint().is_some();
        Ok::<_, Error>(Way::Signed(if lends { Some(sts()?) } else { None }))
    };
    Ok(match choice {
        Delegation::Vended => (Way::Vended(sts()?), "delegation = \"vended\""),
        Delegation::Auto if has_role => (Way::Vended(sts()?), "sts-role-arn or sts-endpoint is set"),
        Delegation::Auto => (signed()?, "no sts-role-arn is set, so keys cannot be lent to clients"),
        Delegation::Signed => (signed()?, "delegation = \"signed\""),
        Delegation::Static => (Way::Static, "delegation = \"static\""),
        Delegation::Nothing => (Way::Nothing, "delegation = \"none\""),
    })
}
