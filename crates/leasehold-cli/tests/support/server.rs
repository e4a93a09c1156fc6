//! A redis-server of a test's own, spoken to in plain text.

use super::{Place, Running, until};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

/// A redis-server that is killed when this is dropped.
pub struct Server {
    process: Running,
    port: u16,
    options: Vec<String>,
}

impl Server {
    /// A server with its files in `place`, and more options as on its command line.
    pub fn start(place: &Place, options: &[&str]) -> Server {
        // Between the look for a free port and its use another process may take it.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
            let mut server = Server { process: spawn(place, port, &options), port, options };
            if server.is_up() {
                return server;
            }
        }
        panic!("redis-server did not start: {}", place.read("server.out"));
    }

    /// Starts it again on its port, with what it kept on disk.
    pub fn restart(&mut self, place: &Place) {
        self.process = spawn(place, self.port, &self.options);
        assert!(self.is_up(), "redis-server did not start again: {}", place.read("server.out"));
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        self.process.signal("KILL");
        self.process.end();
    }

    pub fn signal(&self, signal: &str) {
        self.process.signal(signal);
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The raw answer to one command of plain words.
    pub fn query(&self, words: &str) -> String {
        self.ask(words)
    }

    /// The same on a server that asks for a password.
    pub fn query_as(&self, password: &str, words: &str) -> String {
        self.ask(&format!("AUTH {password}\r\n{words}"))
    }

    fn ask(&self, words: &str) -> String {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        socket.write_all(format!("{words}\r\nQUIT\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let answer = answer.strip_suffix("+OK\r\n").unwrap_or(&answer).to_owned();
        assert!(!answer.starts_with('-'), "{words}: {answer}");
        answer
    }

    /// All keys.
    pub fn keys(&self) -> Vec<String> {
        let answer = self.query("KEYS *");
        answer.lines().skip(1).filter(|line| !line.starts_with('$')).map(str::to_owned).collect()
    }

    fn is_up(&mut self) -> bool {
        until("the server", || match self.process.0.try_wait().unwrap() {
            Some(_) => Some(false),
            None => self.answers().then_some(true),
        })
    }

    /// True if it is this very process that answers, not another one that took the port first.
    fn answers(&self) -> bool {
        let Ok(mut socket) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let mut answer = String::new();
        let asked = socket.write_all(b"INFO server\r\nQUIT\r\n").and_then(|()| socket.read_to_string(&mut answer));
        // One that asks for a password is up as well.
        asked.is_ok() && (answer.starts_with("-NOAUTH") || answer.contains(&format!("process_id:{}\r\n", self.process.pid())))
    }
}

fn spawn(place: &Place, port: u16, options: &[String]) -> Running {
    let mut server = Command::new("redis-server");
    server.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]).arg(place.path("")).args(options);
    place.start_command("server", server)
}
