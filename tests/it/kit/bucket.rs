//! A bucket behind a small interface of our own that S3's, Google's and Azure's clients take for theirs, with the services
//! that lend keys, that can be told to fail.
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
    /// What the services that lend keys were sent.
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

    /// The same as a bucket of Google's, reached with a service account's key.
    pub fn google(&self, more: &str) -> String {
        let url = &self.url;
        let key = serde_json::json!({
            "type": "service_account",
            "private_key_id": "1",
            "private_key": include_str!("google.pem"),
            "client_email": "lake@project.iam.gserviceaccount.com",
            "token_uri": format!("{url}/token"),
        });
        format!(
            "[warehouses.lake]\nurl = \"gs://lake/wh\"\nendpoint = \"{url}\"\nsts-endpoint = \"{url}\"\n\
             service-account = '''{key}'''\n{more}\n"
        )
    }

    /// The same as a container of Azure's, reached as `more` says.
    pub fn azure(&self, more: &str) -> String {
        let url = &self.url;
        format!(
            "[warehouses.lake]\nurl = \"abfss://lake@acct.dfs.core.windows.net/wh\"\nendpoint = \"{url}\"\n{more}\n"
        )
    }

    /// The next requests of this method go wrong like this, one after the other.
    pub fn fail(&self, method: &Method, faults: &[Fault]) {
        let mut inner = self.inner.lock().expect("whole");
        inner.faults.extend(faults.iter().map(|fault| (method.clone(), fault.clone())));
    }

    /// Nothing goes wrong any more.
    pub fn mend(&self) {
        self.inner.lock().expect("whole").faults.clear();
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
        if let Some(answer) = self.lend(parts, &body) {
            return answer;
        }
        if parts.uri.path().trim_end_matches('/') == "/lake" && parts.method == Method::GET {
            return self.list(parts.uri.query().unwrap_or_default());
        }
        if parts.method == Method::POST && parts.uri.query() == Some("delete") {
            let body = String::from_utf8(body.to_vec()).expect("text");
            let keys = body.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
            let deleted = keys.map(|key| {
                self.objects.remove(key);
                format!("<Deleted><Key>{key}</Key></Deleted>")
            });
            let xmlns = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";
            return format!("<DeleteResult {xmlns}>{}</DeleteResult>", deleted.collect::<String>()).into_response();
        }
        let Some(key) = parts.uri.path().strip_prefix("/lake/") else { return refused(404, "NoSuchBucket") };
        let key = &*percent_encoding::percent_decode_str(key).decode_utf8().expect("text");
        let there = self.objects.get(key).cloned();
        match (parts.method.as_str(), there) {
            ("PUT", Some(_))
                if ["if-none-match", "x-goog-if-generation-match"]
                    .iter()
                    .any(|name| parts.headers.contains_key(*name)) =>
            {
                refused(412, "PreconditionFailed")
            }
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

impl Inner {
    /// The objects whose keys begin with a prefix, as S3 and Google list them.
    fn list(&self, query: &str) -> Response {
        let prefix = query.split('&').find_map(|pair| pair.strip_prefix("prefix=")).unwrap_or_default();
        let prefix = percent_encoding::percent_decode_str(prefix).decode_utf8().expect("text");
        let found = self.objects.iter().filter(|(key, _)| key.starts_with(&*prefix)).map(|(key, bytes)| {
            let size = bytes.len();
            format!(
                "<Contents><Key>{key}</Key><LastModified>2015-10-21T07:28:00Z</LastModified><ETag>\"e\"</ETag>\
                 <Size>{size}</Size></Contents>"
            )
        });
        format!("<ListBucketResult>{}</ListBucketResult>", found.collect::<String>()).into_response()
    }

    /// What the services answer that lend keys.
    fn lend(&mut self, parts: &http::request::Parts, body: &Bytes) -> Option<Response> {
        let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
        let token = |token: String, seconds: Option<i64>| {
            axum::Json(serde_json::json!({"access_token": token, "expires_in": seconds, "token_type": "Bearer"}))
        };
        if path == "/token" || path.ends_with("/oauth2/v2.0/token") {
            return Some(token("OWN-TOKEN".to_owned(), Some(3_600)).into_response());
        }
        if parts.method != Method::POST || !matches!(path, "/" | "/v1/token") {
            return None;
        }
        let bearer = parts.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        self.assumed.push(format!("{bearer} {}", String::from_utf8_lossy(body)));
        let number = self.assumed.len();
        Some(match path {
            "/v1/token" => token(format!("LENT-{number}"), None).into_response(),
            _ if query.contains("userdelegationkey") => DELEGATION_KEY.into_response(),
            _ => lent(number),
        })
    }
}

const DELEGATION_KEY: &str = "<UserDelegationKey><SignedOid>oid</SignedOid><SignedTid>tid</SignedTid>\
    <SignedStart>2026-01-01T00:00:00Z</SignedStart><SignedExpiry>2026-01-02T00:00:00Z</SignedExpiry>\
    <SignedService>b</SignedService><SignedVersion>2020-12-06</SignedVersion><Value>a2V5</Value></UserDelegationKey>";

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
