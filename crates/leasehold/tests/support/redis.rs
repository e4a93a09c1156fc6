//! A private redis-server on a free port, and the engine on it.

use leasehold::ResourceName;
use leasehold::conformance::{Pending, Store};
use leasehold::engine::{About, Engine};
use leasehold::engines::redis::{RedisEngine, RedisOptions};
use leasehold::world::World;
use leasehold_wire::{Call, Space};
use redis::{Connection, FromRedisValue};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A store of its own: a fresh server.
pub fn open() -> impl Store {
    Fixture { server: RedisServer::start(), world: World::with_thread("redis").unwrap() }
}

struct Fixture {
    server: RedisServer,
    world: World,
}

impl Store for Fixture {
    fn world(&self) -> &World {
        &self.world
    }

    fn connect(&self, client: u64, about: About) -> Pending<'_, Arc<dyn Engine>> {
        Box::pin(async move {
            let engine = RedisEngine::connect(&self.server.url(), RedisOptions::new(), &self.world, (client, about)).await;
            engine.unwrap_or_else(|error| panic!("the server must be reachable: {error}")) as Arc<dyn Engine>
        })
    }

    fn residue<'a>(&'a self, resource: &'a ResourceName) -> Pending<'a, Vec<String>> {
        let keys = Space::new(Space::DEFAULT_PREFIX).unwrap().keys(resource);
        let left = [keys.lock, keys.queue, keys.places].into_iter().filter(|key| self.server.query::<u32>(&["EXISTS", key]) > 0);
        let left = left.collect();
        Box::pin(async { left })
    }
}

/// A redis-server that is killed when this is dropped.
pub struct RedisServer {
    process: Child,
    port: u16,
    dir: TempDir,
    options: Vec<String>,
}

impl RedisServer {
    /// A server that keeps nothing on disk.
    pub fn start() -> RedisServer {
        RedisServer::start_with(&[])
    }

    /// The same with more options, as on its command line: `["--maxmemory", "1mb"]`.
    pub fn start_with(options: &[&str]) -> RedisServer {
        // Between the look for a free port and its use another process may take it.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let dir = tempfile::tempdir().unwrap();
            let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
            let process = spawn(port, &dir, &options);
            let mut server = RedisServer { process, port, dir, options };
            if server.is_up() {
                return server;
            }
        }
        panic!("redis-server did not start with {options:?}");
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again on its port, with what it kept on disk.
    pub fn restart(&mut self) {
        self.process = spawn(self.port, &self.dir, &self.options);
        assert!(self.is_up(), "redis-server did not start again");
    }

    fn is_up(&mut self) -> bool {
        let patience = Instant::now() + Duration::from_secs(20);
        while Instant::now() < patience {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            if self.answers() {
                return true;
            }
            sleep(Duration::from_millis(5));
        }
        false
    }

    /// True if it is this very process that answers, not another one that took the port first.
    fn answers(&self) -> bool {
        let Ok(mut socket) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let mut answer = String::new();
        let asked = socket.write_all(b"INFO server\r\nQUIT\r\n").and_then(|()| socket.read_to_string(&mut answer));
        // One that asks for a password, or still loads its data, is up as well.
        let refuses = ["-NOAUTH", "-LOADING"].iter().any(|refusal| answer.starts_with(refusal));
        asked.is_ok() && (refuses || answer.contains(&format!("process_id:{}\r\n", self.process.id())))
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection of the test's own.
    pub fn connection(&self) -> Connection {
        redis::Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    /// Sends one command on a connection of its own.
    pub fn query<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(word);
        }
        command.query(&mut self.connection()).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Calls a script as it is, without an engine.
    pub fn call(&self, call: &Call) -> redis::Value {
        let mut eval = redis::cmd("EVAL");
        eval.arg(call.script.source).arg(call.keys().len()).arg(call.keys()).arg(call.args());
        eval.query(&mut self.connection()).unwrap_or_else(|error| panic!("{call:?}: {error}"))
    }

    /// All keys, sorted.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.query(&["KEYS", "*"]);
        keys.sort();
        keys
    }

    /// Stops the server where it stands, as a paused machine would be.
    pub fn freeze(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    /// The same, whether it stands still, or is there at all.
    pub fn thaw_if_frozen(&mut self) {
        if self.process.try_wait().unwrap().is_none() {
            self.thaw();
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may have been killed by the test.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(port: u16, dir: &TempDir, options: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.arg("--dir").arg(dir.path()).args(options).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("redis-server is installed")
}

/// How often each command was called, by clients and by scripts.
pub fn requests(server: &RedisServer) -> HashMap<String, u64> {
    let text: String = server.query(&["INFO", "commandstats"]);
    let lines = text.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="));
    lines.map(|(name, rest)| (name.to_owned(), rest.split(',').next().unwrap().parse().unwrap())).collect()
}

pub fn count(requests: &HashMap<String, u64>, command: &str) -> u64 {
    requests.get(command).copied().unwrap_or(0)
}

/// Keys that are not the counter's nor a registry's.
pub fn residue(server: &RedisServer) -> Vec<String> {
    let space = Space::new(Space::DEFAULT_PREFIX).unwrap();
    let clients = space.clients();
    let keys: Vec<String> = server.query(&["KEYS", "*"]);
    let ours = |key: &String| *key == space.counter() || key.starts_with(clients.trim_end_matches('s'));
    keys.into_iter().filter(|key| !ours(key)).collect()
}
