//! `floeberg check`: is all well, here or at a running server?

use std::process::ExitCode;

use clap::Args;
use reqwest::Method;

use super::{Common, Remote, holder, load, say};
use crate::app::{self, DataDirLock};
use crate::catalog::check::{Check, Report};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::warehouses::Upkeep;

/// `floeberg check`
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    remote: Remote,
}

/// Runs the command.
pub(super) async fn run(args: CheckArgs) -> Result<ExitCode> {
    let CheckArgs { common, remote } = args;
    if let Some(url) = remote.url.clone() {
        return Ok(report(&ask(&remote, &url).await));
    }
    let config = match load(&common.flags()) {
        Ok(config) => config,
        Err(error) => return Ok(report(&Report::of(vec![Check::of("configuration", Err(error))]))),
    };
    if let Some(url) = holder(&config) {
        return Ok(report(&ask(&remote, &url).await));
    }
    let _lock = DataDirLock::take(&config.data_dir)?;
    let mut checks = vec![Check::of("configuration", Ok(format!("valid; data in {}", config.data_dir.display())))];
    match app::open_warehouses(&config, &Clock::system(), Upkeep::Rests).await {
        Ok((warehouses, _)) => {
            checks.extend(warehouses.set().report().await.checks);
            warehouses.store().close().await;
        }
        Err(error) => checks.push(Check::of("database and warehouses", Err(error))),
    }
    Ok(report(&Report::of(checks)))
}

/// What a running server says of itself. The report needs an administrator's token; without one, that it is ready decides.
async fn ask(remote: &Remote, url: &str) -> Report {
    let ready = remote.ask(Method::GET, url, "/health/ready", None).await.map(|_| format!("{url} is ready"));
    if ready.is_err() {
        return Report::of(vec![Check::of("server", ready)]);
    }
    let mut checks = vec![Check::of("server", ready)];
    match remote.send(Method::GET, url, "/manage/v1/check", None).await {
        Ok(answer) if matches!(answer.status, 401 | 403) => {}
        Ok(answer) => match serde_json::from_str::<Report>(&answer.text) {
            Ok(report) => checks.extend(report.checks),
            Err(error) => checks.push(Check::of("report", Err(Error::internal("it cannot be read").because(error)))),
        },
        Err(error) => checks.push(Check::of("report", Err(error))),
    }
    Report::of(checks)
}

fn report(report: &Report) -> ExitCode {
    let mut text = String::new();
    for check in &report.checks {
        let mark = if check.ok { "ok    " } else { "FAILED" };
        text.push_str(&format!("{mark}  {}: {}\n", check.name, check.detail));
    }
    say(&mut std::io::stdout(), &text);
    if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
