//! `floeberg ingest`: files into tables, through a running server, every row once.
//!
//! A file is cut into stripes and a stripe into requests, at places that follow from the file alone. A stripe is a producer
//! of its table (`X-Producer-Id`), whose requests the server takes once and in order. So the command may be stopped, killed
//! or cut off from the server at any time: run again, it asks how far each stripe is and goes on. A file is another one when
//! its place, size or time changed.
//!
//! It fails before the first row where it does not know what is meant, or nobody answers. A file that is refused ends alone;
//! the exit status is 1 if one did.

mod chunks;
mod columns;
mod errand;
mod input;
mod judge;
mod names;
mod objects;
mod plan;
mod progress;
mod send;
mod sources;
mod stripes;
mod text;

use std::io::{stderr, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use self::errand::Errand;
use self::names::Format;
use self::progress::Progress;
use self::send::{Address, Server};
use super::{holder, load, say};
use crate::config::{Config, Environment, Flags};
use crate::error::{Error, Kind, Result};

/// `floeberg ingest …`
#[derive(Debug, Args)]
pub(super) struct IngestArgs {
    /// Files, patterns such as 'logs/*.ndjson.gz' or those of a bucket's objects (`s3://bucket/day/*.parquet`), or - for standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
    /// The table; without it, what stands before the extension of each file: sales.orders.ndjson
    #[arg(long, value_name = "NAMESPACE.TABLE")]
    table: Option<String>,
    /// What the files are written in; without it, what their extensions say
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// How many requests are under way at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    parallel: u8,
    /// What becomes of rows that do not fit; without it, what the table says
    #[arg(long, value_enum)]
    on_error: Option<OnError>,
    /// A parameter of the requests, such as `partition_by=day(time)`; may be given several times
    #[arg(long = "param", value_name = "NAME=VALUE")]
    params: Vec<String>,
    /// Send to this running server; without it, to the one that has the data directory open
    #[arg(long)]
    url: Option<String>,
    /// The token to send with; `FLOEBERG_TOKEN` if absent
    #[arg(long)]
    token: Option<String>,
    /// The configuration file that names the data directory; ./floeberg.toml if it is there
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data directory whose server is meant
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// What becomes of rows that do not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnError {
    /// The file ends there
    Abort,
    /// They are left out
    Skip,
    /// They are put, with the reason, into the table beside it
    Dlq,
}

impl OnError {
    fn as_str(self) -> &'static str {
        match self {
            Self::Abort => "abort",
            Self::Skip => "skip",
            Self::Dlq => "dlq",
        }
    }
}

impl IngestArgs {
    /// The parameters that were given.
    fn params(&self) -> Result<Vec<(&str, &str)>> {
        self.params.iter().map(|param| of_param(param)).collect()
    }

    fn address(&self) -> Result<Address> {
        let mut params: Vec<(String, String)> = Vec::new();
        params.extend(self.on_error.map(|word| ("on_error".to_owned(), word.as_str().to_owned())));
        params.extend(self.params()?.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        let token = self.token.clone().or_else(|| Environment::of_process().token());
        Ok(Address { url: self.server()?, token, params })
    }

    fn config(&self) -> Result<Config> {
        let (config, data_dir) = (self.config.clone(), self.data_dir.clone());
        // Nobody listens here.
        load(&Flags { config, data_dir, insecure_no_auth: true, ..Flags::default() })
    }

    /// The server that is named, else the one that has the data directory open.
    fn server(&self) -> Result<String> {
        if let Some(url) = &self.url {
            return Ok(url.trim_end_matches('/').to_owned());
        }
        let config = self.config()?;
        holder(&config).ok_or_else(|| {
            let message = format!(
                "No server has {} open: start one with floeberg serve, or name one with --url",
                config.data_dir.display()
            );
            Error::new(Kind::Unavailable, message)
        })
    }
}

/// Reads `name=value`.
fn of_param(text: &str) -> Result<(&str, &str)> {
    match text.split_once('=') {
        Some(("ack", _)) => Err(Error::illegal("--param ack cannot be set: only rows that are committed are over")),
        Some((name, value)) if !name.is_empty() => Ok((name, value)),
        _ => Err(Error::illegal(format!("--param {text:?} is not NAME=VALUE, such as partition_by=day(time)"))),
    }
}

/// Runs the command.
pub(super) async fn run(args: IngestArgs) -> Result<ExitCode> {
    let files = plan::files(&args).await?;
    let bytes = files.iter().map(|file| file.entry.size).sum();
    let progress = Arc::new(Progress::new(files.len(), bytes));
    let server = Server::new(args.address()?, Arc::clone(&progress))?;
    server.reach().await?;
    let errand = Errand::new(server, Arc::clone(&progress), usize::from(args.parallel));
    let drawn = progress.drawn();
    let failed = tokio::select! {
        failed = errand.run(files) => failed,
        _ = tokio::signal::ctrl_c() => {
            progress.clear();
            say(&mut stderr(), "Stopped. The same command goes on from here; what comes by - begins anew.\n");
            say(&mut stdout(), &progress.summary());
            std::process::exit(130);
        }
    };
    drawn.abort();
    drop(drawn.await);
    progress.clear();
    say(&mut stdout(), &progress.summary());
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod memory;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: IngestArgs,
    }

    fn args(line: &str) -> IngestArgs {
        Command::parse_from(line.split(' ')).args
    }

    #[test]
    fn parameters_are_names_and_values() {
        for (text, parts) in
            [("a=b", Some(("a", "b"))), ("sort_by=a=b", Some(("sort_by", "a=b"))), ("a=", Some(("a", "")))]
        {
            assert_eq!(of_param(text).ok(), parts, "{text}");
        }
        for bad in ["", "a", "=b", "ack=wal"] {
            assert!(of_param(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_command_line_says_where_and_how() {
        let args = args("ingest --url http://h:1/ --on-error dlq --param warehouse=w --table a.b x.csv -");
        let address = args.address().expect("an address");
        assert_eq!(address.url, "http://h:1");
        let params: Vec<_> = address.params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(params, [("on_error", "dlq"), ("warehouse", "w")]);
        assert_eq!((args.files.len(), args.parallel, args.format), (2, 4, None));
    }

    #[tokio::test]
    async fn files_need_a_table_and_are_sent_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        for name in ["a.b.csv", "c.csv"] {
            std::fs::write(path(name), "x\n1\n").expect("written");
        }
        let planned = plan::files(&args(&format!("ingest {} {}", path("a.b.csv"), path("a.*.csv")))).await;
        let planned = planned.expect("planned");
        assert_eq!((planned.len(), planned[0].table.asked().as_str()), (1, "a.b"));
        let nameless = plan::files(&args(&format!("ingest {}", path("*.csv")))).await.expect_err("no table");
        assert!(nameless.message().contains("--table"), "{nameless}");
        let given = plan::files(&args(&format!("ingest --table t.u {}", path("*.csv")))).await.expect("planned");
        assert_eq!(given.iter().map(|file| file.table.asked()).collect::<Vec<_>>(), ["t.u", "t.u"]);
    }
}
