//! A client process that does one step at a time as its parent says: takes many locks, waits for one, gives back.

use crate::contenders::{Kind, Seat, blpop, fifo, ours, poll};
use crate::worker::{Spec, runtime};
use crate::{Fault, clock, placement};
use leasehold::{Client, Guard};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Runtime;

/// How many locks are taken at a time.
const AT_ONCE: usize = 64;

/// How often all guards are looked at. One that has a third of its lease and a second left at each look was never in doubt.
const LOOK: Duration = Duration::from_secs(1);

/// What it answers to each step.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// Processor time of the process so far, in nanoseconds, without that of the looks.
    pub cpu: u64,
    pub held: usize,
    /// How often a guard was seen in doubt: with less than a third of its lease left.
    pub doubts: u64,
    /// How many guards do not hold.
    pub lost: u64,
    /// The shortest lease that was seen, in milliseconds.
    pub least_left_ms: u64,
}

/// Lives the life of the process: each line is a step, answered by a [`Status`].
///
/// # Errors
/// Those of the locks, and a step that it does not know.
pub fn run(spec: &Spec) -> Result<(), Fault> {
    placement::pin(std::process::id(), 0)?;
    let runtime = runtime(spec.workers)?;
    let (url, keys) = (spec.url.as_str(), spec.keys.as_slice());
    match spec.kind {
        Kind::Ours | Kind::OursAlone => keep(spec, &runtime),
        Kind::Poll1 => wait(&runtime, poll::seats(url, keys, Duration::from_millis(1), &Arc::new(AtomicBool::new(false)))?),
        Kind::Blpop => wait(&runtime, runtime.block_on(blpop::seats(url, keys))?),
        Kind::Fifo => wait(&runtime, runtime.block_on(fifo::seats(url, keys))?),
        #[cfg(feature = "rivals")]
        Kind::Rslock => wait(&runtime, crate::contenders::rslock::seats(url, keys, None)),
        other => Err(format!("{other} keeps nothing").into()),
    }
}

/// The next step, or `None` if the parent wants no more.
fn step() -> Result<Option<String>, Fault> {
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line)?;
    Ok((read > 0).then(|| line.trim().to_owned()))
}

fn say(status: Status) -> Result<(), Fault> {
    println!("{}", serde_json::to_string(&Status { cpu: clock::cpu_used() - status.cpu, ..status })?);
    Ok(())
}

/// Only waits, and only ends by being killed.
fn wait<S: Seat>(runtime: &Runtime, seats: Vec<S>) -> Result<(), Fault> {
    let mut seats = Some(seats);
    say(Status::default())?;
    while let Some(step) = step()? {
        if step == "wait" {
            seats.take().into_iter().flatten().for_each(|seat| drop(start_waiting(runtime, seat)));
        }
        say(Status::default())?;
    }
    std::process::exit(0);
}

fn start_waiting<S: Seat>(runtime: &Runtime, mut seat: S) -> Option<tokio::task::JoinHandle<()>> {
    // Whoever gets it in the end gives it back; a fault then is none of the measurement.
    let waiting = async move {
        if seat.acquire().await.is_ok() {
            let _ = seat.release().await;
        }
    };
    if S::BLOCKS {
        let handle = runtime.handle().clone();
        std::thread::spawn(move || handle.block_on(waiting));
        return None;
    }
    Some(runtime.spawn(waiting))
}

fn keep(spec: &Spec, runtime: &Runtime) -> Result<(), Fault> {
    let client = runtime.block_on(Client::connect(&spec.url))?;
    let cohort = spec.kind == Kind::Ours;
    let watched = Arc::new(Watched::default());
    let mut waiting = Vec::new();
    say(Status::default())?;
    while let Some(step) = step()? {
        match step.as_str() {
            "acquire" => {
                watched.hold(runtime.block_on(acquire(&client, &spec.keys, cohort))?);
                let watched = Arc::clone(&watched);
                std::thread::spawn(move || watched.look_again_and_again());
            }
            "wait" => {
                for key in &spec.keys {
                    let seat = ours::Ours::new(ours::ours(&client, key, cohort)?);
                    waiting.extend(start_waiting(runtime, seat));
                }
            }
            "status" => watched.look(),
            "release" => {
                waiting.drain(..).for_each(|task| task.abort());
                runtime.block_on(release(watched.take()))?;
            }
            other => return Err(format!("an unknown step {other:?}").into()),
        }
        say(watched.status())?;
    }
    runtime.block_on(client.shutdown());
    Ok(())
}

async fn acquire(client: &Client, keys: &[String], cohort: bool) -> Result<Vec<Guard>, Fault> {
    let part = keys.len().div_ceil(AT_ONCE).max(1);
    let take = |keys: &[String]| {
        let locks: Result<Vec<_>, Fault> = keys.iter().map(|key| ours::ours(client, key, cohort)).collect();
        tokio::spawn(async move {
            let mut guards = Vec::new();
            for lock in locks? {
                guards.push(lock.acquire().await?);
            }
            Ok::<_, Fault>(guards)
        })
    };
    let mut guards = Vec::new();
    for task in keys.chunks(part).map(take).collect::<Vec<_>>() {
        guards.extend(task.await??);
    }
    Ok(guards)
}

async fn release(mut guards: Vec<Guard>) -> Result<(), Fault> {
    let part = guards.len().div_ceil(AT_ONCE).max(1);
    let mut tasks = Vec::new();
    while !guards.is_empty() {
        let part = guards.split_off(guards.len().saturating_sub(part));
        tasks.push(tokio::spawn(async move {
            for guard in part {
                guard.release().await?;
            }
            Ok::<_, Fault>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// Guards, and what was seen of them.
#[derive(Default)]
struct Watched {
    guards: Mutex<Vec<Guard>>,
    doubts: AtomicU64,
    lost: AtomicU64,
    least_left_ms: AtomicU64,
    /// Processor time of the looks, in nanoseconds.
    cpu: AtomicU64,
}

impl Watched {
    fn hold(&self, guards: Vec<Guard>) {
        self.least_left_ms.store(u64::MAX, Ordering::Relaxed);
        *self.guards.lock().unwrap_or_else(PoisonError::into_inner) = guards;
    }

    fn take(&self) -> Vec<Guard> {
        std::mem::take(&mut self.guards.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn look(&self) {
        let before = clock::thread_cpu_used();
        let guards = self.guards.lock().unwrap_or_else(PoisonError::into_inner);
        let third = crate::contenders::TTL / 3;
        let (mut doubts, mut lost, mut least) = (0, 0, Duration::MAX);
        for guard in guards.iter() {
            let left = guard.remaining();
            doubts += u64::from(left < third);
            lost += u64::from(left.is_zero());
            least = least.min(left);
        }
        self.doubts.fetch_add(doubts, Ordering::Relaxed);
        self.lost.store(lost, Ordering::Relaxed);
        self.least_left_ms.fetch_min(u64::try_from(least.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.cpu.fetch_add(clock::thread_cpu_used() - before, Ordering::Relaxed);
    }

    /// Until nothing is held any more.
    fn look_again_and_again(&self) {
        loop {
            std::thread::sleep(LOOK);
            if self.status().held == 0 {
                return;
            }
            self.look();
        }
    }

    fn status(&self) -> Status {
        let held = self.guards.lock().unwrap_or_else(PoisonError::into_inner).len();
        let seen = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let least_left_ms = seen(&self.least_left_ms);
        Status { cpu: seen(&self.cpu), held, doubts: seen(&self.doubts), lost: seen(&self.lost), least_left_ms }
    }
}
