//! What can go wrong, in words that know neither HTTP nor SQL.
//!
//! An [`Error`] has a [`Kind`], chosen by what the *caller* must do next, a message that names the thing, the value,
//! the rule and the way out, and, for the log alone, the error that caused it. `Display` prints the message and never
//! the source, so that a chain can be printed without stutter and nothing internal reaches a client by accident.
//! `http/error.rs` is the one place that turns a kind into a status.

use std::error::Error as StdError;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kinds of thing that can be missing or already there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum What {
    /// A warehouse, named by the client or the configuration.
    Warehouse,
    /// A namespace.
    Namespace,
    /// A table.
    Table,
    /// A view.
    View,
    /// A function.
    Function,
    /// A metadata file or other object of the warehouse.
    File,
    /// The plan of a scan.
    Plan,
    /// A part of the plan of a scan.
    PlanTask,
    /// A token of those who may call.
    Token,
    /// A request that was made before, or who made it.
    Request,
    /// A route of the HTTP interface.
    Route,
}

/// What the caller must do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// The thing does not exist: create it or name another.
    NotFound(What),
    /// The name is taken: choose another.
    AlreadyExists(What),
    /// The namespace still holds something: empty it first.
    NotEmpty,
    /// The request cannot be read: mend its syntax or shape.
    Malformed,
    /// An argument is out of its range.
    Illegal,
    /// The request is well-formed but breaks a rule of tables.
    Invalid,
    /// The rows or fields do not fit, or a key was used for something else.
    Unprocessable,
    /// Somebody else was first: load again and retry.
    Conflict,
    /// The table's spec is not the one the request asks for.
    SpecDiffers,
    /// Who asks is not known: send a valid token.
    Unauthenticated,
    /// Not allowed: to nobody, or not to who asks.
    Forbidden,
    /// More bytes, rows or levels than a limit allows.
    TooLarge,
    /// A format or encoding that is not spoken here.
    UnsupportedMedia,
    /// A method that this route does not have.
    MethodNotAllowed,
    /// Not supported by this server or warehouse.
    Unsupported,
    /// This table's share of the memory is used up: slow down and try again.
    Busy,
    /// Certainly nothing happened; the server is full or the store is down: try again later.
    Unavailable,
    /// The outcome is open: the commit may have landed. Clean nothing up, ask again.
    CommitUnknown,
    /// Not done in the time the caller gave; it may still be.
    Pending,
    /// Something that should not happen; the log says more.
    Internal,
}

/// An error: a kind, a message for the caller, a source for the log.
pub struct Error {
    kind: Kind,
    code: Option<&'static str>,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` that says `message` to whoever asked.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, code: None, message: message.into(), source: None }
    }

    /// The request cannot be read.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::new(Kind::Malformed, message)
    }

    /// An argument is out of range.
    pub fn illegal(message: impl Into<String>) -> Self {
        Self::new(Kind::Illegal, message)
    }

    /// A rule of tables is broken.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// Somebody else was first.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    /// Should not happen.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// Gives the error a stable code of its own, for programs that branch on it.
    #[must_use]
    pub fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// Keeps what caused this error, for the log.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same error with words put before its message.
    #[must_use]
    pub fn context(mut self, before: impl fmt::Display) -> Self {
        self.message = format!("{before}: {}", self.message);
        self
    }

    /// The same message and source under another kind.
    #[must_use]
    pub fn as_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// The same error, caused by a panic of ours.
    #[must_use]
    pub fn because_of_panic(self, cause: &(dyn std::any::Any + Send)) -> Self {
        let text = cause.downcast_ref::<&str>().copied().or_else(|| cause.downcast_ref::<String>().map(String::as_str));
        self.because(text.unwrap_or_default())
    }

    /// The same error for another who waits; its source stays with the original, which is logged.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self { kind: self.kind, code: self.code, message: self.message.clone(), source: None }
    }

    /// What the caller must do.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The stable code, where the error has one of its own.
    pub fn code(&self) -> Option<&'static str> {
        self.code
    }

    /// What the caller may see.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the thing asked for was not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self.kind, Kind::NotFound(_))
    }

    /// Message and causes on one line, for the log.
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut next = self.source();
        while let Some(error) = next {
            text.push_str(": ");
            text.push_str(&error.to_string());
            next = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.chain())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
