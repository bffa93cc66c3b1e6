//! A real PostgreSQL for a test: started in a fresh directory on a free port of loopback, stopped with it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// A running server with one empty database.
pub struct Postgres {
    pub url: String,
    child: Child,
    _dir: TempDir,
}

/// Where Debian puts the programs.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<PathBuf> = versions.flatten().map(|entry| entry.path().join("bin")).collect();
    found.retain(|folder| folder.join("initdb").exists());
    found.sort();
    found.pop()
}

impl Postgres {
    /// A server whose database is made with these options; `None` where PostgreSQL is not installed. `scripts/test.sh`
    /// installs it and says that it must be there.
    pub fn start(options: &[&str]) -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(std::env::var_os("REQUIRE_POSTGRES").is_none(), "PostgreSQL is not installed");
            return None;
        };
        let dir = tempfile::tempdir().expect("a directory");
        let data = dir.path().join("data");
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "secret").expect("written");
        run(Command::new("chown").args(["-R", "postgres"]).arg(dir.path()));
        let made = as_postgres(&programs.join("initdb"))
            .arg("-D")
            .arg(&data)
            .args(["-U", "floeberg", "-A", "scram-sha-256", "-E", "UTF8", "--no-sync"])
            .args(options)
            .arg(format!("--pwfile={}", secret.display()))
            .output();
        assert!(made.as_ref().is_ok_and(|made| made.status.success()), "{made:?}");
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
        let child = as_postgres(&programs.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=127.0.0.1", "-c"])
            .arg(format!("port={}", free.port()))
            .arg("-c")
            .arg(format!("unix_socket_directories={}", dir.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let server = Self { url: format!("postgres://floeberg:secret@{free}/postgres"), child, _dir: dir };
        let ready = || {
            let asked = Command::new(programs.join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p"])
                .arg(free.port().to_string())
                .status();
            asked.is_ok_and(|status| status.success())
        };
        for _ in 0..200 {
            if ready() {
                return Some(server);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("PostgreSQL did not start within ten seconds");
    }
}

/// PostgreSQL refuses to run as root.
fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program).current_dir("/");
    command
}

fn run(command: &mut Command) {
    assert!(command.status().expect("runs").success(), "{command:?}");
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // At once: nobody is to be waited for.
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        drop(self.child.wait());
    }
}
