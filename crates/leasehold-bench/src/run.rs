//! One run: client processes are started, counted together, and their records judged.

use crate::check;
use crate::clock;
use crate::contenders::Kind;
use crate::placement::Placement;
use crate::record::{self, Hold, Plan, Record};
use crate::server::Server;
use crate::stats::{jain, percentile};
use crate::worker::{Report, Spec};
use crate::{Fault, Options};
use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// What is done in a run, whoever does it.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub placement: Placement,
    pub processes: usize,
    /// Tasks of each process.
    pub tasks: usize,
    /// Tasks of every process but the first; as many as of the first if `None`.
    pub rival_tasks: Option<usize>,
    /// One key for all, or one for each task.
    pub one_key: bool,
    pub hold: Hold,
    pub warm: Duration,
    pub time: Duration,
}

/// What a run showed.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Cycles per second.
    pub cycles: f64,
    /// Grants per second to another task than the one before.
    pub hand_offs: f64,
    pub jain: f64,
    /// The longest that a task was without the lock, in nanoseconds.
    pub starved: u64,
    /// The waits of all tasks, sorted, in nanoseconds.
    pub waits: Vec<u64>,
    /// The waits of the processes behind the first.
    pub rival_waits: Vec<u64>,
    /// From each release to the grant of another process, sorted, in nanoseconds.
    pub gaps: Vec<u64>,
    /// Seconds of processor time of all clients, of the server, per 10 000 cycles.
    pub client_cpu: f64,
    pub server_cpu: f64,
    /// Requests per cycle.
    pub requests: f64,
    /// How often the server read from a socket, per cycle: fewer than requests where several came in one write.
    pub reads: f64,
    pub violations: Vec<String>,
}

impl Outcome {
    /// The wait that so great a part of all waits does not exceed, in nanoseconds.
    pub fn wait(&self, part: f64) -> f64 {
        percentile(&self.waits, part) as f64
    }

    pub fn mean_wait(&self) -> f64 {
        self.waits.iter().sum::<u64>() as f64 / self.waits.len().max(1) as f64
    }
}

/// A client process, killed when this is dropped.
pub struct Process {
    child: Child,
    pub out: BufReader<ChildStdout>,
}

impl Process {
    /// Starts this program again with `role` and what it is to do.
    ///
    /// # Errors
    /// Those of starting it.
    pub fn start(role: &str, spec: &Spec) -> Result<Process, Fault> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(role).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let out = BufReader::new(child.stdout.take().ok_or("stdout is piped")?);
        let mut process = Process { child, out };
        process.tell(&serde_json::to_string(spec)?)?;
        Ok(process)
    }

    pub fn tell(&mut self, line: &str) -> Result<(), Fault> {
        let to = self.child.stdin.as_mut().ok_or("stdin is piped")?;
        Ok(writeln!(to, "{line}")?)
    }

    pub fn hear(&mut self) -> Result<String, Fault> {
        let mut line = String::new();
        if self.out.read_line(&mut line)? == 0 {
            return Err("a client process ended early; its stderr says why".into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Lets it say good-bye to the server and waits for its end.
    pub fn end(mut self) -> Result<(), Fault> {
        drop(self.child.stdin.take());
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It is gone already after a good end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `kind` in `shape` on `server`, which is emptied before.
///
/// # Errors
/// What kept it from being measured at all; what it did wrong is among the violations.
pub fn run(server: &mut Server, kind: Kind, shape: &Shape, options: &Options) -> Result<Outcome, Fault> {
    server.place(shape.placement)?;
    server.reset()?;
    let mut processes = start(server, kind, shape, options)?;
    if kind == Kind::Blpop {
        server.query::<()>(&["RPUSH", &key(shape, 0, 0), "token"])?;
    }
    server.query::<()>(&["CONFIG", "RESETSTAT"])?;
    let plan = plan(shape);
    for process in &mut processes {
        process.tell(&serde_json::to_string(&plan)?)?;
    }
    clock::sleep_until(plan.from);
    let before = server.cpu_used()?;
    clock::sleep_until(plan.end);
    let server_cpu = server.cpu_used()? - before;

    let (mut records, mut client_cpu, mut faults) = (Vec::new(), 0, Vec::new());
    for process in &mut processes {
        let report: Report = serde_json::from_str(&process.hear()?)?;
        records.push(record::read(report.records, &mut process.out)?);
        client_cpu += report.cpu;
        faults.extend(report.faults);
    }
    let requests = kind.requests(&server.calls()?);
    let reads: f64 = server.info("stats", "total_reads_processed")?.parse()?;
    for process in processes {
        process.end()?;
    }
    let mut outcome = judge(&records, &plan, shape);
    let cycles = outcome.cycles * shape.time.as_secs_f64();
    let per_10k = |cpu: u64| cpu as f64 / 1e9 / (cycles / 10_000.0);
    (outcome.client_cpu, outcome.server_cpu) = (per_10k(client_cpu), per_10k(server_cpu));
    let all = records.iter().map(Vec::len).sum::<usize>() as f64;
    (outcome.requests, outcome.reads) = (requests as f64 / all, reads / all);
    outcome.violations.extend(faults);
    Ok(outcome)
}

fn start(server: &Server, kind: Kind, shape: &Shape, options: &Options) -> Result<Vec<Process>, Fault> {
    let mut processes = Vec::new();
    for number in 0..shape.processes {
        let tasks = shape.rival_tasks.filter(|_| number > 0).unwrap_or(shape.tasks);
        let keys = (0..tasks).map(|task| key(shape, number, task)).collect();
        let spec = Spec { kind, url: server.url(), keys, workers: options.workers };
        processes.push(Process::start("worker", &spec)?);
    }
    for process in &mut processes {
        if process.hear()? != "ready" {
            return Err("a client process did not get ready".into());
        }
    }
    Ok(processes)
}

/// The names are as long as those of a real system.
fn key(shape: &Shape, process: usize, task: usize) -> String {
    if shape.one_key { "order:123:pay".into() } else { format!("order:{}:pay", 1_000 * process + task) }
}

fn plan(shape: &Shape) -> Plan {
    // Time for every process to hear of it.
    let start = clock::now() + 20_000_000;
    let from = start + shape.warm.as_nanos() as u64;
    Plan { start, from, end: from + shape.time.as_nanos() as u64, hold: shape.hold }
}

/// A record and who made it.
type Made = (usize, Record);

fn judge(records: &[Vec<Record>], plan: &Plan, shape: &Shape) -> Outcome {
    let mut all: Vec<Made> = Vec::new();
    for (process, records) in records.iter().enumerate() {
        all.extend(records.iter().map(|record| (process, *record)));
    }
    all.sort_by_key(|(_, record)| record.start);
    let mut outcome = Outcome { violations: broken(&all, shape), ..Outcome::default() };
    let counted: Vec<Made> = all.into_iter().filter(|(_, record)| (plan.from..plan.end).contains(&record.start)).collect();
    let seconds = shape.time.as_secs_f64();
    outcome.cycles = counted.len() as f64 / seconds;
    let changes = counted.windows(2).filter(|pair| (pair[0].0, pair[0].1.task) != (pair[1].0, pair[1].1.task));
    outcome.hand_offs = changes.count() as f64 / seconds;
    outcome.gaps = sorted(
        counted.windows(2).filter(|pair| pair[0].0 != pair[1].0).map(|pair| pair[1].1.start.saturating_sub(pair[0].1.end)),
    );
    outcome.waits = sorted(counted.iter().map(|(_, record)| record.start - record.asked));
    outcome.rival_waits = rival_waits(&counted, plan, shape);
    (outcome.jain, outcome.starved) = shares(&counted, plan, shape);
    outcome
}

/// The waits of all processes but the first; one that was not over at the end counts with what it lasted so far.
fn rival_waits(counted: &[Made], plan: &Plan, shape: &Shape) -> Vec<u64> {
    let rivals = counted.iter().filter(|(process, _)| *process > 0);
    let mut waits: Vec<u64> = rivals.clone().map(|(_, record)| record.start - record.asked).collect();
    for process in 1..shape.processes {
        for task in 0..shape.rival_tasks.unwrap_or(shape.tasks) as u64 {
            let own = rivals.clone().filter(|(of, record)| (*of, record.task) == (process, task));
            let last = own.map(|(_, record)| record.end).max().unwrap_or(plan.from);
            waits.push(plan.end.saturating_sub(last));
        }
    }
    waits.sort_unstable();
    waits
}

fn sorted(values: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values
}

/// The promises that were broken, lock by lock.
fn broken(all: &[Made], shape: &Shape) -> Vec<String> {
    let mut locks: HashMap<(usize, u64), Vec<Record>> = HashMap::new();
    for (process, record) in all {
        let lock = if shape.one_key { (0, 0) } else { (*process, record.task) };
        locks.entry(lock).or_default().push(*record);
    }
    locks.values().flat_map(|holds| check::violations(holds)).collect()
}

/// Jain's index over all tasks, and the longest that one of them was without the lock.
fn shares(counted: &[Made], plan: &Plan, shape: &Shape) -> (f64, u64) {
    // Tasks that never got it have a share too.
    let mut turns: BTreeMap<(usize, u64), (u64, u64, u64)> = BTreeMap::new();
    for process in 0..shape.processes {
        let tasks = shape.rival_tasks.filter(|_| process > 0).unwrap_or(shape.tasks);
        turns.extend((0..tasks).map(|task| ((process, task as u64), (0, plan.from, 0))));
    }
    for (process, record) in counted {
        let Some((count, last, longest)) = turns.get_mut(&(*process, record.task)) else { continue };
        *count += 1;
        *longest = (*longest).max(record.start.saturating_sub(*last));
        *last = record.end;
    }
    let counts: Vec<u64> = turns.values().map(|(count, ..)| *count).collect();
    let starved = turns.values().map(|(_, last, longest)| (*longest).max(plan.end.saturating_sub(*last)));
    (jain(&counts), starved.max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(processes: usize) -> Shape {
        Shape {
            placement: Placement::Same,
            processes,
            tasks: 2,
            rival_tasks: None,
            one_key: true,
            hold: Hold::NONE,
            warm: Duration::ZERO,
            time: Duration::from_secs(1),
        }
    }

    fn plan() -> Plan {
        Plan { start: 0, from: 0, end: 1_000_000_000, hold: Hold::NONE }
    }

    fn record(task: u64, start: u64, token: u64) -> Record {
        Record { task, asked: start.saturating_sub(100), start, end: start + 10, token }
    }

    #[test]
    fn two_processes_that_hold_at_once_are_caught_though_each_is_in_order_alone() {
        let one = vec![record(0, 100, 1), record(1, 200, 3)];
        let two = vec![record(0, 150, 2), record(1, 205, 4)];

        assert_eq!(judge(&[one.clone(), two.clone()], &plan(), &shape(2)).violations.len(), 1);
        let own_keys = Shape { one_key: false, ..shape(2) };
        assert!(judge(&[one, two], &plan(), &own_keys).violations.is_empty());
    }

    #[test]
    fn tokens_of_two_processes_that_do_not_rise_are_caught() {
        let outcome = judge(&[vec![record(0, 100, 2)], vec![record(0, 200, 1)]], &plan(), &shape(2));

        assert_eq!(outcome.violations, ["token 1 was granted after 2"]);
    }

    #[test]
    fn a_hand_off_is_a_change_of_task_and_a_gap_one_of_process() {
        let one = vec![record(0, 100, 0), record(0, 200, 0), record(1, 300, 0)];
        let two = vec![record(0, 400, 0)];
        let outcome = judge(&[one, two], &plan(), &shape(2));

        assert_eq!((outcome.cycles, outcome.hand_offs), (4.0, 2.0));
        assert_eq!(outcome.gaps, [90]);
        assert_eq!(outcome.waits.len(), 4);
        // That of its first task, of its second that never got it, and what the first has waited since.
        assert_eq!(outcome.rival_waits, [100, 999_999_590, 1_000_000_000]);
    }

    #[test]
    fn a_task_that_never_got_it_counts_as_starved_and_as_unfair() {
        let outcome = judge(&[vec![record(0, 100, 0)]], &plan(), &shape(1));

        assert_eq!((outcome.jain, outcome.starved), (0.5, 1_000_000_000));
    }
}
