//! What a tool needs that questions a server by itself: the way to it, the names of our keys, and what our scripts call.
//!
//! `leasehold doctor` is such a tool. Locks need none of this, and it may change in any release.

use super::NAME;
use super::config::{Place, RedisOptions, Target};
use super::fault;
use super::link;
use super::stream::{self, Stream};
use crate::error::Error;
use std::fmt;
use std::path::PathBuf;

pub use leasehold_wire::{ALL as SCRIPTS, Keys, Record, Script, Space};

/// A server and who we are to it, as a URL says. Its `Debug` shows no password.
#[derive(Clone)]
pub struct Probe {
    target: Target,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// Host and port.
    Tcp(String, u16),
    /// The same, under TLS.
    Tls(String, u16),
    /// A unix socket.
    Unix(PathBuf),
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.target.fmt(f)
    }
}

impl Probe {
    /// Reads a URL as [`RedisEngine::connect`](super::RedisEngine::connect) does. Connects to nothing.
    ///
    /// # Errors
    /// Config and unsupported, for what the URL says.
    pub fn of(url: &str) -> Result<Probe, Error> {
        let target = Target::read(url, &RedisOptions::new()).map_err(|error| error.on(NAME))?;
        Ok(Probe { target })
    }

    /// Opens a stream of bytes to the server; nothing is said on it yet. There is no time limit.
    ///
    /// # Errors
    /// Config for a certificate that is not trusted, else unavailable.
    ///
    /// # Cancel safety
    /// If the future is dropped, the stream is closed.
    pub async fn open(&self) -> Result<Box<dyn Stream>, Error> {
        let opened = stream::open(&self.target).await;
        let opened = opened.map_err(|error| link::unreachable(link::unopened(&error), &self.target).on(NAME));
        Ok(Box::new(opened?))
    }

    /// Where the server is.
    pub fn address(&self) -> Address {
        match &self.target.place {
            Place::Tcp(host, port) => Address::Tcp(host.clone(), *port),
            #[cfg(feature = "tls")]
            Place::Tls(host, port, _) => Address::Tls(host.clone(), *port),
            Place::Unix(path) => Address::Unix(path.clone()),
            Place::Given(_) => unreachable!("a URL gives no connections"),
        }
    }

    /// The user's name, if the URL has one.
    pub fn user(&self) -> Option<&str> {
        self.target.user.as_deref()
    }

    /// The password, if the URL has one.
    pub fn password(&self) -> Option<&str> {
        self.target.password.as_ref().map(|secret| secret.0.as_str())
    }

    /// The number of the database.
    pub fn database(&self) -> u32 {
        self.target.db
    }

    /// The names of our keys there.
    pub fn space(&self) -> &Space {
        &self.target.space
    }
}

/// The commands that a script may call, in alphabetical order.
pub fn commands_of(script: &Script) -> Vec<&'static str> {
    fault::commands_of(script)
}
