//! Keys that were lent, kept until half of their life is over.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;

use super::Access;
use crate::error::Error;
use crate::lake::location::Location;
use crate::limits;

/// Why no keys were lent.
#[derive(Debug)]
pub(super) enum NotLent {
    /// No policy can say where the table is.
    NoPolicy(&'static str),
    /// The store's service says no, or there is none.
    Refused(Error),
    /// It could not be asked.
    Unreachable(Error),
}

impl NotLent {
    /// The error where keys must be lent.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::NoPolicy(why) => Error::new(crate::error::Kind::Forbidden, why),
            Self::Refused(error) | Self::Unreachable(error) => error,
        }
    }

    fn copy(&self) -> Self {
        match self {
            Self::NoPolicy(why) => Self::NoPolicy(why),
            Self::Refused(error) => Self::Refused(error.copy()),
            Self::Unreachable(error) => Self::Unreachable(error.copy()),
        }
    }
}

/// What was lent for some time.
pub(super) trait Lasting: Send + Sync + 'static {
    /// How long it was good for when it was lent.
    fn lasts(&self) -> Duration;
}

/// What is lent for, and with which right.
pub(super) type Of = (Access, Vec<Location>);

/// What was lent lately.
#[derive(Debug)]
pub(super) struct Lending<T: Lasting>(Cache<Of, Arc<T>>);

impl<T: Lasting> Default for Lending<T> {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(limits::LENT_KEYS_MAX).expire_after(UntilHalfOver).build())
    }
}

impl<T: Lasting> Lending<T> {
    /// What was lent for this, or is lent now. Who asks at the same time is answered the same; what went wrong is not kept.
    pub(super) async fn get(&self, of: Of, lend: impl Future<Output = Result<T, NotLent>>) -> Result<Arc<T>, NotLent> {
        let lent = self.0.try_get_with(of, async { lend.await.map(Arc::new) }).await;
        lent.map_err(|refused: Arc<NotLent>| refused.copy())
    }
}

struct UntilHalfOver;

impl<T: Lasting> moka::Expiry<Of, Arc<T>> for UntilHalfOver {
    fn expire_after_create(&self, _: &Of, lent: &Arc<T>, _: std::time::Instant) -> Option<Duration> {
        Some(lent.lasts().min(limits::LENT_KEYS) / 2)
    }
}
