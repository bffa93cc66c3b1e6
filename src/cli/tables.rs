//! `floeberg tables list | show | rollback`: at a running server, or in a data directory that nobody has open.

use std::io::stdout;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::place::{Found, Place};
use super::remote::{Answer, read};
use super::{Remote, say};
use crate::app::App;
use crate::auth::Mode;
use crate::clock;
use crate::error::{Error, Result};
use crate::http::{MetadataLogBody, RolledBack, WantedRollback};

/// `floeberg tables …`
#[derive(Debug, Args)]
pub(super) struct TablesArgs {
    #[command(subcommand)]
    command: TablesCommand,
}

#[derive(Debug, Subcommand)]
enum TablesCommand {
    /// Print the names of all tables
    List(Where),
    /// Print what a table is and was, also where its current metadata file is damaged
    Show(Show),
    /// Make a table again what it was
    Rollback(Rollback),
}

/// Which server or directory, and which warehouse of it.
#[derive(Debug, Args)]
struct Where {
    #[command(flatten)]
    place: Place,
    /// The warehouse; the default one if absent
    #[arg(long, value_name = "NAME", default_value = "")]
    warehouse: String,
}

#[derive(Debug, Args)]
struct Show {
    #[command(flatten)]
    asked: Where,
    /// The table, as `tables list` prints it
    #[arg(value_name = "NAMESPACE.TABLE")]
    table: String,
}

#[derive(Debug, Args)]
struct Rollback {
    #[command(flatten)]
    show: Show,
    /// An earlier metadata file, as `tables show` prints it, or the id of a snapshot
    #[arg(long, value_name = "FILE|SNAPSHOT")]
    to: String,
}

/// Where is asked.
enum Server {
    At(Remote, String),
    /// Opened for this command alone: it asks itself, and listens to nobody.
    Here(Box<App>),
}

/// Runs the command.
pub(super) async fn run(args: TablesArgs) -> Result<ExitCode> {
    let asked = match &args.command {
        TablesCommand::List(asked) => asked,
        TablesCommand::Show(show) | TablesCommand::Rollback(Rollback { show, .. }) => &show.asked,
    };
    let server = Server::open(asked.place.clone()).await?;
    let query = format!("warehouse={}", encoded(&asked.warehouse));
    let done = match &args.command {
        TablesCommand::List(_) => list(&server, &query).await,
        TablesCommand::Show(Show { table, .. }) => show(&server, &query, table).await,
        TablesCommand::Rollback(Rollback { show, to }) => roll_back(&server, &query, &show.table, to).await,
    };
    server.close().await?;
    say(&mut stdout(), &done?);
    Ok(ExitCode::SUCCESS)
}

async fn list(server: &Server, query: &str) -> Result<String> {
    let config: Value = server.get(&format!("/v1/config?{query}")).await?;
    let base = match config["overrides"]["prefix"].as_str() {
        Some(prefix) => format!("/v1/{prefix}/namespaces"),
        None => "/v1/namespaces".to_owned(),
    };
    let mut lines = Vec::new();
    let mut waiting = vec![Vec::new()];
    while let Some(levels) = waiting.pop() {
        let parent = levels.iter().map(|level: &String| encoded(level)).collect::<Vec<_>>().join("%1F");
        let inside: Value = server.get(&format!("{base}?parent={parent}")).await?;
        waiting.extend(serde_json::from_value::<Vec<Vec<String>>>(inside["namespaces"].clone()).unwrap_or_default());
        if levels.is_empty() {
            continue;
        }
        let tables: Value = server.get(&format!("{base}/{parent}/tables")).await?;
        for table in tables["identifiers"].as_array().into_iter().flatten() {
            let name = table["name"].as_str().unwrap_or_default();
            lines.push(format!("{}.{name}\n", levels.iter().map(|level| dotted(level)).collect::<Vec<_>>().join(".")));
        }
    }
    lines.sort_unstable();
    Ok(lines.concat())
}

async fn show(server: &Server, query: &str, table: &str) -> Result<String> {
    let log: MetadataLogBody = server.get(&format!("{}/metadata-log?{query}", path_of(table)?)).await?;
    let mut text = format!("{table}\n  metadata   {}\n", log.metadata_location);
    if let Some(damage) = &log.damage {
        text.push_str(&format!("  DAMAGED    {damage}\n"));
    }
    for file in &log.earlier {
        let made = file.timestamp_ms.map_or_else(|| "earlier             ".to_owned(), clock::rfc3339);
        text.push_str(&format!("  {made}  {}\n", file.metadata_location));
    }
    Ok(text)
}

async fn roll_back(server: &Server, query: &str, table: &str, to: &str) -> Result<String> {
    let wanted = match to.parse() {
        Ok(id) => WantedRollback { snapshot_id: Some(id), ..WantedRollback::default() },
        Err(_) => WantedRollback { metadata_location: Some(to.to_owned()), ..WantedRollback::default() },
    };
    let body = serde_json::to_string(&wanted);
    let body = body.map_err(|error| Error::internal("The request cannot be written").because(error))?;
    let path = format!("{}/rollback?{query}", path_of(table)?);
    let done: RolledBack = read(&server.ask(Method::POST, &path, Some(body)).await?)?;
    let snapshot = done.current_snapshot_id.map_or_else(|| "no snapshot".to_owned(), |id| format!("snapshot {id}"));
    Ok(format!("{table} is at {snapshot} again, by {}\n", done.metadata_location))
}

/// The path of a table under `/manage/v1`: what stands before the last dot is its namespace.
fn path_of(table: &str) -> Result<String> {
    let parts = table.rsplit_once('.').filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
    let (namespace, name) =
        parts.ok_or_else(|| Error::illegal(format!("{table:?} is not NAMESPACE.TABLE, such as sales.orders")))?;
    // Dots join levels there too; one that stands in a level is written %2E already.
    let levels: Vec<String> = namespace.split('.').map(|level| encoded(level).replace("%25", "%")).collect();
    Ok(format!("/manage/v1/namespaces/{}/tables/{}", levels.join("."), encoded(name)))
}

/// A level, with a dot of its own written so that it joins nothing.
fn dotted(level: &str) -> String {
    level.replace('%', "%25").replace('.', "%2E")
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

impl Server {
    async fn open(place: Place) -> Result<Self> {
        let mut config = match place.find()? {
            Found::Server(remote, url) => return Ok(Self::At(remote, url)),
            Found::Directory(config) => config,
        };
        // Who may open the directory may do everything in it.
        config.auth = Mode::Open;
        config.listen = ([127, 0, 0, 1], 0).into();
        Ok(Self::Here(Box::new(App::open(&config).await?)))
    }

    async fn ask(&self, method: Method, path: &str, body: Option<String>) -> Result<String> {
        match self {
            Self::At(remote, url) => remote.ask(method, url, path, body).await,
            Self::Here(app) => {
                let (status, text) = app.ask(method, path, body.unwrap_or_default()).await?;
                Answer { status, text }.agreed("the data directory")
            }
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        read(&self.ask(Method::GET, path, None).await?)
    }

    async fn close(self) -> Result<()> {
        match self {
            Self::At(..) => Ok(()),
            Self::Here(app) => app.run(std::future::ready(())).await,
        }
    }
}
