//! A TCP proxy that cuts, holds back and loses what passes through it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How often whoever waits for the test's word looks for it.
const GLANCE: Duration = Duration::from_millis(5);

/// Passes bytes between its clients and one server, until it is told otherwise.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    over: AtomicBool,
    /// Nothing passes and nothing is closed: as if the network were gone.
    hole: AtomicBool,
    /// Requests pass, their answers vanish.
    mute: AtomicBool,
    /// New clients are turned away.
    closed: AtomicBool,
    /// The next request with these bytes in it reaches the server, and the connection is reset before its answer comes back.
    lose: Mutex<Option<Vec<u8>>>,
    /// The next request with these bytes in it passes up to them.
    split: Mutex<Option<Vec<u8>>>,
    /// The rest of it waits.
    halt: AtomicBool,
    connections: Mutex<Vec<(TcpStream, TcpStream)>>,
}

impl Proxy {
    pub fn to(server_port: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shared = Arc::new(Shared {
            server: SocketAddr::from(([127, 0, 0, 1], server_port)),
            over: AtomicBool::new(false),
            hole: AtomicBool::new(false),
            mute: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            lose: Mutex::default(),
            split: Mutex::default(),
            halt: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let accepting = shared.clone();
        thread::spawn(move || accepting.accept(&listener));
        Proxy { port, shared }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Resets every connection there is.
    pub fn cut(&self) {
        self.shared.cut();
    }

    /// Swallows everything without closing anything; what was swallowed goes on its way when this ends.
    pub fn black_hole(&self, yes: bool) {
        self.shared.hole.store(yes, Ordering::SeqCst);
    }

    /// Lets requests through and swallows their answers; the connections that lost some are reset when this ends.
    pub fn lose_replies(&self, yes: bool) {
        self.shared.mute.store(yes, Ordering::SeqCst);
        if !yes {
            self.shared.cut();
        }
    }

    /// Turns new clients away.
    pub fn refuse(&self, yes: bool) {
        self.shared.closed.store(yes, Ordering::SeqCst);
    }

    /// Lets the next request that contains `bytes` through, and resets its connection before the answer.
    pub fn lose_answer_to(&self, bytes: &[u8]) {
        *self.shared.lose.lock().unwrap() = Some(bytes.to_vec());
    }

    /// Lets the next request that contains `bytes` through up to them; the rest of it goes on its way when told so.
    pub fn hold_back_from(&self, bytes: &[u8]) {
        self.shared.halt.store(true, Ordering::SeqCst);
        *self.shared.split.lock().unwrap() = Some(bytes.to_vec());
    }

    pub fn let_go(&self) {
        self.shared.halt.store(false, Ordering::SeqCst);
    }

    /// True once that has happened.
    pub fn has_lost_it(&self) -> bool {
        self.shared.lose.lock().unwrap().is_none()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.shared.cut();
    }
}

impl Shared {
    fn accept(self: &Arc<Shared>, listener: &TcpListener) {
        while !self.over.load(Ordering::SeqCst) {
            match listener.accept() {
                Ok((client, _)) if !self.closed.load(Ordering::SeqCst) => self.join(client),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(GLANCE),
                Err(_) => return,
            }
        }
    }

    fn join(self: &Arc<Shared>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(self.server) else { return };
        for socket in [&client, &server] {
            socket.set_nonblocking(false).unwrap();
            socket.set_nodelay(true).unwrap();
        }
        let mute = Arc::new(AtomicBool::new(false));
        let ends = || (client.try_clone().unwrap(), server.try_clone().unwrap());
        self.connections.lock().unwrap().push(ends());
        if self.over.load(Ordering::SeqCst) {
            return self.cut();
        }
        let ((from_client, to_server), (to_client, from_server)) = (ends(), ends());
        let (there, back, mute_too) = (self.clone(), self.clone(), mute.clone());
        thread::spawn(move || there.pump(from_client, to_server, &mute, true));
        thread::spawn(move || back.pump(from_server, to_client, &mute_too, false));
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream, mute: &AtomicBool, request: bool) {
        let mut buffer = [0; 65536];
        loop {
            let read = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            while self.hole.load(Ordering::SeqCst) && !self.over.load(Ordering::SeqCst) {
                thread::sleep(GLANCE);
            }
            if request && find(&self.lose, &buffer[..read]).is_some() {
                mute.store(true, Ordering::SeqCst);
            }
            if !request && mute.load(Ordering::SeqCst) {
                break;
            }
            if !request && self.mute.load(Ordering::SeqCst) {
                continue;
            }
            let mut rest = &buffer[..read];
            if let Some(at) = Some(rest).filter(|_| request).and_then(|rest| find(&self.split, rest)) {
                let _ = to.write_all(&rest[..at]);
                rest = &rest[at..];
                while self.halt.load(Ordering::SeqCst) && !self.over.load(Ordering::SeqCst) {
                    thread::sleep(GLANCE);
                }
            }
            if to.write_all(rest).is_err() {
                break;
            }
        }
        // Whoever is first ends both directions; the other finds it done.
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    fn cut(&self) {
        for (client, server) in self.connections.lock().unwrap().drain(..) {
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        }
    }
}

/// Where `request` has the bytes that are looked for; they are looked for once.
fn find(wanted: &Mutex<Option<Vec<u8>>>, request: &[u8]) -> Option<usize> {
    let mut wanted = wanted.lock().unwrap();
    let at = wanted.as_ref().and_then(|bytes| request.windows(bytes.len()).position(|window| window == bytes))?;
    *wanted = None;
    Some(at)
}
