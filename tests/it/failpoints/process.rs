//! The real binary over a directory, told by `FAILPOINTS` where to break.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A running server.
pub struct Process {
    child: Child,
    address: Option<String>,
    client: reqwest::Client,
}

impl Process {
    /// Starts a server over `dir`; it may die on the way.
    pub fn start(dir: &Path, failpoints: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_floeberg"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(dir)
            .current_dir(dir)
            .env("FAILPOINTS", failpoints)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let url = |line: &String| line.split_once("Iceberg REST catalog").map(|(_, url)| url.trim().to_owned());
        let address = out.lines().map_while(Result::ok).find_map(|line| url(&line));
        let address = address.map(|url| url.trim_start_matches("http://").to_owned());
        Self { child, address, client: reqwest::Client::new() }
    }

    fn address(&self) -> &str {
        self.address.as_deref().expect("the server came up")
    }

    /// Status and body of an answer; `None` where the server died instead.
    pub async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
        self.send_under(&[], method, path, body).await
    }

    /// The same with these headers.
    pub async fn send_under(
        &self,
        headers: &[(&str, &str)],
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Option<(u16, Value)> {
        let method = method.parse().expect("a method");
        let mut request = self.client.request(method, format!("http://{}{path}", self.address.as_deref()?));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        Some((status, response.json().await.unwrap_or_default()))
    }

    /// Sends a request and hangs up before the answer.
    pub fn send_and_leave(&self, method: &str, path: &str, body: Option<&Value>) {
        let text = body.map(Value::to_string).unwrap_or_default();
        let mut stream = TcpStream::connect(self.address()).expect("connects");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            text.len()
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(text.as_bytes())).expect("sent");
        // Long enough to be read, shorter than the step waits.
        std::thread::sleep(Duration::from_millis(40));
    }

    /// Sends the signal that ends a server.
    pub fn ask_to_stop(&self) {
        let own = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(own, rustix::process::Signal::TERM).expect("sent");
    }

    /// Whether the process came to its end as it should.
    pub fn stopped_well(&mut self) -> bool {
        self.child.wait().expect("a child").success()
    }

    /// Whether the process was ended by `kill -9`, from within, in a bounded time.
    pub fn was_killed(&mut self) -> bool {
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.signal() == Some(9);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
