//! What a process of buyers and its parent say to each other: a line of JSON each.

use super::shop::Proof;
use crate::args::Protocol;
use crate::exit::Code;
use serde::{Deserialize, Serialize};

/// The first line to a process: what it is to do. It goes over the socket since a URL may hold a password.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// The store.
    pub url: String,
    /// How its buyers lock.
    pub protocol: Protocol,
    /// What they lock.
    pub name: String,
    /// The lock's ttl.
    pub ttl_ms: u64,
    /// How many they are.
    pub buyers: u32,
}

/// What a process says. Instants are nanoseconds of the clock of deadlines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// It is connected to the store.
    Up,
    /// It cannot go on.
    Failed { code: Code, message: String },
    /// A buyer holds the lock and reads the stock.
    Entered { buyer: u32, waited_ns: u64, entered_ns: u64, deadline_ns: u64, proof: Option<Proof> },
    /// It has thought, has looked at its lock for the last time, and is about to sell.
    Ready { buyer: u32 },
    /// It sells the last item of the stock that it read.
    Sell { buyer: u32, item: u64 },
    /// It believed to hold until then, and releases now.
    Left { buyer: u32, until_ns: u64 },
}

/// What a process is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// The shop is open: all processes are up.
    Open,
    /// What the stock is.
    Stock { buyer: u32, left: u64 },
    /// Go on to the sale.
    Go { buyer: u32 },
    /// The item is yours.
    Sold { buyer: u32 },
    /// The token is older than one that was seen.
    Refused { buyer: u32 },
}

impl Told {
    /// Whom it is for, if not for all.
    pub fn buyer(&self) -> Option<u32> {
        match *self {
            Told::Open => None,
            Told::Stock { buyer, .. } | Told::Go { buyer } | Told::Sold { buyer } | Told::Refused { buyer } => Some(buyer),
        }
    }
}

/// A message as it is sent.
pub fn line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("texts and numbers always serialise");
    line.push(b'\n');
    line
}
