//! A server that rows are sent to, and that says how far a producer is.
//!
//! A request is sent until its outcome is known: after an error of the network, and after an answer that leaves it open, the
//! same once more, with pauses that grow. When nothing helps for [`PATIENCE`] the server is given up, for all files.

use std::error::Error as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Url};
use serde_json::Value;

use super::chunks::{Chunk, Packing};
use super::judge::{Answer, Delivered, Standing, Trouble, of_rows, of_standing};
use super::names::{Table, encoded};
use super::progress::Progress;
use crate::clock;
use crate::error::{Error, Kind, Result};

/// How long a request is tried.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long the first request is: whoever mistyped an address is not kept waiting.
const FIRST_PATIENCE: Duration = Duration::from_secs(3);

/// The pauses between tries.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// How long an answer may take beyond what the server was told to take.
const ANSWER_WITHIN: Duration = Duration::from_secs(180);

/// Where to send, and what is said with every request.
#[derive(Debug)]
pub(super) struct Address {
    /// The server's URL.
    pub(super) url: String,
    /// Who sends.
    pub(super) token: Option<String>,
    /// Parameters of rows.
    pub(super) params: Vec<(String, String)>,
}

/// A server.
#[derive(Debug)]
pub(super) struct Server {
    client: Client,
    address: Address,
    query: String,
    warehouse: String,
    progress: Arc<Progress>,
    gone: AtomicBool,
}

/// A request with rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parcel<'a> {
    /// Where they go.
    pub(super) table: &'a Table,
    /// Whose they are.
    pub(super) producer: &'a str,
    /// How far that is without them.
    pub(super) from: Standing,
    /// They.
    pub(super) chunk: &'a Chunk,
}

/// How long something has been tried.
#[derive(Debug)]
pub(super) struct Patience {
    since: Instant,
    pause: Duration,
    most: Duration,
}

impl Patience {
    /// One that lasts.
    pub(super) fn new() -> Self {
        Self::of(PATIENCE)
    }

    fn of(most: Duration) -> Self {
        Self { since: clock::tick(), pause: PAUSE_FIRST, most }
    }

    fn is_over(&self) -> bool {
        self.since.elapsed() >= self.most
    }

    /// The next pause, which is not shorter than what the server asks for.
    fn next(&mut self, after: Option<Duration>) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_MAX);
        pause.max(after.unwrap_or_default())
    }
}

impl Server {
    /// The server at an address.
    pub(super) fn new(address: Address, progress: Arc<Progress>) -> Result<Self> {
        let said = |name: &str| address.params.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let within = said("timeout").and_then(clock::duration_of).unwrap_or_default() + ANSWER_WITHIN;
        // Rows that are sent elsewhere might become a question there.
        let client = Client::builder().redirect(reqwest::redirect::Policy::none());
        let client = client.connect_timeout(Duration::from_secs(10)).timeout(within).build();
        let client = client.map_err(|error| Error::internal("There is no HTTP client").because(error))?;
        let warehouse = said("warehouse").map_or_else(String::new, |name| format!("&warehouse={}", encoded(name)));
        let mut query = "ack=commit".to_owned();
        for (name, value) in &address.params {
            query.push_str(&format!("&{}={}", encoded(name), encoded(value)));
        }
        Ok(Self { client, address, query, warehouse, progress, gone: AtomicBool::new(false) })
    }

    /// How bodies go to it: what stays on this machine is not compressed.
    pub(super) fn packing(&self) -> Packing {
        if is_here(&self.address.url) { Packing::Plain } else { Packing::Zstd }
    }

    /// Whether rows that do not fit are left out, even where they are all there are.
    pub(super) fn skips(&self) -> bool {
        self.address.params.iter().any(|(name, value)| name == "on_error" && value == "skip")
    }

    /// Whether it was given up.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Makes sure that somebody is there.
    pub(super) async fn reach(&self) -> Result<()> {
        let (url, mut patience) = (&self.address.url, Patience::of(FIRST_PATIENCE));
        while let Err(trouble) = self.ask(self.client.get(format!("{url}/health/ready"))).await {
            let (why, may_help) = match trouble {
                Trouble::Again { why, .. } => (why, !patience.is_over()),
                Trouble::Refused(why) => (why, false),
            };
            if !may_help {
                let message = format!(
                    "{url} does not answer ({why}): start a server with floeberg serve, or name one with --url"
                );
                return Err(Error::new(Kind::Unavailable, message));
            }
            clock::sleep(patience.next(None)).await;
        }
        Ok(())
    }

    /// How far a producer is.
    pub(super) async fn standing(&self, table: &Table, producer: &str) -> Result<Standing> {
        let (url, table) = (&self.address.url, encoded(&table.asked()));
        let url = format!("{url}/ingest/v1?producer={}&table={table}{}", encoded(producer), self.warehouse);
        let mut patience = Patience::new();
        loop {
            let answer = self.ask(self.client.get(&url)).await;
            match answer.and_then(|answer| of_standing(&answer)) {
                Ok(standing) => return Ok(standing),
                Err(trouble) => self.bear(trouble, &mut patience).await?,
            }
        }
    }

    /// Sends rows until it is known what became of them.
    pub(super) async fn deliver(&self, parcel: Parcel<'_>) -> Result<Delivered> {
        let mut patience = Patience::new();
        let mut tried = false;
        loop {
            let answer = self.ask(self.post(parcel)).await;
            match answer.and_then(|answer| of_rows(&answer)) {
                // An earlier try was taken, and its answer did not come.
                Ok(Delivered::Known(counts)) if tried => return Ok(Delivered::Known(counts.ours())),
                Ok(delivered) => return Ok(delivered),
                Err(trouble) => self.bear(trouble, &mut patience).await?,
            }
            tried = true;
        }
    }

    fn post(&self, parcel: Parcel<'_>) -> RequestBuilder {
        let Parcel { table, producer, from, chunk } = parcel;
        let request = self
            .client
            .post(format!("{}{}?{}", self.address.url, table.path(), self.query))
            .header(CONTENT_TYPE, chunk.content_type)
            .header("x-producer-id", producer)
            .header("x-producer-epoch", "0")
            .header("x-producer-seq", from.next.to_string())
            .header("x-offset-token", from.after(chunk.next, chunk.last).token())
            .body(chunk.body.clone());
        match chunk.packing {
            Packing::Plain => request,
            Packing::Zstd => request.header(CONTENT_ENCODING, "zstd"),
        }
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Answer, Trouble> {
        let request = match &self.address.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let response = request.send().await.map_err(broken)?;
        let status = response.status().as_u16();
        let after = response.headers().get(RETRY_AFTER).and_then(|after| after.to_str().ok());
        let after = after.and_then(|after| after.parse().ok()).map(Duration::from_secs);
        let text = response.text().await.map_err(broken)?;
        let said = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status, after, said, text })
    }

    /// Waits, if that may help.
    async fn bear(&self, trouble: Trouble, patience: &mut Patience) -> Result<()> {
        match trouble {
            Trouble::Refused(why) => Err(Error::invalid(why)),
            Trouble::Again { after, why } => self.wait(patience, after, &why).await,
        }
    }

    /// Waits a while, or gives the server up.
    pub(super) async fn wait(&self, patience: &mut Patience, after: Option<Duration>, why: &str) -> Result<()> {
        if patience.is_over() || self.is_gone() {
            self.gone.store(true, Ordering::Relaxed);
            return Err(self.given_up(why));
        }
        self.progress.waits(why);
        clock::sleep(patience.next(after)).await;
        Ok(())
    }

    /// What is said of files that are not sent any more.
    pub(super) fn given_up(&self, why: &str) -> Error {
        Error::new(Kind::Unavailable, format!("{} is given up: {why}", self.address.url))
    }
}

/// What an error of the network means.
fn broken(error: reqwest::Error) -> Trouble {
    let refused = error.is_builder() || error.is_redirect();
    let error = error.without_url();
    let mut why = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        why.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    if refused { Trouble::Refused(why) } else { Trouble::Again { after: None, why } }
}

/// Whether a URL is one of this machine.
fn is_here(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let address = host.parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback() || address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known() {
        for (url, here) in [
            ("http://127.0.0.1:8181", true),
            ("http://[::1]:8181/lake", true),
            ("http://localhost:8181", true),
            ("http://0.0.0.0:8181", true),
            ("https://lake.example.com", false),
            ("http://10.0.0.1:8181", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_here(url), here, "{url}");
        }
    }

    #[test]
    fn pauses_grow_and_heed_what_the_server_asks_for() {
        let mut patience = Patience::new();
        let pauses: Vec<u128> = (0..9).map(|_| patience.next(None).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        let asked = Some(Duration::from_secs(1));
        assert_eq!(Patience::new().next(asked), Duration::from_secs(1));
        assert_eq!(patience.next(asked), PAUSE_MAX);
    }
}
