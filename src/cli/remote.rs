//! A running server, asked over HTTP.

use clap::Args;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Method};
use serde::de::DeserializeOwned;

use crate::config::Environment;
use crate::error::{Error, Kind, Result};

/// Which server, and who asks.
#[derive(Debug, Clone, Args)]
pub(super) struct Remote {
    /// Ask this running server; without it, the one that has the data directory open
    #[arg(long)]
    pub(super) url: Option<String>,
    /// The token to ask with; `FLOEBERG_TOKEN` if absent
    #[arg(long)]
    token: Option<String>,
}

/// What a server answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) text: String,
}

impl Remote {
    /// Sends a request; an answer that says no is one too.
    pub(super) async fn send(&self, method: Method, base: &str, path: &str, body: Option<String>) -> Result<Answer> {
        let url = format!("{}{path}", base.trim_end_matches('/'));
        let unreachable =
            |error: reqwest::Error| Error::new(Kind::Unavailable, format!("{url} does not answer")).because(error);
        let client = Client::builder().timeout(std::time::Duration::from_secs(30)).build().map_err(unreachable)?;
        let mut request = client.request(method, &url);
        if let Some(token) = self.token.clone().or_else(|| Environment::of_process().token()) {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status().as_u16();
        Ok(Answer { status, text: response.text().await.map_err(unreachable)? })
    }

    /// Sends a request and returns the body of its answer, if that is a yes.
    pub(super) async fn ask(&self, method: Method, base: &str, path: &str, body: Option<String>) -> Result<String> {
        self.send(method, base, path, body).await?.agreed(base)
    }
}

impl Answer {
    /// The body, if it is a yes of who was asked.
    pub(super) fn agreed(self, asked: &str) -> Result<String> {
        let Self { status, text } = self;
        if (200..300).contains(&status) {
            return Ok(text);
        }
        let said = serde_json::from_str::<serde_json::Value>(&text).ok();
        let said = said.as_ref().and_then(|said| said["detail"].as_str().or_else(|| said["error"]["message"].as_str()));
        Err(Error::new(Kind::Unavailable, format!("{asked} answers {status}: {}", said.unwrap_or(&text))))
    }
}

/// What a server's answer says.
pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::internal("The server's answer cannot be read").because(error))
}
