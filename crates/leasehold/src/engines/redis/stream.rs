//! Byte streams to a server: opened by us, counted, and ended from outside if need be.

use super::config::{Place, Target};
use futures_util::task::AtomicWaker;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A byte stream in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type Opening = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// Opens one more stream.
pub(super) type Connector = Arc<dyn Fn() -> Opening + Send + Sync>;

/// Opens a stream to the target.
///
/// # Errors
/// Those of the operating system, of the resolver, of the TLS handshake.
pub(super) async fn open(target: &Target) -> io::Result<Counted> {
    match &target.place {
        Place::Tcp(host, port) => {
            let socket = tcp(host, *port).await?;
            Ok(Counted::new(Grip::on(&socket), Box::new(socket)))
        }
        #[cfg(feature = "tls")]
        Place::Tls(host, port, config) => {
            let socket = tcp(host, *port).await?;
            let grip = Grip::on(&socket);
            Ok(Counted::new(grip, super::tls::handshake(host, config.clone(), socket).await?))
        }
        Place::Unix(path) => {
            let socket = UnixStream::connect(path).await?;
            Ok(Counted::new(Grip::on(&socket), Box::new(socket)))
        }
        Place::Given(connect) => Ok(Counted::new(Grip::default(), connect().await?)),
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let socket = TcpStream::connect((host, port)).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// A hold on a stream from outside: whether anything came in, and the power to end it, even if its runtime is blocked.
#[derive(Debug, Default)]
pub(super) struct Grip {
    received: AtomicU64,
    dead: AtomicBool,
    reader: AtomicWaker,
    #[cfg(unix)]
    socket: Mutex<Option<std::os::fd::OwnedFd>>,
}

impl Grip {
    #[cfg(unix)]
    fn on(socket: &impl std::os::fd::AsFd) -> Grip {
        // Without a descriptor of our own the stream ends with the next poll of its reader.
        Grip { socket: Mutex::new(socket.as_fd().try_clone_to_owned().ok()), ..Grip::default() }
    }

    /// How many times something came in.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Acquire)
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Ends the stream in both directions.
    pub(super) fn kill(&self) {
        self.dead.store(true, Ordering::Release);
        #[cfg(unix)]
        if let Some(socket) = self.socket.lock().expect("nothing panics under this lock").take() {
            // An error means that the other side was first.
            let _ = rustix::net::shutdown(&socket, rustix::net::Shutdown::Both);
        }
        self.reader.wake();
    }
}

/// A stream that counts what comes in and ends when its grip says so.
pub(super) struct Counted {
    pub(super) grip: Arc<Grip>,
    inner: Box<dyn Stream>,
}

impl Counted {
    fn new(grip: Grip, inner: Box<dyn Stream>) -> Counted {
        Counted { grip: Arc::new(grip), inner }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // The grip's own descriptor would keep the socket open.
        self.grip.kill();
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.grip.reader.register(cx.waker());
        if self.grip.is_dead() {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.grip.received.fetch_add(1, Ordering::Release);
        }
        result
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.grip.is_dead() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
