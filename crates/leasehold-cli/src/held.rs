//! Nested runs: a `leasehold run` inside the command of another joins its lock instead of waiting for itself.
//!
//! `LEASEHOLD_HELD` names the claims that are held around a process, and the socket of the run that holds each. The socket is
//! abstract (nothing is left behind by a kill) and both sides check that the other is the same user.

use crate::store::Store;
use leasehold::Instant;
use rustix::net::sockopt::socket_peercred;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener, UnixStream as StdStream};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::timeout;

/// The variable.
pub const VARIABLE: &str = "LEASEHOLD_HELD";

/// How long a joiner waits for the outer run's word; a run that is stopped cannot keep us from asking the store ourselves.
const PATIENCE: Duration = Duration::from_secs(2);

/// A claim that is held around this process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Of which lock.
    pub name: String,
    /// In which store, by its fingerprint.
    pub store: String,
    /// By which claim.
    pub claim: String,
    /// The grant's token.
    pub token: u64,
    /// The name of the outer run's abstract socket.
    pub socket: String,
}

/// What the environment says is held around this process.
pub fn around() -> Vec<Held> {
    // A text of another version of this program is as good as none: the store is asked then.
    std::env::var(VARIABLE).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// The text for the environment of what runs inside `held`, the innermost last.
pub fn text(held: &[Held]) -> String {
    serde_json::to_string(held).expect("texts and numbers always serialise")
}

/// What an outer run tells its joiners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    /// You are in.
    Welcome { deadline_ns: u64, ttl_ms: u64 },
    /// The lease was renewed.
    Renewed { deadline_ns: u64 },
    /// The lease was lost.
    Lost { why: String },
    /// You are not in: this run ends, or it is another one.
    Refused,
}

/// A share in the lock of an outer run.
#[derive(Debug)]
pub struct Joined {
    /// What was joined.
    pub held: Held,
    /// Until when the lease lasts, as far as was told.
    pub deadline: Instant,
    /// The outer lease's ttl.
    pub ttl: Duration,
    lines: Lines<BufReader<OwnedReadHalf>>,
    /// Kept open: its end tells the outer run that this share has ended.
    _ours: OwnedWriteHalf,
}

impl Joined {
    /// Joins the outer run that holds `name` in `store`, if there is one and it says that it still does.
    pub async fn find(name: &str, store: &Store) -> Option<Joined> {
        let fingerprint = store.fingerprint();
        let held = around().into_iter().rev().find(|held| held.name == name && held.store == fingerprint)?;
        timeout(PATIENCE, Joined::ask(held)).await.ok()?.ok().flatten()
    }

    async fn ask(held: Held) -> io::Result<Option<Joined>> {
        let stream = StdStream::connect_addr(&SocketAddr::from_abstract_name(&held.socket)?)?;
        // Whoever may bind that name after the outer run's death is not asked, unless it is the same user.
        if socket_peercred(&stream)?.uid != rustix::process::geteuid() {
            return Ok(None);
        }
        stream.set_nonblocking(true)?;
        let (reading, mut writing) = UnixStream::from_std(stream)?.into_split();
        writing.write_all(&line(&held)).await?;
        let mut lines = BufReader::new(reading).lines();
        let Some(Word::Welcome { deadline_ns, ttl_ms }) = next(&mut lines).await else { return Ok(None) };
        Ok(Some(Joined {
            held,
            deadline: Instant::from_nanos(deadline_ns),
            ttl: Duration::from_millis(ttl_ms),
            lines,
            _ours: writing,
        }))
    }

    /// The next deadline, or why the lock is lost. May be dropped at any await.
    pub async fn changed(&mut self) -> Result<Instant, String> {
        match next(&mut self.lines).await {
            Some(Word::Renewed { deadline_ns }) => {
                self.deadline = Instant::from_nanos(deadline_ns);
                Ok(self.deadline)
            }
            Some(Word::Lost { why }) => Err(why),
            _ => Err("the outer run is gone".into()),
        }
    }
}

/// The outer run's side: lets joiners in while the lock is held.
#[derive(Debug)]
pub struct Door {
    state: Rc<State>,
}

#[derive(Debug)]
struct State {
    held: Held,
    ttl: Duration,
    news: watch::Sender<News>,
    inside: watch::Sender<usize>,
}

#[derive(Clone, Debug)]
struct News {
    deadline: Instant,
    lost: Option<String>,
    closed: bool,
}

impl Door {
    /// Opens the door to `held`, whose `socket` it names. Must run inside a `LocalSet`.
    ///
    /// # Errors
    /// Those of the operating system; a run without a door works, only nothing can join it.
    pub fn open(held: Held, ttl: Duration, deadline: Instant) -> io::Result<Door> {
        let listener = StdListener::bind_addr(&SocketAddr::from_abstract_name(&held.socket)?)?;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let news = News { deadline, lost: None, closed: false };
        let state = Rc::new(State { held, ttl, news: watch::Sender::new(news), inside: watch::Sender::new(0) });
        tokio::task::spawn_local(let_in(listener, Rc::clone(&state)));
        Ok(Door { state })
    }

    /// What is held behind it.
    pub fn held(&self) -> &Held {
        &self.state.held
    }

    /// Tells all joiners the new deadline.
    pub fn renewed(&self, deadline: Instant) {
        self.state.news.send_modify(|news| news.deadline = deadline);
    }

    /// Tells all joiners that the lock is lost, and lets nobody in any more.
    pub fn lost(&self, why: &str) {
        self.state.news.send_modify(|news| {
            news.lost.get_or_insert_with(|| why.into());
        });
    }

    /// Waits until nobody is inside, and closes the door in the same breath. May be dropped at any await.
    pub async fn close_when_empty(&self) {
        let mut inside = self.state.inside.subscribe();
        // Whoever comes in is counted on this same thread, so nobody slips in between the look and the closing.
        let _ = inside.wait_for(|count| *count == 0).await;
        self.state.news.send_modify(|news| news.closed = true);
    }
}

async fn let_in(listener: UnixListener, state: Rc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        let same_user = stream.peer_cred().is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw());
        if same_user {
            tokio::task::spawn_local(serve(stream, Rc::clone(&state)));
        }
    }
}

/// Serves one joiner until it leaves.
async fn serve(stream: UnixStream, state: Rc<State>) -> Option<()> {
    let (reading, mut writing) = stream.into_split();
    let mut lines = BufReader::new(reading).lines();
    let asked: Held = serde_json::from_str(&timeout(PATIENCE, lines.next_line()).await.ok()?.ok()??).ok()?;
    let mut news = state.news.subscribe();
    let now = news.borrow_and_update().clone();
    if now.closed || now.lost.is_some() || asked != state.held || now.deadline <= crate::keeper::now() {
        writing.write_all(&line(&Word::Refused)).await.ok()?;
        return None;
    }
    let _inside = Inside::enter(&state);
    let ttl_ms = u64::try_from(state.ttl.as_millis()).unwrap_or(u64::MAX);
    writing.write_all(&line(&Word::Welcome { deadline_ns: now.deadline.as_nanos(), ttl_ms })).await.ok()?;
    loop {
        tokio::select! {
            changed = news.changed() => changed.ok()?,
            // A joiner says nothing more: anything that comes, or nothing for ever, means that it left.
            _ = lines.next_line() => return Some(()),
        }
        let now = news.borrow_and_update().clone();
        let word = match now.lost {
            Some(why) => Word::Lost { why },
            None => Word::Renewed { deadline_ns: now.deadline.as_nanos() },
        };
        writing.write_all(&line(&word)).await.ok()?;
    }
}

/// A joiner that is counted for as long as it is served.
struct Inside<'a>(&'a State);

impl Inside<'_> {
    fn enter(state: &State) -> Inside<'_> {
        state.inside.send_modify(|count| *count += 1);
        Inside(state)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.inside.send_modify(|count| *count -= 1);
    }
}

fn line(word: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(word).expect("texts and numbers always serialise");
    line.push(b'\n');
    line
}

async fn next(lines: &mut Lines<BufReader<OwnedReadHalf>>) -> Option<Word> {
    serde_json::from_str(&lines.next_line().await.ok()??).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_read_back_from_the_environments_text() {
        let held = Held { name: "a \"b\"".into(), store: "s".into(), claim: "c".into(), token: 7, socket: "x".into() };
        let text = text(std::slice::from_ref(&held));
        assert_eq!(serde_json::from_str::<Vec<Held>>(&text).unwrap(), [held]);
    }
}
