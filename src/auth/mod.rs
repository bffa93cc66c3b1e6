//! Who may call, and what.
//!
//! A [`Token`] has one [`Right`] and a secret of 256 random bits, which is a valid bearer by itself and is kept as its
//! SHA-256 alone: no slow hash is needed for what nobody can guess, and a miss costs what a hit costs. A client that
//! speaks OAuth gives the secret for an access token, which is signed, lasts an hour, and is known by the id of its token:
//! nothing is written for it, and it dies with the token.
//!
//! Every token is in memory; what is made or revoked counts at once.

mod access_token;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::hmac;

use crate::clock::{self, Clock};
use crate::error::{Error, Kind, Result, What};
use crate::limits;
use crate::names;
use crate::store::Store;
use crate::store::tokens::TokenRow;

pub use access_token::LIFETIME_S;

/// What every secret begins with, so that people and programs that look for leaked ones know it.
const SECRET_PREFIX: &str = "flo_";

/// Whether anybody has to say who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nobody: what is sent as authorization is ignored.
    Open,
    /// Everybody, with a token.
    Token,
}

/// What a token may do; each includes the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// Look: load, list, plan.
    Read,
    /// Change tables and push rows.
    Write,
    /// Manage the server too.
    Admin,
}

impl Right {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// The right with this word.
    pub fn parse(word: &str) -> Result<Self> {
        [Self::Read, Self::Write, Self::Admin]
            .into_iter()
            .find(|right| right.as_str() == word)
            .ok_or_else(|| Error::illegal(format!("Right {word:?} is not known: read, write or admin")))
    }
}

/// Who may do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub right: Right,
    /// When it was made.
    pub created_ms: i64,
    /// When it ends, if it does.
    pub expires_ms: Option<i64>,
}

/// A token and what its secret is checked against.
#[derive(Debug)]
struct Kept {
    token: Token,
    hash: Hash,
}

type Hash = [u8; 32];

/// What is asked for by those who may call. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Access {
    mode: Mode,
    known: Arc<RwLock<Known>>,
    store: Store,
    clock: Clock,
    server_key: ServerKey,
}

/// What access tokens are signed with, beside the hash of their token's secret: it is not in the database, so that a copy
/// of that lets nobody in.
#[derive(Clone)]
pub struct ServerKey(Arc<hmac::Key>);

impl ServerKey {
    /// The key of these bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    /// The key for the access tokens of the token whose secret has this hash.
    fn with(&self, hash: &Hash) -> hmac::Tag {
        hmac::sign(&self.0, hash)
    }
}

impl std::fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerKey")
    }
}

#[derive(Debug, Default)]
struct Known {
    by_hash: HashMap<Hash, Arc<Kept>>,
    by_id: HashMap<String, Arc<Kept>>,
}

impl Access {
    /// Reads every token.
    pub async fn open(mode: Mode, store: Store, clock: Clock, server_key: ServerKey) -> Result<Self> {
        let mut known = Known::default();
        for row in store.tokens().await? {
            known.add(Kept::of(&row)?);
        }
        Ok(Self { mode, known: Arc::new(RwLock::new(known)), store, clock, server_key })
    }

    /// Whether anybody has to say who they are.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether there is no token at all.
    pub fn is_empty(&self) -> bool {
        self.read().by_id.is_empty()
    }

    /// Who this bearer is: of a secret, or of an access token.
    pub fn authenticate(&self, bearer: &str) -> Result<Token> {
        self.kept(bearer).map(|kept| kept.token.clone())
    }

    fn kept(&self, bearer: &str) -> Result<Arc<Kept>> {
        let found = if bearer.starts_with(SECRET_PREFIX) {
            self.read().by_hash.get(&hash_of(bearer)).cloned()
        } else {
            let id = access_token::id_of(bearer);
            let kept = id.and_then(|id| self.read().by_id.get(&id).cloned());
            kept.filter(|kept| {
                access_token::verify(bearer, self.server_key.with(&kept.hash).as_ref(), self.clock.now_ms())
            })
        };
        let kept = found.ok_or_else(|| unauthenticated("The token is not known, was revoked, or has expired"))?;
        match kept.token.expires_ms {
            Some(expires) if expires <= self.clock.now_ms() => {
                Err(unauthenticated(&format!("Token {:?} has expired: ask for another", kept.token.name)))
            }
            _ => Ok(kept),
        }
    }

    /// An access token for who has this secret, and the seconds it lasts. If a client id comes with it, it must be the
    /// token's.
    pub fn grant(&self, client_id: Option<&str>, secret: &str) -> Result<(String, i64)> {
        let kept = self.kept(secret)?;
        if client_id.is_some_and(|id| id != kept.token.id && id != kept.token.name) {
            return Err(unauthenticated("The client id is not that of this secret's token"));
        }
        let now_ms = self.clock.now_ms();
        let left = kept.token.expires_ms.map_or(LIFETIME_S, |expires| (expires - now_ms) / 1_000);
        let lasts = left.clamp(1, LIFETIME_S);
        let key = self.server_key.with(&kept.hash);
        Ok((access_token::sign(&kept.token.id, key.as_ref(), now_ms / 1_000 + lasts)?, lasts))
    }

    /// Makes a token; its secret is shown this once.
    pub async fn create(&self, name: &str, right: Right, expires_ms: Option<i64>) -> Result<(Token, String)> {
        names::check_name("Token name", name)?;
        let now_ms = self.clock.now_ms();
        if expires_ms.is_some_and(|expires| expires <= now_ms) {
            return Err(Error::illegal("The token would have expired already: choose a later time"));
        }
        if self.read().by_id.len() >= limits::TOKENS_MAX {
            let max = limits::TOKENS_MAX;
            return Err(Error::invalid(format!("There are {max} tokens, the most there can be: revoke some")));
        }
        let secret = format!("{SECRET_PREFIX}{}", URL_SAFE_NO_PAD.encode(clock::random_bytes()?));
        let id = clock::new_uuid();
        let token = Token { id, name: name.to_owned(), right, created_ms: now_ms, expires_ms };
        let kept = Kept { token: token.clone(), hash: hash_of(&secret) };
        self.store.add_token(&kept.row()).await?;
        self.write().add(kept);
        Ok((token, secret))
    }

    /// Every token, the oldest first.
    pub async fn list(&self) -> Result<Vec<Token>> {
        self.store.tokens().await?.iter().map(|row| Kept::of(row).map(|kept| kept.token)).collect()
    }

    /// Ends a token, and all access tokens that were given for it, at once.
    pub async fn revoke(&self, id: &str) -> Result<()> {
        // First here: should the database fail, whoever was to be shut out is out until the next start.
        let removed = self.write().remove(id);
        if self.store.remove_token(id).await? || removed {
            return Ok(());
        }
        Err(Error::new(Kind::NotFound(What::Token), format!("Token does not exist: {id}")))
    }

    /// Closes the database that the tokens are in.
    pub async fn close(&self) {
        self.store.close().await;
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn add(&mut self, kept: Kept) {
        let kept = Arc::new(kept);
        self.by_hash.insert(kept.hash, Arc::clone(&kept));
        self.by_id.insert(kept.token.id.clone(), kept);
    }

    fn remove(&mut self, id: &str) -> bool {
        let kept = self.by_id.remove(id);
        kept.is_some_and(|kept| self.by_hash.remove(&kept.hash).is_some())
    }
}

impl Kept {
    fn of(row: &TokenRow) -> Result<Self> {
        let token = Token {
            id: row.id.clone(),
            name: row.name.clone(),
            right: Right::parse(&row.grants)?,
            created_ms: row.created_ms,
            expires_ms: row.expires_ms,
        };
        let byte = |at: usize| row.secret_hash.get(at..at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let hash: Option<Vec<u8>> = (0..64).step_by(2).map(byte).collect();
        let hash = hash.and_then(|hash| Hash::try_from(hash).ok());
        Ok(Self { token, hash: hash.ok_or_else(|| Error::internal("A token's hash is damaged"))? })
    }

    fn row(&self) -> TokenRow {
        let Token { id, name, right, created_ms, expires_ms } = self.token.clone();
        let secret_hash = self.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        TokenRow { id, name, grants: right.as_str().to_owned(), secret_hash, created_ms, expires_ms }
    }
}

fn hash_of(secret: &str) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
    hash
}

/// Who calls is not known.
pub fn unauthenticated(why: &str) -> Error {
    Error::new(Kind::Unauthenticated, why)
}
