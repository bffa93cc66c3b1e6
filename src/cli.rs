//! The command line.

mod check;
mod ingest;
mod place;
mod remote;
mod tables;
mod token;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use remote::Remote;

use crate::app::{App, DataDirLock};
use crate::auth::Mode;
use crate::config::{Config, Environment, Flags};
use crate::error::{Error, Kind, Result};
use crate::{demo, http, telemetry};

/// An Apache Iceberg REST catalog, an HTTP ingest endpoint and a table keeper in one binary.
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the server
    Serve(Serve),
    /// Start a server with a table of real flights in it, and show what to try
    Demo(Demo),
    /// Say in words what is wrong with configuration, database and warehouse, if anything is
    Check(check::CheckArgs),
    /// Push files into tables through a running server, every row once
    Ingest(ingest::IngestArgs),
    /// List tables, show what one was, make it so again
    Tables(tables::TablesArgs),
    /// Make, list and revoke the tokens of those who may call
    Token(token::TokenArgs),
    /// Print the API's description (OpenAPI 3.1)
    Openapi,
}

/// Where settings come from beside the environment.
#[derive(Debug, Clone, Args)]
struct Common {
    /// The configuration file; ./floeberg.toml if it is there
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the database, the lock and the default warehouse are
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// A location outside the warehouse that tables may have too
    #[arg(long, value_name = "URL")]
    allow_location: Vec<String>,
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    common: Common,
    /// Where to listen; port 0 takes any
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Keep data in a fresh temporary directory and remove it at exit
    #[arg(long, conflicts_with = "data_dir")]
    ephemeral: bool,
    /// Listen beyond this machine although nobody has to log in
    #[arg(long)]
    insecure_no_auth: bool,
}

#[derive(Debug, Args)]
struct Demo {
    /// Where the demo keeps its data; used again the next time
    #[arg(long, value_name = "DIR", default_value = "floeberg-demo")]
    dir: PathBuf,
}

/// Runs the command and says how it went.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(cli.command)),
        Err(error) => Err(Error::internal("The runtime cannot be started").because(error)),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            say(&mut std::io::stderr(), &format!("floeberg: {}\n", error.chain()));
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Serve(args) => serve(args).await,
        Command::Demo(args) => demo(args).await,
        Command::Check(args) => check::run(args).await,
        Command::Ingest(args) => ingest::run(args).await,
        Command::Tables(args) => tables::run(args).await,
        Command::Token(args) => token::run(args).await,
        Command::Openapi => {
            let text = http::document().to_pretty_json();
            let text = text.map_err(|error| Error::internal("The document cannot be written").because(error))?;
            say(&mut std::io::stdout(), &(text + "\n"));
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl Common {
    fn flags(self) -> Flags {
        Flags { config: self.config, data_dir: self.data_dir, allow_location: self.allow_location, ..Flags::default() }
    }
}

fn load(flags: &Flags) -> Result<Config> {
    let here =
        std::env::current_dir().map_err(|error| Error::internal("There is no current directory").because(error))?;
    Config::load(flags, &Environment::of_process(), &here)
}

async fn serve(args: Serve) -> Result<ExitCode> {
    let (listen, insecure_no_auth) = (args.listen, args.insecure_no_auth);
    let mut flags = Flags { listen, insecure_no_auth, ..args.common.flags() };
    let ephemeral = if args.ephemeral { Some(Ephemeral::new()?) } else { None };
    if let Some(ephemeral) = &ephemeral {
        flags.data_dir = Some(ephemeral.0.clone());
    }
    let config = load(&flags)?;
    telemetry::start_logging(&config.log_level, config.log_format)?;
    let stop = stop_signal();
    let app = App::open(&config).await?;
    say(&mut std::io::stdout(), &start_up_block(&config, &app));
    match config.auth {
        Mode::Open if !app.address().ip().is_loopback() => {
            tracing::warn!(address = %app.address(), "everybody who reaches this address can do everything: no authentication is on");
        }
        Mode::Token if app.access().is_empty() => {
            tracing::warn!(
                "there is no token, so nobody can call: stop the server and run floeberg token create --admin"
            );
        }
        _ => {}
    }
    app.run(stop).await?;
    drop(ephemeral);
    Ok(ExitCode::SUCCESS)
}

async fn demo(args: Demo) -> Result<ExitCode> {
    let here =
        std::env::current_dir().map_err(|error| Error::internal("There is no current directory").because(error))?;
    let usual = std::net::TcpListener::bind("127.0.0.1:8181").map(drop);
    let listen = if usual.is_ok() { "127.0.0.1:8181" } else { "127.0.0.1:0" };
    let flags = Flags { data_dir: Some(args.dir), listen: Some(listen.to_owned()), ..Flags::default() };
    // The demo is the same for everybody: no file and no variable of another server's changes it.
    let config = Config::load_alone(&flags, &here)?;
    telemetry::start_logging("warn", config.log_format)?;
    let signalled = stop_signal();
    let app = App::open(&config).await?;
    say(&mut std::io::stdout(), &start_up_block(&config, &app));
    let (url, catalog) = (app.url(), app.catalog());
    let warehouse = config.data_dir.join("warehouse");
    let show = async move {
        let table = demo::table()?;
        let known = catalog.load_table(&table).await;
        let text = if known.is_ok() {
            "The flights are here from the last time.\n".to_owned()
        } else {
            let started = crate::clock::tick();
            let rows = demo::push_sample(&url).await?;
            format!("Pushed {rows} flights over HTTP and committed them in {} ms.\n", started.elapsed().as_millis())
        };
        let loaded = catalog.load_table(&table).await?;
        let about = demo::describe(&loaded, &warehouse)?;
        say(
            &mut std::io::stdout(),
            &format!("\n{text}\n{about}\n{}\nThe server goes on. Stop with Ctrl-C.\n", demo::snippets(&url)),
        );
        Ok(())
    };
    let (stop, failed) = tokio::sync::oneshot::channel::<Error>();
    tokio::spawn(async move {
        match show.await {
            Ok(()) => std::future::pending::<()>().await,
            Err(error) => drop(stop.send(error)),
        }
    });
    let mut outcome = Ok(ExitCode::SUCCESS);
    let ended = async {
        tokio::select! {
            () = signalled => {}
            error = failed => outcome = error.map_or(Ok(ExitCode::FAILURE), Err),
        }
    };
    app.run(ended).await?;
    outcome
}

fn start_up_block(config: &Config, app: &App) -> String {
    let url = app.url();
    let mut warehouses = String::new();
    for catalog in app.catalogs() {
        let (name, root) = (catalog.warehouse().name(), catalog.warehouse().root());
        let label = if warehouses.is_empty() { "Warehouse" } else { "" };
        warehouses.push_str(&format!("\x20 {label:<22} {name} at {root}\n"));
    }
    format!(
        "floeberg {version} is ready\n\
         \n\
         \x20 Iceberg REST catalog   {url}\n\
         \x20 Push rows              {url}/ingest/v1/NAMESPACE/TABLE\n\
         \x20 Documentation          {url}/docs/\n\
         \x20 Health and metrics     {url}/health/ready  {url}/metrics\n\
         {warehouses}\
         \x20 Data directory         {data}\n\
         \n\
         Stop with Ctrl-C.\n",
        version = env!("CARGO_PKG_VERSION"),
        data = config.data_dir.display(),
    )
}

/// Done at the first SIGINT or SIGTERM; a second one ends the process at once. Both are received from the call on, not
/// only once somebody waits.
fn stop_signal() -> impl Future<Output = ()> + Send {
    use tokio::signal::unix::{SignalKind, signal};
    let signals =
        signal(SignalKind::interrupt()).and_then(|interrupt| Ok((interrupt, signal(SignalKind::terminate())?)));
    async move {
        let Ok((mut interrupt, mut terminate)) = signals else {
            tracing::error!("signals cannot be received: the server stops only when it is killed");
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping: requests under way are finished; a second signal ends the process at once");
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            std::process::exit(130);
        });
    }
}

/// The URL of the server that holds the data directory, if one does.
fn holder(config: &Config) -> Option<String> {
    DataDirLock::holder(&config.data_dir).map(|address| format!("http://{address}{}", config.base_path))
}

/// Writes to a terminal or pipe that may be gone.
fn say(out: &mut impl Write, text: &str) {
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// A directory that goes when the server does.
struct Ephemeral(PathBuf);

impl Ephemeral {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("floeberg-{}", crate::clock::new_uuid()));
        std::fs::create_dir(&path).map_err(|error| {
            Error::new(Kind::Unavailable, format!("Temporary directory {} cannot be made", path.display()))
                .because(error)
        })?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Ephemeral {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(self.path()));
    }
}
