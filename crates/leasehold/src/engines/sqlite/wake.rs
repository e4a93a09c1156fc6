//! How clients of one host wake each other: a datagram socket for each, in a directory beside the database.

use super::book::Push;
use super::file::io_error;
use crate::engine::{Ear, Notice};
use crate::error::Error;
use crate::world::World;
use futures_util::future::{Either, select};
use leasehold_core::{Bound, ClaimId, Grant, ReqNo, Token};
use rustix::fs::{AtFlags, Mode, OFlags, open, unlinkat};
use std::fs::{self, Permissions};
use std::io::ErrorKind as IoKind;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Longer than any message there is.
const LONGEST: usize = 256;

/// The directory of all clients' sockets.
// A socket's address has at most 107 bytes. The directory is reached by its descriptor, so that the address is short however
// long the path is.
#[derive(Clone, Debug)]
pub(super) struct Post {
    path: PathBuf,
    directory: Arc<OwnedFd>,
    out: Arc<UnixDatagram>,
}

/// A client's own socket. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Mailbox {
    post: Post,
    client: u64,
    _stop: oneshot::Sender<()>,
}

impl Post {
    /// Opens the directory, and removes the sockets that killed processes left in it.
    pub(super) fn open(directory: &Path) -> Result<Post, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = open(directory, flags, Mode::empty()).map_err(|error| io_error(error.into(), directory))?;
        let out = UnixDatagram::unbound().and_then(|out| out.set_nonblocking(true).map(|()| out));
        let out = out.map_err(|error| io_error(error, directory))?;
        let post = Post { path: directory.into(), directory: Arc::new(descriptor), out: Arc::new(out) };
        post.sweep();
        Ok(post)
    }

    /// Tells a client of another process. A message that does not arrive costs its waiter one beat.
    pub(super) fn send(&self, push: Push) {
        let client = push.claim().client();
        match self.out.send_to(encode(push).as_bytes(), self.address(client)) {
            // Nobody has the socket open: its process was killed.
            Err(error) if error.kind() == IoKind::ConnectionRefused => self.remove(client),
            _ => {}
        }
    }

    /// Opens a client's socket; what comes in goes to `ear`.
    pub(super) fn mailbox(&self, client: u64, world: &World, ear: Ear) -> Result<Mailbox, Error> {
        let address = self.address(client);
        self.remove(client);
        let socket = UnixDatagram::bind(&address).and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        let socket = socket.map_err(|error| io_error(error, &address))?;
        // The directory's mode decides who may send, so that root can be woken by the user whose database it visits. If that
        // is refused, beats do the waking.
        fs::set_permissions(&address, Permissions::from_mode(0o666)).ok();
        let (stop, stopped) = oneshot::channel();
        world.spawn(receive(socket, stopped, ear));
        Ok(Mailbox { post: self.clone(), client, _stop: stop })
    }

    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.path) else { return };
        let names = entries.filter_map(Result::ok).filter_map(|entry| entry.file_name().into_string().ok());
        for client in names.filter_map(|name| client_of(&name)) {
            let probe = UnixDatagram::unbound().and_then(|probe| probe.connect(self.address(client)));
            if probe.is_err_and(|error| error.kind() == IoKind::ConnectionRefused) {
                self.remove(client);
            }
        }
    }

    fn address(&self, client: u64) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{}", self.directory.as_raw_fd(), file_name(client)))
    }

    fn remove(&self, client: u64) {
        // One that is gone already is what is wanted.
        unlinkat(&*self.directory, file_name(client), AtFlags::empty()).ok();
    }
}

impl Mailbox {
    /// True while others find this socket by its name.
    pub(super) fn is_found(&self) -> bool {
        fs::symlink_metadata(self.post.path.join(file_name(self.client))).is_ok()
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.post.remove(self.client);
    }
}

/// Passes messages on until the mailbox is dropped or nobody listens.
async fn receive(socket: UnixDatagram, stopped: oneshot::Receiver<()>, ear: Ear) {
    let Ok(socket) = tokio::net::UnixDatagram::from_std(socket) else { return };
    let mut stopped = stopped;
    let mut buffer = [0; LONGEST];
    loop {
        let received = match select(pin!(socket.recv(&mut buffer)), &mut stopped).await {
            Either::Left((received, _)) => received,
            Either::Right(_) => return,
        };
        let notice = received.ok().and_then(|bytes| decode(&buffer[..bytes]));
        if let Some(notice) = notice {
            ear.tell(notice);
        }
    }
}

impl From<Push> for Notice {
    fn from(push: Push) -> Notice {
        match push {
            Push::Granted(grant) => Notice::Granted(grant),
            Push::Revoked(claim) => Notice::Revoked(claim),
        }
    }
}

/// `1 granted CLAIM ASK TOKEN` or `1 revoked CLAIM`.
fn encode(push: Push) -> String {
    match push {
        Push::Granted(Grant { claim, token, bound: Bound::FromAsk(ReqNo(ask)), .. }) => {
            format!("1 granted {claim} {ask} {token}")
        }
        Push::Granted(Grant { claim, token, .. }) => format!("1 granted {claim} - {token}"),
        Push::Revoked(claim) => format!("1 revoked {claim}"),
    }
}

/// Anything but a message of this form is nothing.
fn decode(message: &[u8]) -> Option<Notice> {
    let words: Vec<&str> = std::str::from_utf8(message).ok()?.split(' ').collect();
    match words[..] {
        ["1", "granted", claim, ask, token] => Some(Notice::Granted(Grant {
            claim: claim.parse().ok()?,
            token: Token::new(0, token.parse().ok()?)?,
            spare: 0,
            bound: Bound::FromAsk(ReqNo(ask.parse().ok()?)),
        })),
        ["1", "revoked", claim] => Some(Notice::Revoked(claim.parse::<ClaimId>().ok()?)),
        _ => None,
    }
}

fn file_name(client: u64) -> String {
    format!("{client:016x}.sock")
}

fn client_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".sock").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_back_as_it_was_sent() {
        let claim = ClaimId::new(1, 2);
        let grant = Grant { claim, token: Token::new(0, 77).unwrap(), spare: 0, bound: Bound::FromAsk(ReqNo(9)) };
        let read = decode(encode(Push::Granted(grant)).as_bytes());
        assert!(matches!(read, Some(Notice::Granted(same)) if same == grant));
        let read = decode(encode(Push::Revoked(claim)).as_bytes());
        assert!(matches!(read, Some(Notice::Revoked(same)) if same == claim));
    }

    #[test]
    fn any_other_message_is_nothing() {
        let claim = ClaimId::new(1, 2);
        for text in ["", "1", "2 revoked x", "1 revoked x", &format!("1 granted {claim} 1 0"), &format!("1 granted {claim} 1")] {
            assert!(decode(text.as_bytes()).is_none(), "{text}");
        }
        assert!(decode(b"\xff\xfe").is_none());
    }

    #[test]
    fn a_socket_is_named_after_its_client() {
        assert_eq!(file_name(0xab), "00000000000000ab.sock");
        assert_eq!(client_of("00000000000000ab.sock"), Some(0xab));
        assert_eq!(client_of("open.lock"), None);
    }
}
