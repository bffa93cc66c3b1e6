//! A bucket behind a small S3 interface of our own, with a Security Token Service, that can be told to fail.
//!
//! What real stores do is for `tests/e2e/` to see; here is counted what is asked of them, and made to go wrong.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use reqwest::Method;
use tokio::net::TcpListener;

/// How one request goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It is not carried out and answered with this status and S3 error code.
    Refused(u16, &'static str),
    /// It is carried out and answered with a 500.
    Lost,
}

/// The bucket `lake`.
#[derive(Debug, Clone, Default)]
pub struct Bucket {
    pub url: String,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    objects: BTreeMap<String, Bytes>,
    faults: VecDeque<(Method, Fault)>,
    asked: Vec<String>,
    /// The forms that the Security Token Service was sent.
    assumed: Vec<String>,
}

impl Bucket {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let bucket = Self { url, ..Self::default() };
        let router = Router::new().fallback(answer).with_state(bucket.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        bucket
    }

    /// The configuration of a warehouse in it, with these lines more.
    pub fn warehouse(&self, more: &str) -> String {
        let url = &self.url;
        format!(
            "[warehouses.lake]\nurl = \"s3://lake/wh\"\nendpoint = \"{url}\"\naccess-key-id = \"OWN-KEY\"\n\
             secret-access-key = \"OWN-SECRET\"\n{more}\n"
        )
    }

    /// The next requests of this method go wrong like this, one after the other.
    pub fn fail(&self, method: &Method, faults: &[Fault]) {
        let mut inner = self.inner.lock().expect("whole");
        inner.faults.extend(faults.iter().map(|fault| (method.clone(), fault.clone())));
    }

    /// The keys of the objects.
    pub fn keys(&self) -> Vec<String> {
        self.inner.lock().expect("whole").objects.keys().cloned().collect()
    }

    /// What was asked since the last time.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.inner.lock().expect("whole").asked)
    }

    /// The forms that the Security Token Service was sent since the last time.
    pub fn assumed(&self) -> Vec<String> {
        std::mem::take(&mut self.inner.lock().expect("whole").assumed)
    }
}

async fn answer(State(bucket): State<Bucket>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 30).await.expect("a body");
    let mut inner = bucket.inner.lock().expect("whole");
    inner.asked.push(format!("{} {}", parts.method, parts.uri));
    let fault = match inner.faults.front() {
        Some((method, _)) if *method == parts.method => inner.faults.pop_front().map(|(_, fault)| fault),
        _ => None,
    };
    if let Some(Fault::Refused(status, code)) = fault {
        return refused(status, code);
    }
    let answered = inner.carry_out(&parts, body);
    if fault.is_some() { refused(500, "InternalError") } else { answered }
}

fn refused(status: u16, code: &str) -> Response {
    let status = http::StatusCode::from_u16(status).expect("a status");
    (status, format!("<Error><Code>{code}</Code><Message>told to</Message></Error>")).into_response()
}

impl Inner {
    fn carry_out(&mut self, parts: &http::request::Parts, body: Bytes) -> Response {
        if parts.uri.path() == "/" {
            self.assumed.push(String::from_utf8(body.to_vec()).expect("text"));
            return lent(self.assumed.len());
        }
        let Some(key) = parts.uri.path().strip_prefix("/lake/") else { return refused(404, "NoSuchBucket") };
        let there = self.objects.get(key).cloned();
        match (parts.method.as_str(), there) {
            ("PUT", Some(_)) if parts.headers.contains_key("if-none-match") => refused(412, "PreconditionFailed"),
            ("PUT", _) => {
                self.objects.insert(key.to_owned(), body);
                ([("etag", "\"e\"")], "").into_response()
            }
            ("GET" | "HEAD", Some(bytes)) => {
                ([("etag", "\"e\""), ("last-modified", "Wed, 21 Oct 2015 07:28:00 GMT")], bytes).into_response()
            }
            ("DELETE", _) => {
                self.objects.remove(key);
                http::StatusCode::NO_CONTENT.into_response()
            }
            _ => refused(404, "NoSuchKey"),
        }
    }
}

/// Keys that are valid for an hour, each with a number of its own.
fn lent(number: usize) -> Response {
    let expires = chrono::DateTime::from_timestamp_millis(floeberg::clock::Clock::system().now_ms() + 3_600_000);
    let expires = expires.expect("a time").to_rfc3339();
    format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
         <AccessKeyId>LENT-{number}</AccessKeyId><SecretAccessKey>S</SecretAccessKey><SessionToken>T</SessionToken>\
         <Expiration>{expires}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
    )
    .into_response()
}
