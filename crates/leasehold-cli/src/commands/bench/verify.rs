//! `leasehold bench --verify`: a stock is sold under the lock while holders are killed and paused.

use super::crew::Crew;
use super::progress::bar;
use super::protocols::{Connection, Lock};
use super::report::{Deal, Run, Verified};
use super::sale::{End, Sale};
use super::wire::Setup;
use super::{fresh_name, interrupted};
use crate::args::{Bench, Protocol};
use crate::commands::view::millis;
use crate::keeper;
use crate::obtain::{Ears, goodbye, refused};
use crate::store::{Fault, Store};
use leasehold::{Client, HoldPolicy, Instant, Mutex};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The ttl, if none is asked for: a killed holder's lock is waited for that long.
const TTL: Duration = Duration::from_secs(1);

/// Runs the sale; with Leasehold once more without the token check.
pub async fn verify(args: &Bench, store: &Store, ears: &Ears) -> Result<Verified, Fault> {
    let ttl = args.ttl.unwrap_or(TTL);
    check(args, store, ttl)?;
    let protocol = args.sale.protocol;
    let is_ours = protocol == Protocol::Leasehold;
    let mut runs = vec![Stage { args, store, ears, ttl, deal: Deal { protocol, token_check: is_ours } }.play().await?];
    if is_ours {
        runs.push(Stage { args, store, ears, ttl, deal: Deal { protocol, token_check: false } }.play().await?);
    }
    Ok(Verified {
        store: format!("{store:?}"),
        processes: args.sale.processes,
        buyers: args.sale.buyers,
        stock: args.sale.stock,
        ttl_ms: millis(ttl),
        // The run beside it shows what the check is for; it promises nothing.
        ok: runs[0].ok,
        runs,
    })
}

fn check(args: &Bench, store: &Store, ttl: Duration) -> Result<(), Fault> {
    HoldPolicy::with_ttl(ttl).check().map_err(|error| Fault::usage(format!("--ttl: {error}")))?;
    if store.url().starts_with("memory:") {
        return Err(Fault::usage("--verify needs a store that processes can share, and memory: lives in one process"));
    }
    let (sale, faults) = (&args.sale, args.sale.kill.saturating_add(args.sale.pause));
    if faults >= sale.processes {
        let message = format!(
            "--kill {} and --pause {} need at least {} --processes, so that one is left to sell",
            sale.kill,
            sale.pause,
            faults.saturating_add(1)
        );
        return Err(Fault::usage(message));
    }
    Ok(())
}

/// One run of the sale.
struct Stage<'a> {
    args: &'a Bench,
    store: &'a Store,
    ears: &'a Ears,
    ttl: Duration,
    deal: Deal,
}

impl Stage<'_> {
    async fn play(&self) -> Result<Run, Fault> {
        // What cannot be reached at all is found out before any process is started.
        let connection = Connection::open(self.store, self.deal.protocol).await?;
        let name = fresh_name("");
        let lock = connection.lock(&name, self.ttl)?;
        let (answer, last_death) = self.sell(&name).await;
        let answer = match answer {
            Ok(run) if run.stuck => self.blame_the_store(&connection, &name).await.map(|()| run),
            other => other,
        };
        tokio::select! {
            () = self.tidy_up(&connection, lock, last_death) => {}
            signal = self.ears.end() => return Err(interrupted(signal)),
        }
        if let Connection::Leasehold(client) = connection {
            goodbye(client).await;
        }
        answer
    }

    /// What became of the sale, and when a process was killed last.
    async fn sell(&self, name: &str) -> (Result<Run, Fault>, Option<Instant>) {
        let sale = &self.args.sale;
        let setup = Setup {
            url: self.store.url().into(),
            protocol: self.deal.protocol,
            name: name.into(),
            ttl_ms: millis(self.ttl),
            buyers: sale.buyers,
        };
        let crew = match Crew::start(sale.processes, &setup) {
            Ok(crew) => crew,
            Err(error) => return (Err(refused(error)), None),
        };
        let mut sold = Sale::new(crew, sale, self.deal, self.ttl);
        let bar = bar(self.args, sale.stock, &self.deal.to_string());
        let answer = loop {
            tokio::select! {
                step = sold.go_on() => match step {
                    Ok(Some(end)) => break Ok(end),
                    Ok(None) => bar.set_position(sold.sold()),
                    Err(fault) => break Err(fault),
                },
                signal = self.ears.end() => break Err(interrupted(signal)),
            }
        };
        bar.finish_and_clear();
        let last_death = sold.last_death();
        let run = sold.close(*answer.as_ref().unwrap_or(&End::Stuck)).await;
        (answer.map(|_| run), last_death)
    }

    /// A store that does not answer is no fault of the lock's.
    async fn blame_the_store(&self, connection: &Connection, name: &str) -> Result<(), Fault> {
        match connection {
            Connection::Leasehold(client) => client.inspect(name).await.map(|_| ()).map_err(Fault::from),
            Connection::Textbook(..) => Ok(()),
        }
    }

    /// The last one turns off the light: waits until what killed buyers held and waited for is over, and leaves nothing.
    async fn tidy_up(&self, connection: &Connection, lock: Lock, last_death: Option<Instant>) {
        let at_most = self.ttl * 3 + Duration::from_secs(5);
        match (connection, lock) {
            (Connection::Leasehold(client), Lock::Leasehold(lock)) => {
                if let Some(death) = last_death {
                    // So long may a store remember a client that is gone.
                    sleep((death + self.ttl * 4 / 3 + Duration::from_millis(1_200)).since(keeper::now())).await;
                }
                let _ = timeout(at_most, bury(client, &lock)).await;
            }
            (_, Lock::Textbook(lock)) => drop(timeout(at_most, lock.delete()).await),
            _ => {}
        }
    }
}

/// Holds the lock once more, until others can see who holds it: with that entry, a store drops those of the dead.
async fn bury(client: &Client, lock: &Mutex) -> Result<(), leasehold::Error> {
    let guard = lock.acquire().await?;
    while client.inspect(lock.resource().as_str()).await?.holders.iter().all(|holder| holder.about.is_none()) {
        sleep(Duration::from_millis(5)).await;
    }
    guard.release().await.map(|_| ())
}
