//! A TCP proxy that fails as networks do: cut, black hole, replies lost, a reset in the middle of a call.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// What happens to bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Weather {
    /// They pass.
    Clear = 0,
    /// They vanish in both directions, and nobody is told.
    BlackHole = 1,
    /// They reach the server, and its replies vanish.
    RepliesLost = 2,
    /// Connections are reset, and new ones refused.
    Cut = 3,
    /// The next reply is swallowed and its connection reset; then the weather is clear.
    ResetAtReply = 4,
}

/// A proxy in front of a server on this host; it ends when it is dropped.
pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
}

struct Shared {
    server: u16,
    weather: AtomicU8,
    ended: AtomicBool,
    links: Mutex<Vec<Link>>,
}

/// The two sockets of one connection, and whether bytes of it were lost: then it must never pass any again.
struct Link {
    client: TcpStream,
    server: TcpStream,
    torn: Arc<AtomicBool>,
}

impl Proxy {
    /// A proxy on a free port in front of `server`.
    pub fn start(server: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server,
            weather: AtomicU8::new(Weather::Clear as u8),
            ended: AtomicBool::new(false),
            links: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accepting.accept(&listener));
        Proxy { shared, port }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a Redis server behind it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Changes the weather.
    pub fn set(&self, weather: Weather) {
        self.shared.weather.store(weather as u8, Ordering::SeqCst);
        self.shared.links.lock().unwrap().retain(|link| {
            let broken = weather == Weather::Cut || (weather == Weather::Clear && link.torn.load(Ordering::SeqCst));
            if broken {
                link.cut();
            }
            !broken
        });
    }

    /// Resets every connection once; new ones pass.
    pub fn reset(&self) {
        self.set(Weather::Cut);
        self.set(Weather::Clear);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.set(Weather::Cut);
        // Wakes the accepting thread.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

impl Link {
    fn cut(&self) {
        for socket in [&self.client, &self.server] {
            // It may be gone already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn accept(self: Arc<Shared>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.ended.load(Ordering::SeqCst) {
                return;
            }
            let (Ok(client), false) = (client, self.weather() == Weather::Cut as u8) else { continue };
            let Ok(server) = TcpStream::connect(("127.0.0.1", self.server)) else { continue };
            self.connect(client, server);
        }
    }

    fn connect(self: &Arc<Shared>, client: TcpStream, server: TcpStream) {
        let torn = Arc::new(AtomicBool::new(false));
        for socket in [&client, &server] {
            socket.set_nodelay(true).unwrap();
        }
        let ends = [(&client, &server, false), (&server, &client, true)];
        for (from, to, is_reply) in ends {
            let pump = Pump {
                shared: Arc::clone(self),
                from: from.try_clone().unwrap(),
                to: to.try_clone().unwrap(),
                torn: Arc::clone(&torn),
                is_reply,
            };
            thread::spawn(move || pump.run());
        }
        self.links.lock().unwrap().push(Link { client, server, torn });
    }

    fn weather(&self) -> u8 {
        self.weather.load(Ordering::SeqCst)
    }
}

/// One direction of one connection.
struct Pump {
    shared: Arc<Shared>,
    from: TcpStream,
    to: TcpStream,
    torn: Arc<AtomicBool>,
    is_reply: bool,
}

impl Pump {
    fn run(mut self) {
        let mut bytes = [0; 65_536];
        loop {
            let count = match self.from.read(&mut bytes) {
                Ok(count) if count > 0 => count,
                _ => break,
            };
            if self.lets_pass() && self.to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = self.from.shutdown(Shutdown::Both);
        let _ = self.to.shutdown(Shutdown::Both);
    }

    /// True if the bytes that were just read go on.
    fn lets_pass(&self) -> bool {
        let weather = self.shared.weather();
        if self.is_reply && weather == Weather::ResetAtReply as u8 {
            self.shared.weather.store(Weather::Clear as u8, Ordering::SeqCst);
            let _ = self.from.shutdown(Shutdown::Both);
            let _ = self.to.shutdown(Shutdown::Both);
            return false;
        }
        let lost = weather == Weather::BlackHole as u8 || (self.is_reply && weather == Weather::RepliesLost as u8);
        if lost {
            self.torn.store(true, Ordering::SeqCst);
        }
        // Once bytes are missing, the rest of the stream would be garbage.
        let torn = self.torn.load(Ordering::SeqCst);
        !lost && !(torn && (self.is_reply || weather == Weather::BlackHole as u8))
    }
}
