//! The locks that buyers use: this library's, and the textbook protocols that it is compared with, as their books have them.

use super::shop::Proof;
use crate::args::Protocol;
use crate::exit::{self, Code};
use crate::keeper;
use crate::store::{Fault, Store};
use leasehold::{Client, Guard, Instant, Mutex};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, RedisError, ServerErrorKind, cmd};
use std::time::Duration;
use tokio::time::sleep;

/// How often a textbook protocol asks again for a lock that another holds.
const RETRY: Duration = Duration::from_millis(5);

/// How long a textbook protocol waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A way to one lock.
#[derive(Clone, Debug)]
pub enum Lock {
    /// This library's.
    Leasehold(Mutex),
    /// A textbook's.
    Textbook(Textbook),
}

impl Lock {
    /// Acquires, waiting as long as it takes.
    ///
    /// # Errors
    /// Those of the store that waiting cannot mend.
    pub async fn acquire(&self) -> Result<Hold, Fault> {
        match self {
            Lock::Leasehold(lock) => Ok(Hold::Leasehold(lock.acquire().await?)),
            Lock::Textbook(lock) => Ok(Hold::Textbook(lock.clone(), lock.acquire().await?)),
        }
    }
}

/// A lock that was acquired.
#[derive(Debug)]
pub enum Hold {
    /// This library's guard.
    Leasehold(Guard),
    /// A textbook's lock, and the value that was set.
    Textbook(Textbook, String),
}

impl Hold {
    /// True if the holder still believes to hold. The textbooks have nothing to look at.
    pub fn is_held(&self) -> bool {
        match self {
            Hold::Leasehold(guard) => guard.check(Duration::ZERO).is_ok(),
            Hold::Textbook(..) => true,
        }
    }

    /// Until when the holder believes to hold.
    pub fn deadline(&self) -> Instant {
        match self {
            Hold::Leasehold(guard) => guard.deadline(),
            Hold::Textbook(..) => Instant::FAR,
        }
    }

    /// What a shop can check.
    pub fn proof(&self) -> Option<Proof> {
        match self {
            Hold::Leasehold(guard) => Some(Proof { token: guard.token().as_u64(), claim: guard.claim().to_string() }),
            Hold::Textbook(..) => None,
        }
    }

    /// Gives it back.
    ///
    /// # Errors
    /// Those of the store, for a textbook's lock; the library goes on with a release in the background.
    pub async fn release(self) -> Result<(), Fault> {
        match self {
            Hold::Leasehold(guard) => {
                let _ = guard.release().await;
                Ok(())
            }
            Hold::Textbook(lock, value) => lock.release(&value).await,
        }
    }
}

/// A client of a store, whichever protocol it speaks.
#[derive(Debug)]
pub enum Connection {
    /// This library's.
    Leasehold(Client),
    /// A bare connection to Redis, and the protocol that is spoken on it.
    Textbook(MultiplexedConnection, Protocol),
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Those of the store; bad usage for a textbook protocol on anything but a `redis://` URL.
    pub async fn open(store: &Store, protocol: Protocol) -> Result<Connection, Fault> {
        if protocol == Protocol::Leasehold {
            return Ok(Connection::Leasehold(store.connect(Some("leasehold bench")).await?));
        }
        if !store.url().starts_with("redis://") {
            let message = format!("--protocol {} needs a Redis server: a URL that begins with redis://", protocol.name());
            return Err(Fault::usage(message));
        }
        // Our own options, such as the prefix, are none of the driver's.
        let bare = store.url().split(['?', '#']).next().unwrap_or_default();
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(PATIENCE));
        let client = redis::Client::open(bare).map_err(fault)?;
        let connection = client.get_multiplexed_async_connection_with_config(&config).await.map_err(fault)?;
        Ok(Connection::Textbook(connection, protocol))
    }

    /// The lock `name`.
    ///
    /// # Errors
    /// Bad usage, if it is not a legal name.
    pub fn lock(&self, name: &str, ttl: Duration) -> Result<Lock, Fault> {
        Ok(match self {
            Connection::Leasehold(client) => Lock::Leasehold(client.mutex(name)?.ttl(ttl)),
            Connection::Textbook(connection, protocol) => {
                let connection = connection.clone();
                Lock::Textbook(Textbook { connection, protocol: *protocol, key: format!("leasehold:{name}"), ttl })
            }
        })
    }
}

/// A textbook's lock.
#[derive(Clone, Debug)]
pub struct Textbook {
    connection: MultiplexedConnection,
    protocol: Protocol,
    key: String,
    ttl: Duration,
}

impl Textbook {
    async fn acquire(&self) -> Result<String, Fault> {
        let value = super::random();
        while !self.try_acquire(&value).await.map_err(fault)? {
            sleep(RETRY).await;
        }
        Ok(value)
    }

    async fn try_acquire(&self, value: &str) -> Result<bool, RedisError> {
        let mut connection = self.connection.clone();
        let ttl_ms = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
        if self.protocol == Protocol::SetNxEx {
            let mut set = cmd("SET");
            set.arg(&self.key).arg(value).arg("NX").arg("PX").arg(ttl_ms);
            return set.query_async(&mut connection).await.map(|answer: Option<String>| answer.is_some());
        }
        let is_ours: bool = cmd("SETNX").arg(&self.key).arg(value).query_async(&mut connection).await?;
        if is_ours && self.protocol == Protocol::SetnxExpire {
            let () = cmd("PEXPIRE").arg(&self.key).arg(ttl_ms).query_async(&mut connection).await?;
        }
        Ok(is_ours)
    }

    async fn release(&self, value: &str) -> Result<(), Fault> {
        if self.protocol != Protocol::SetNxEx {
            return self.delete().await;
        }
        let mut connection = self.connection.clone();
        let mut script = cmd("EVAL");
        script.arg(include_str!("lua/delete_own.lua")).arg(1).arg(&self.key).arg(value);
        script.query_async(&mut connection).await.map_err(fault)
    }

    /// Deletes the lock, whosever it is.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn delete(&self) -> Result<(), Fault> {
        let mut connection = self.connection.clone();
        cmd("DEL").arg(&self.key).query_async(&mut connection).await.map_err(fault)
    }
}

/// What a bare connection's error means to the user; its text is left out where it may repeat what must not be shown.
fn fault(error: RedisError) -> Fault {
    let with = |code: Code, message: String| Fault { code, message };
    match error.kind() {
        ErrorKind::InvalidClientConfig => Fault::usage("the URL cannot be read"),
        ErrorKind::AuthenticationFailed => with(exit::PERMISSION, "the server refuses this user or password".into()),
        ErrorKind::Server(ServerErrorKind::NoPerm) => with(exit::PERMISSION, "the server refuses this user a command".into()),
        ErrorKind::Io => with(exit::UNAVAILABLE, format!("the server cannot be reached: {error}")),
        _ => match error.code() {
            Some("NOAUTH" | "WRONGPASS") => with(exit::PERMISSION, "the server refuses this user or password".into()),
            Some(code) => with(exit::UNAVAILABLE, format!("the server answers {code}")),
            None => with(exit::UNAVAILABLE, "the server's answer makes no sense".into()),
        },
    }
}

/// Until when a hold is believed in, looked at now.
pub fn believed_until(hold: &Hold) -> Instant {
    keeper::now().min(hold.deadline())
}
