//! The way to a lock: connect, ask, wait, tell who holds, and give up on a signal.

use crate::args::{PolicyArgs, Wait, WaitArgs};
use crate::commands::view;
use crate::exit::{self, Code};
use crate::keeper;
use crate::say::say;
use crate::store::{Fault, Store};
use crate::sys::{self, Arrival, Signals};
use leasehold::{Client, ErrorKind, Guard, Mutex, Renewal};
use std::cell::RefCell;
use std::future::{Future, pending};
use std::io;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::time::{sleep, timeout};

/// How long a wait lasts before it is worth a word.
const WORTH_A_WORD: Duration = Duration::from_millis(300);

/// How long a goodbye to the store may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// What is wanted.
#[derive(Debug)]
pub struct Wish<'a> {
    /// The lock's name.
    pub name: &'a str,
    /// Where it is.
    pub store: &'a Store,
    /// On which terms.
    pub policy: &'a PolicyArgs,
    /// For how long it is waited for.
    pub waiting: &'a WaitArgs,
    /// Whether it is renewed.
    pub renew: Renewal,
    /// Whether nothing is said but errors.
    pub quiet: bool,
}

/// The signals that reach this process, as events.
#[derive(Debug)]
pub struct Ears(AsyncFd<Signals>);

impl Ears {
    /// Opens them. The signals must have been blocked before any thread was started.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn open() -> io::Result<Ears> {
        Signals::open(&sys::FORWARDED)?.watched().map(Ears)
    }

    /// The next signal. May be dropped at any await.
    pub async fn next(&self) -> Arrival {
        loop {
            if let Some(arrival) = self.0.get_ref().next() {
                return arrival;
            }
            match self.0.readable().await {
                Ok(mut ready) => ready.clear_ready(),
                Err(_) => pending().await,
            }
        }
    }

    /// The next signal that ends a wait. May be dropped at any await.
    pub async fn end(&self) -> i32 {
        loop {
            match self.next().await.signal {
                signal @ (libc::SIGINT | libc::SIGTERM | libc::SIGHUP | libc::SIGQUIT) => return signal,
                libc::SIGTSTP => sys::stop(false),
                _ => {}
            }
        }
    }
}

/// A lock that was granted, and the client that holds it.
#[derive(Debug)]
pub struct Granted {
    /// The client.
    pub client: Client,
    /// Its guard.
    pub guard: Guard,
}

/// Gets the lock.
///
/// # Errors
/// A [`Fault`] with the exit code that says why not, [`exit::BUSY`] only if others held until the end of the wait; a signal
/// withdraws the claim first.
pub async fn obtain(wish: &Wish<'_>, ears: &Ears) -> Result<Granted, Fault> {
    let client = RefCell::new(None);
    let answer = tokio::select! {
        answer = ask(wish, &client) => answer,
        signal = ears.end() => Err(Fault { code: Code::of_signal(signal), message: format!("the wait was ended by {}", signal_name(signal)) }),
    };
    let client = client.into_inner();
    match (answer, client) {
        (Ok(guard), Some(client)) => Ok(Granted { client, guard }),
        (Ok(_), None) => unreachable!("a guard comes from a client"),
        (Err(fault), client) => {
            if let Some(client) = client {
                goodbye(client).await;
            }
            Err(fault)
        }
    }
}

/// Ends a client, so that its claims are withdrawn before this process ends.
pub async fn goodbye(client: Client) {
    let _ = timeout(GOODBYE, client.shutdown()).await;
}

/// A signal as people know it.
pub fn signal_name(number: i32) -> String {
    match number {
        libc::SIGINT => "SIGINT".into(),
        libc::SIGTERM => "SIGTERM".into(),
        libc::SIGHUP => "SIGHUP".into(),
        libc::SIGQUIT => "SIGQUIT".into(),
        libc::SIGKILL => "SIGKILL".into(),
        other => format!("signal {other}"),
    }
}

async fn ask(wish: &Wish<'_>, place: &RefCell<Option<Client>>) -> Result<Guard, Fault> {
    let begun = keeper::now();
    let left = || match wish.waiting.wait {
        Wait::Forever => None,
        Wait::For(wait) => Some(wait.saturating_sub(keeper::now().since(begun))),
    };
    let client = connect(wish, left).await?;
    let lock = mutex(wish, &client)?;
    *place.borrow_mut() = Some(client.clone());
    let granted = talk_meanwhile(wish, &client, acquire(&lock, left())).await?;
    let busy = || Fault { code: exit::BUSY, message: format!("{} was not granted: held by another", wish.name) };
    granted.ok_or_else(busy)
}

async fn acquire(lock: &Mutex, left: Option<Duration>) -> Result<Option<Guard>, Fault> {
    match left {
        None => Ok(Some(lock.acquire().await?)),
        Some(Duration::ZERO) => Ok(lock.try_acquire().await?),
        Some(left) => Ok(lock.acquire_timeout(left).await?),
    }
}

/// Connects; as long as the wait lasts, if the store is down.
async fn connect(wish: &Wish<'_>, left: impl Fn() -> Option<Duration>) -> Result<Client, Fault> {
    let mut pause = Duration::from_millis(100);
    let mut said = wish.quiet;
    loop {
        let error = match wish.store.connect(wish.waiting.label.as_deref()).await {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        let left = left().unwrap_or(Duration::MAX);
        if error.kind() != ErrorKind::Unavailable || left.is_zero() {
            return Err(error.into());
        }
        if !std::mem::replace(&mut said, true) {
            say(format_args!("waiting for the store: {}", Fault::from(error).message));
        }
        sleep(pause.min(left)).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

fn mutex(wish: &Wish<'_>, client: &Client) -> Result<Mutex, Fault> {
    let policy = wish.policy;
    let mut lock = client.mutex(wish.name)?.ttl(policy.ttl).renew(wish.renew).full_ttl(true);
    if let Some(max_hold) = policy.max_hold {
        lock = lock.max_hold(max_hold);
    }
    if let Some(min_hold) = policy.min_hold {
        lock = lock.min_hold(min_hold);
    }
    if let Some(lock_delay) = policy.lock_delay {
        lock = lock.lock_delay(lock_delay);
    }
    Ok(lock)
}

/// Awaits `work`, and says who holds the lock if that takes a while.
async fn talk_meanwhile<T>(wish: &Wish<'_>, client: &Client, work: impl Future<Output = T>) -> T {
    let talk = async {
        if !wish.quiet {
            sleep(WORTH_A_WORD).await;
            let seen = client.inspect(wish.name).await.map(|seen| view::who_holds(&seen));
            say(format_args!("waiting for {}: {}", wish.name, seen.unwrap_or_else(|error| Fault::from(error).message)));
        }
        pending().await
    };
    tokio::select! {
        done = work => done,
        never = talk => never,
    }
}

/// The fault of an operating system that refuses what every process may have.
pub fn refused(error: io::Error) -> Fault {
    Fault { code: exit::UNAVAILABLE, message: format!("the operating system refuses: {error}") }
}
