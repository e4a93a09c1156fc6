//! The thread that looks at the store, again and again.

use super::Event;
use super::model::Look;
use super::past::When;
use crate::obtain::goodbye;
use crate::store::{Fault, Store};
use leasehold::{Client, Error, ErrorKind};
use std::io;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::time::sleep;

/// A name to ask for when only the time of an answer matters; nothing is written.
const PROBE: &str = "leasehold:top";

/// After so many looks in a row that did not succeed the client is made anew.
const PATIENCE: u32 = 3;

/// How many times a list goes to the store and back, whatever its length.
const ROUND_TRIPS: u32 = 3;

/// How many times longer than a look the store rests.
const REST: u32 = 9;

/// What is to be looked at, and how often.
pub struct Task {
    /// The store.
    pub store: Store,
    /// The time from one look to the next.
    pub every: Duration,
    /// The zero of all instants that are told.
    pub begun: Instant,
    /// Who is told.
    pub tell: Sender<Event>,
}

/// The looker's thread, which ends with this.
pub struct Looker {
    orders: watch::Sender<Order>,
    ended: std::sync::mpsc::Receiver<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Look,
    Pause,
    End,
}

impl Looker {
    /// Starts to look.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn start(task: Task) -> io::Result<Looker> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (orders, heard) = watch::channel(Order::Look);
        let (done, ended) = std::sync::mpsc::sync_channel(1);
        thread::Builder::new().name("leasehold-top-look".into()).spawn(move || {
            work(&runtime, &task, heard);
            let _ = done.send(());
        })?;
        Ok(Looker { orders, ended })
    }

    /// Looks no more, or again.
    pub fn pause(&self, yes: bool) {
        self.orders.send_replace(if yes { Order::Pause } else { Order::Look });
    }

    /// Ends the looks and says goodbye to the store, in no more time than this.
    pub fn end(&self, limit: Duration) {
        self.orders.send_replace(Order::End);
        let _ = self.ended.recv_timeout(limit);
    }
}

fn work(runtime: &Runtime, task: &Task, mut heard: watch::Receiver<Order>) {
    let mut client = None;
    runtime.block_on(async {
        let mut until_end = heard.clone();
        tokio::select! {
            _ = until_end.wait_for(|order| *order == Order::End) => {}
            () = look_forever(task, &mut heard, &mut client) => {}
        }
        if let Some(client) = client.take() {
            goodbye(client).await;
        }
    });
}

async fn look_forever(task: &Task, heard: &mut watch::Receiver<Order>, client: &mut Option<Client>) {
    let (mut failures, mut has_seen) = (0, false);
    loop {
        if heard.wait_for(|order| *order == Order::Look).await.is_err() {
            return;
        }
        let asked = task.begun.elapsed();
        let answer = look(task, client).await;
        let rest = answer.as_ref().map_or(Duration::ZERO, rest_after);
        failures = if answer.is_ok() { 0 } else { failures + 1 };
        has_seen |= answer.is_ok();
        let event = match answer {
            Ok(look) => Event::Seen(look),
            Err(error) if error.kind() != ErrorKind::Unavailable && !has_seen => Event::Refused(error.into()),
            Err(error) => Event::Failed(asked, Fault::from(error).message),
        };
        if task.tell.send(event).is_err() {
            return;
        }
        if failures >= PATIENCE
            && let Some(client) = client.take()
        {
            failures = 0;
            goodbye(client).await;
        }
        sleep(task.every.saturating_sub(task.begun.elapsed() - asked).max(rest)).await;
    }
}

/// How long the store is left alone after a look: looks take at most a tenth of its time, the way to it not counted.
fn rest_after(look: &Look) -> Duration {
    (look.when.told - look.when.asked).saturating_sub(look.round_trip * ROUND_TRIPS) * REST
}

async fn look(task: &Task, client: &mut Option<Client>) -> Result<Look, Error> {
    let client = match client {
        Some(client) => client,
        None => client.insert(task.store.connect(Some("top")).await?),
    };
    let begun = Instant::now();
    client.inspect(PROBE).await?;
    let round_trip = begun.elapsed();
    let asked = task.begun.elapsed();
    let all = client.list().await?;
    Ok(Look { when: When { asked, told: task.begun.elapsed() }, round_trip, all })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_asked_for_less_often_and_a_long_way_is_no_reason() {
        let rest = |took, round_trip| {
            let when = When { asked: Duration::from_secs(1), told: Duration::from_secs(1) + Duration::from_millis(took) };
            rest_after(&Look { when, round_trip: Duration::from_millis(round_trip), all: Vec::new() })
        };
        assert_eq!(rest(203, 1), Duration::from_millis(1800));
        assert_eq!(rest(600, 200), Duration::ZERO);
        assert_eq!(rest(500, 200), Duration::ZERO);
    }
}
