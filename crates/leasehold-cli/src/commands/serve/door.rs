//! The door of the server: so many visitors at once, and so much time for each, that no client keeps another out.

use axum::serve::Listener;
use rustix::process::{Resource, getrlimit};
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep};

/// How many connections are open at once, if the process may have twice as many files.
const ROOM: u64 = 256;

/// How long a request and its answer may take together, and a connection be idle. More than a look takes, and than Prometheus
/// waits.
const PATIENCE: Duration = Duration::from_secs(15);

/// Who lets clients in.
pub struct Door {
    listener: TcpListener,
    room: usize,
    /// Those who are in, the first first: dropping one shows it out.
    inside: VecDeque<oneshot::Sender<()>>,
}

impl Door {
    /// The door of a listener.
    pub fn new(listener: TcpListener) -> Door {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let room = (files / 2).clamp(1, ROOM) as usize;
        Door { listener, room, inside: VecDeque::new() }
    }
}

impl Listener for Door {
    type Io = Visit;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Visit, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        self.inside.retain(|visitor| !visitor.is_closed());
        if self.inside.len() >= self.room {
            // Who came first had the most time. To let newcomers wait would let those who never end keep all others out.
            self.inside.pop_front();
        }
        let (stays, is_out) = oneshot::channel();
        self.inside.push_back(stays);
        (Visit { stream, end: Box::pin(sleep(PATIENCE)), is_out, is_over: false, was_answered: false }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends in time, whatever its client does.
pub struct Visit {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    /// True if what comes next is another request.
    was_answered: bool,
    /// Ends when its place is needed.
    is_out: oneshot::Receiver<()>,
    is_over: bool,
}

impl Visit {
    /// An error once the time is over; else the task is woken then.
    fn in_time(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        // What has ended must not be asked again.
        self.is_over = self.is_over || self.end.as_mut().poll(cx).is_ready() || Pin::new(&mut self.is_out).poll(cx).is_ready();
        if self.is_over { Err(ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Visit {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        // Only its first bytes buy a request its time: who sends the rest drop by drop gains nothing.
        if read.is_ready() && buffer.filled().len() > before && std::mem::take(&mut this.was_answered) {
            this.end.as_mut().reset(Instant::now() + PATIENCE);
        }
        this.in_time(cx)?;
        read
    }
}

impl AsyncWrite for Visit {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.in_time(cx)?;
        this.was_answered = true;
        Pin::new(&mut this.stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.in_time(cx)?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
