//! A private redis-server on a free loopback port, ended with this program, and what its own counters say.

use crate::Fault;
use crate::placement::{self, Placement};
use redis::{Connection, FromRedisValue};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A redis-server that keeps nothing on disk, and is killed when this is dropped.
pub struct Server {
    process: Child,
    port: u16,
    control: Connection,
    _dir: TempDir,
}

impl Server {
    /// Starts one and waits until it answers.
    ///
    /// # Errors
    /// If none could be started.
    pub fn start() -> Result<Server, Fault> {
        // Between the look for a free port and its use another process may take it.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            let dir = tempfile::tempdir()?;
            let mut process = spawn(port, &dir)?;
            if is_up(&mut process, port) {
                let control = redis::Client::open(url(port))?.get_connection()?;
                return Ok(Server { process, port, control, _dir: dir });
            }
            process.kill()?;
            process.wait()?;
        }
        Err("redis-server did not start".into())
    }

    pub fn url(&self) -> String {
        url(self.port)
    }

    /// Binds it to the processor that it has in `placement`.
    pub fn place(&self, placement: Placement) -> Result<(), Fault> {
        Ok(placement::pin(self.process.id(), placement.server_cpu())?)
    }

    /// Nanoseconds of processor time that it has used so far.
    pub fn cpu_used(&self) -> Result<u64, Fault> {
        Ok(placement::cpu_used(self.process.id())?)
    }

    /// Sends one command on a connection kept for this.
    pub fn query<T: FromRedisValue>(&mut self, words: &[&str]) -> Result<T, Fault> {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(word);
        }
        Ok(command.query(&mut self.control)?)
    }

    pub fn connection(&mut self) -> &mut Connection {
        &mut self.control
    }

    /// Forgets all data and all counters.
    pub fn reset(&mut self) -> Result<(), Fault> {
        self.query::<()>(&["FLUSHALL"])?;
        self.query(&["CONFIG", "RESETSTAT"])
    }

    /// How often each command was called, by clients or by scripts, since the last reset.
    pub fn calls(&mut self) -> Result<HashMap<String, u64>, Fault> {
        let stats: String = self.query(&["INFO", "commandstats"])?;
        let line = |line: &str| {
            let (name, rest) = line.trim().strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
        };
        Ok(stats.lines().filter_map(line).collect())
    }

    /// A field of `INFO SECTION`.
    pub fn info(&mut self, section: &str, field: &str) -> Result<String, Fault> {
        let text: String = self.query(&["INFO", section])?;
        let mut lines = text.lines().filter_map(|line| line.trim().split_once(':'));
        let found = lines.find(|(name, _)| *name == field).map(|(_, value)| value.to_owned());
        found.ok_or_else(|| format!("the server does not say {field}").into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

fn spawn(port: u16, dir: &TempDir) -> Result<Child, Fault> {
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.arg("--dir").arg(dir.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map_err(|error| format!("redis-server cannot be started: {error}").into())
}

fn is_up(process: &mut Child, port: u16) -> bool {
    let patience = Instant::now() + Duration::from_secs(10);
    while Instant::now() < patience && matches!(process.try_wait(), Ok(None)) {
        if answers(process.id(), port) {
            return true;
        }
        sleep(Duration::from_millis(5));
    }
    false
}

/// True if it is this very process that answers, not another one that took the port first.
fn answers(pid: u32, port: u16) -> bool {
    let Ok(mut socket) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut answer = String::new();
    let asked = socket.write_all(b"INFO server\r\nQUIT\r\n").and_then(|()| socket.read_to_string(&mut answer));
    asked.is_ok() && answer.contains(&format!("process_id:{pid}\r\n"))
}
