//! A client process of a run: connects, says that it is ready, takes and gives back until told otherwise, and reports.

use crate::contenders::{Kind, Seat, bare, blpop, fifo, nothing, ours, poll, raw};
use crate::record::{self, Notes, Plan, Record, turns};
use crate::{Fault, clock, placement};
use leasehold::Client;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};

/// How long tasks have, after the end of the plan, to get the lock once more and give it back.
const DRAIN: Duration = Duration::from_millis(500);

/// What a client process is told at its start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    pub kind: Kind,
    pub url: String,
    /// One lock for each task; equal names are one lock.
    pub keys: Vec<String>,
    /// Threads of the process's tokio runtime.
    pub workers: usize,
}

/// What it reports; its records follow.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Processor time while it was counted, in nanoseconds.
    pub cpu: u64,
    pub records: usize,
    /// What went wrong.
    pub faults: Vec<String>,
}

/// The runtime of a client process.
///
/// # Errors
/// If the operating system grants no threads.
pub fn runtime(workers: usize) -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(workers).enable_all().build()
}

/// Lives the life of a client process.
///
/// # Errors
/// If it could not take part.
pub fn run(spec: &Spec) -> Result<(), Fault> {
    placement::pin(std::process::id(), 0)?;
    let runtime = runtime(spec.workers)?;
    let (url, keys) = (spec.url.as_str(), spec.keys.as_slice());
    let stop = Arc::new(AtomicBool::new(false));
    let poll = |pause: u64| poll::seats(url, keys, Duration::from_millis(pause), &stop);
    let enter = |handle: &Handle| handle.clone();
    let run = Run { handle: enter(runtime.handle()), stop: Arc::clone(&stop) };
    match spec.kind {
        Kind::Ours | Kind::OursAlone | Kind::Observed => {
            let builder = Client::builder();
            let builder = if spec.kind == Kind::Observed { ours::observed(builder)? } else { builder };
            let client = runtime.block_on(builder.connect(url))?;
            let lock = |key: &String| Ok(ours::Ours::new(ours::ours(&client, key, spec.kind != Kind::OursAlone)?));
            run.take_part(keys.iter().map(lock).collect::<Result<_, Fault>>()?)?;
            runtime.block_on(client.shutdown());
        }
        Kind::Bare => run.take_part(runtime.block_on(bare::seats(url, keys))?)?,
        Kind::Poll10 => run.take_part(poll(10)?)?,
        Kind::Poll1 => run.take_part(poll(1)?)?,
        Kind::Rslock | Kind::Rslock1 => rslock(spec, &run)?,
        Kind::Blpop => run.take_part(runtime.block_on(blpop::seats(url, keys))?)?,
        Kind::Fifo => run.take_part(runtime.block_on(fifo::seats(url, keys))?)?,
        Kind::Raw => run_raw(url, keys)?,
        Kind::Nothing => run.take_part(keys.iter().map(|_| nothing::Nothing).collect())?,
    }
    runtime.shutdown_background();
    Ok(())
}

#[cfg(feature = "rivals")]
fn rslock(spec: &Spec, run: &Run) -> Result<(), Fault> {
    let retry = (spec.kind == Kind::Rslock1).then_some(Duration::from_millis(2));
    run.take_part(crate::contenders::rslock::seats(&spec.url, &spec.keys, retry))
}

#[cfg(not(feature = "rivals"))]
fn rslock(_: &Spec, _: &Run) -> Result<(), Fault> {
    Err("built without the feature `rivals`".into())
}

/// Says that it is ready, and waits to be told when to begin.
///
/// # Errors
/// If the parent is gone.
pub fn ready() -> Result<Plan, Fault> {
    println!("ready");
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

fn report(report: &Report, records: &[Record]) -> Result<(), Fault> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(report)?)?;
    record::write(records, &mut out)?;
    out.flush()?;
    drop(out);
    // The parent reads the server's counters before this process says good-bye to it.
    io::stdin().lock().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Sleeps through the run; the processor time that the process used while it counted.
fn cpu_while(plan: &Plan) -> u64 {
    clock::sleep_until(plan.from);
    let before = clock::cpu_used();
    clock::sleep_until(plan.end);
    clock::cpu_used() - before
}

fn run_raw(url: &str, keys: &[String]) -> Result<(), Fault> {
    let plan = ready()?;
    let (url, keys) = (url.to_owned(), keys.to_vec());
    let turning = std::thread::spawn(move || raw::run(&url, &keys, &plan));
    let cpu = cpu_while(&plan);
    let records = turning.join().map_err(|_| "the raw client panicked")??;
    report(&Report { cpu, records: records.len(), faults: Vec::new() }, &records)
}

struct Run {
    handle: Handle,
    /// Ends the waits of those who block.
    stop: Arc<AtomicBool>,
}

impl Run {
    fn take_part<S: Seat>(&self, seats: Vec<S>) -> Result<(), Fault> {
        let plan = ready()?;
        let notes: Vec<Notes> = seats.iter().map(|_| Notes::default()).collect();
        let (done, ends) = std::sync::mpsc::channel();
        for (task, (seat, notes)) in seats.into_iter().zip(&notes).enumerate() {
            let turning = turns(task as u64, seat, plan, Arc::clone(notes));
            let done = done.clone();
            // The parent may not wait for the last of them.
            let turning = async move { drop(done.send(turning.await.map_err(|fault| fault.to_string()))) };
            if S::BLOCKS {
                let handle = self.handle.clone();
                std::thread::spawn(move || handle.block_on(turning));
            } else {
                self.handle.spawn(turning);
            }
        }
        let cpu = cpu_while(&plan);
        self.stop.store(true, Ordering::Relaxed);
        let over = plan.end + DRAIN.as_nanos() as u64;
        let mut faults = Vec::new();
        for _ in &notes {
            let left = Duration::from_nanos(over.saturating_sub(clock::now()));
            match ends.recv_timeout(left) {
                Ok(Ok(())) => {}
                Ok(Err(fault)) if fault == poll::OVER => {}
                Ok(Err(fault)) => faults.push(fault),
                // Those that still wait poll too seldom to be waited for.
                Err(_) => break,
            }
        }
        let taken = |notes: &Notes| notes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let records: Vec<Record> = notes.iter().flat_map(taken).collect();
        report(&Report { cpu, records: records.len(), faults }, &records)
    }
}
