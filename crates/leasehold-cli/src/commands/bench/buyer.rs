//! A process of buyers: acquires, reads the stock, thinks, sells, releases, until its parent closes the shop.

use super::protocols::{Connection, Hold, Lock, believed_until};
use super::shop::Proof;
use super::wire::{Said, Setup, Told, line};
use crate::commands::on_runtime;
use crate::exit;
use crate::keeper;
use crate::obtain::{goodbye, refused};
use crate::store::{Fault, Store};
use crate::sys;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream as StdStream;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// The hidden command that makes this program a process of buyers: `leasehold __buyers FD`.
pub const HIDDEN: &str = "__buyers";

/// How long a buyer thinks between its look at the stock and its sale.
const THOUGHT: Duration = Duration::from_millis(2);

/// Runs as a process of buyers until the parent closes the socket, or dies.
pub fn main(args: &[OsString]) -> ExitCode {
    match socket(args) {
        Ok(socket) => {
            let _ = on_runtime(serve(socket));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("leasehold: internal command, not for use by hand: {error}");
            exit::USAGE.into()
        }
    }
}

fn socket(args: &[OsString]) -> io::Result<StdStream> {
    let [fd] = args else { return Err(ErrorKind::InvalidInput.into()) };
    let fd = fd.to_str().and_then(|fd| fd.parse().ok()).ok_or(ErrorKind::InvalidInput)?;
    let socket = StdStream::from(sys::inherited(fd)?);
    // What a terminal sends to the whole group is the parent's to deal with.
    sys::block(&sys::FORWARDED)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

type Words = Lines<BufReader<OwnedReadHalf>>;

async fn serve(socket: StdStream) -> Result<(), Fault> {
    let (reading, writing) = UnixStream::from_std(socket).map_err(refused)?.into_split();
    let mut words = BufReader::new(reading).lines();
    let Some(setup) = next::<Setup>(&mut words).await else { return Ok(()) };
    let (mouth, said) = unbounded_channel();
    let talking = tokio::task::spawn_local(talk(writing, said));
    if let Err(fault) = buy_all(&setup, &mut words, &mouth).await {
        let _ = mouth.send(Said::Failed { code: fault.code, message: fault.message });
    }
    drop(mouth);
    let _ = talking.await;
    Ok(())
}

/// Until the parent closes the socket, which ends every wait, or something cannot be mended.
async fn buy_all(setup: &Setup, words: &mut Words, mouth: &UnboundedSender<Said>) -> Result<(), Fault> {
    let connection = Connection::open(&Store::at(&setup.url), setup.protocol).await?;
    let lock = connection.lock(&setup.name, Duration::from_millis(setup.ttl_ms))?;
    let counter = Counter { mouth: mouth.clone(), ears: Rc::default() };
    let _ = mouth.send(Said::Up);
    let answer = match next::<Told>(words).await {
        Some(Told::Open) => {
            let mut buyers = JoinSet::new();
            for buyer in 0..setup.buyers {
                buyers.spawn_local(buy(lock.clone(), counter.visitor(buyer)));
            }
            tokio::select! {
                () = listen(words, &counter) => Ok(()),
                answer = first_fault(&mut buyers) => Err(answer),
            }
        }
        _ => Ok(()),
    };
    drop(lock);
    if let Connection::Leasehold(client) = connection {
        goodbye(client).await;
    }
    answer
}

/// Waits for a buyer that cannot go on; for ever, if all end in peace.
async fn first_fault(buyers: &mut JoinSet<Result<(), Fault>>) -> Fault {
    while let Some(ended) = buyers.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => return fault,
            Err(error) => return Fault { code: exit::LOST, message: format!("a buyer broke down: {error}") },
        }
    }
    std::future::pending().await
}

/// One buyer, until the stock is sold out.
async fn buy(lock: Lock, mut visitor: Visitor) -> Result<(), Fault> {
    loop {
        let asked = keeper::now();
        let hold = lock.acquire().await?;
        let entered_ns = keeper::now().as_nanos();
        let mut goes_on = true;
        if hold.is_held() {
            let waited_ns = entered_ns.saturating_sub(asked.as_nanos());
            let entry = Entry { waited_ns, entered_ns, deadline_ns: hold.deadline().as_nanos(), proof: hold.proof() };
            goes_on = visitor.visit(entry, &hold).await;
            visitor.say(Said::Left { buyer: visitor.buyer, until_ns: believed_until(&hold).as_nanos() });
        }
        hold.release().await?;
        if !goes_on {
            return Ok(());
        }
    }
}

/// What a buyer brings along.
struct Entry {
    waited_ns: u64,
    entered_ns: u64,
    deadline_ns: u64,
    proof: Option<Proof>,
}

/// The way of this process's buyers to the shop.
#[derive(Clone)]
struct Counter {
    mouth: UnboundedSender<Said>,
    ears: Rc<RefCell<HashMap<u32, UnboundedSender<Told>>>>,
}

impl Counter {
    fn visitor(&self, buyer: u32) -> Visitor {
        let (ear, told) = unbounded_channel();
        self.ears.borrow_mut().insert(buyer, ear);
        Visitor { buyer, mouth: self.mouth.clone(), told }
    }
}

/// One buyer's way to the shop.
struct Visitor {
    buyer: u32,
    mouth: UnboundedSender<Said>,
    told: UnboundedReceiver<Told>,
}

impl Visitor {
    fn say(&self, said: Said) {
        let _ = self.mouth.send(said);
    }

    /// Reads, thinks, looks at the lock for the last time, and sells. False if the stock is sold out.
    async fn visit(&mut self, entry: Entry, hold: &Hold) -> bool {
        let buyer = self.buyer;
        let Entry { waited_ns, entered_ns, deadline_ns, proof } = entry;
        self.say(Said::Entered { buyer, waited_ns, entered_ns, deadline_ns, proof });
        let left = match self.told.recv().await {
            Some(Told::Stock { left, .. }) => left,
            Some(_) => return true,
            None => return false,
        };
        if left == 0 {
            return false;
        }
        sleep(THOUGHT).await;
        if !hold.is_held() {
            return true;
        }
        // Between this look and the sale lies the gap that no lock can close; here the parent stops and kills.
        self.say(Said::Ready { buyer });
        if self.told.recv().await == Some(Told::Go { buyer }) {
            self.say(Said::Sell { buyer, item: left });
            self.told.recv().await;
        }
        true
    }
}

/// Passes on what the buyers say.
async fn talk(mut writing: OwnedWriteHalf, mut said: UnboundedReceiver<Said>) {
    while let Some(said) = said.recv().await {
        if writing.write_all(&line(&said)).await.is_err() {
            return;
        }
    }
}

/// Passes on what the buyers are told, until the parent closes the socket.
async fn listen(words: &mut Words, counter: &Counter) {
    while let Some(told) = next::<Told>(words).await {
        let ears = counter.ears.borrow();
        if let Some(ear) = told.buyer().and_then(|buyer| ears.get(&buyer)) {
            let _ = ear.send(told);
        }
    }
}

async fn next<T: serde::de::DeserializeOwned>(words: &mut Words) -> Option<T> {
    serde_json::from_str(&words.next_line().await.ok()??).ok()
}
