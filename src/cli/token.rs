//! `floeberg token create | list | revoke`: at a running server, or in a data directory that nobody has open.

use std::io::{stderr, stdout};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;

use super::place::{Found, Place};
use super::remote::read;
use super::{Remote, say};
use crate::app::{DataDirLock, open_store, server_key};
use crate::auth::{Access, Right};
use crate::clock::{self, Clock};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::http::{MadeToken, TokenBody, TokenList, WantedToken};

/// `floeberg token …`
#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token and print its secret, this once
    Create(Create),
    /// Print every token, without its secret
    List(Place),
    /// End a token at once
    Revoke(Revoke),
}

#[derive(Debug, Args)]
struct Create {
    #[command(flatten)]
    place: Place,
    /// What people call it
    #[arg(long, default_value = "admin", required_unless_present = "admin")]
    name: String,
    /// What it may do
    #[arg(long, value_enum, default_value_t = Word::Write, conflicts_with = "admin")]
    right: Word,
    /// It may do everything: the same as --right admin
    #[arg(long)]
    admin: bool,
    /// How long it lasts, such as 12h or 30d; for ever if absent
    #[arg(long, value_name = "TIME")]
    expires_in: Option<String>,
}

#[derive(Debug, Args)]
struct Revoke {
    #[command(flatten)]
    place: Place,
    /// The token's id, as `token list` prints it
    id: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Word {
    Read,
    Write,
    Admin,
}

impl Word {
    fn right(self) -> Right {
        match self {
            Self::Read => Right::Read,
            Self::Write => Right::Write,
            Self::Admin => Right::Admin,
        }
    }
}

/// Where tokens are changed.
enum Tokens {
    At(Remote, String),
    In(Box<Access>, #[expect(dead_code, reason = "held until the end")] DataDirLock),
}

/// Runs the command.
pub(super) async fn run(args: TokenArgs) -> Result<ExitCode> {
    match args.command {
        TokenCommand::Create(create) => create.run().await?,
        TokenCommand::List(place) => {
            let tokens = Tokens::open(place).await?;
            let list = tokens.list().await;
            tokens.close().await;
            let lines: Vec<String> = list?.iter().map(line).collect();
            say(&mut stdout(), &lines.concat());
        }
        TokenCommand::Revoke(Revoke { place, id }) => {
            let tokens = Tokens::open(place).await?;
            let revoked = tokens.revoke(&id).await;
            tokens.close().await;
            revoked?;
            say(&mut stderr(), &format!("Token {id} is revoked.\n"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Create {
    /// The secret goes to standard output alone, so that a script can take it; what it is, to standard error.
    async fn run(self) -> Result<()> {
        let right = if self.admin { Right::Admin } else { self.right.right() };
        let lasts_ms = self.expires_in.as_deref().map(lasts_ms).transpose()?;
        let expires = lasts_ms.map(|ms| clock::rfc3339(Clock::system().now_ms().saturating_add(ms)));
        let wanted = WantedToken { name: self.name, right: right.as_str().to_owned(), expires };
        let tokens = Tokens::open(self.place).await?;
        let made = tokens.create(&wanted).await;
        tokens.close().await;
        let made = made?;
        say(&mut stderr(), &format!("{}Its secret, shown this once:\n", line(&made.token)));
        say(&mut stdout(), &format!("{}\n", made.secret));
        Ok(())
    }
}

fn lasts_ms(text: &str) -> Result<i64> {
    let days =
        text.strip_suffix('d').and_then(|days| days.parse::<i64>().ok()).and_then(|days| days.checked_mul(86_400_000));
    let short = || clock::duration_of(text).and_then(|time| i64::try_from(time.as_millis()).ok());
    days.or_else(short)
        .filter(|ms| *ms > 0)
        .ok_or_else(|| Error::illegal(format!("--expires-in {text:?} is not a time, such as 12h or 30d")))
}

fn line(token: &TokenBody) -> String {
    let expires = token.expires.as_deref().unwrap_or("never");
    let TokenBody { id, name, right, created, .. } = token;
    format!("{id}  {right:<5}  made {created}  expires {expires}  {name}\n")
}

impl Tokens {
    async fn open(place: Place) -> Result<Self> {
        match place.find()? {
            Found::Server(remote, url) => Ok(Self::At(remote, url)),
            Found::Directory(config) => Self::in_directory(&config).await,
        }
    }

    async fn in_directory(config: &Config) -> Result<Self> {
        let lock = DataDirLock::take(&config.data_dir)?;
        let clock = Clock::system();
        let store = open_store(config, &clock).await?;
        Ok(Self::In(Box::new(Access::open(config.auth, store, clock, server_key(&config.data_dir)?).await?), lock))
    }

    async fn create(&self, wanted: &WantedToken) -> Result<MadeToken> {
        match self {
            Self::At(remote, url) => {
                let body = serde_json::to_string(wanted);
                let body = body.map_err(|error| Error::internal("JSON cannot be written").because(error))?;
                read(&remote.ask(Method::POST, url, "/manage/v1/tokens", Some(body)).await?)
            }
            Self::In(access, _) => {
                let (right, expires_ms) = wanted.parse()?;
                let (token, secret) = access.create(&wanted.name, right, expires_ms).await?;
                Ok(MadeToken { token: token.into(), secret })
            }
        }
    }

    async fn list(&self) -> Result<Vec<TokenBody>> {
        match self {
            Self::At(remote, url) => {
                let list: TokenList = read(&remote.ask(Method::GET, url, "/manage/v1/tokens", None).await?)?;
                Ok(list.tokens)
            }
            Self::In(access, _) => Ok(access.list().await?.into_iter().map(TokenBody::from).collect()),
        }
    }

    async fn revoke(&self, id: &str) -> Result<()> {
        match self {
            Self::At(remote, url) => {
                remote.ask(Method::DELETE, url, &format!("/manage/v1/tokens/{id}"), None).await.map(drop)
            }
            Self::In(access, _) => access.revoke(id).await,
        }
    }

    async fn close(&self) {
        if let Self::In(access, _) = self {
            access.close().await;
        }
    }
}
