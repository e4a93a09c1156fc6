//! What a held lock and a waiter cost the server in memory, and what is left of them.

use super::{Keeper, Section, fresh, row};
use crate::contenders::{Kind, TTL};
use crate::server::Server;
use crate::thresholds::Check;
use crate::{Fault, Options, table};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The names that the library gives to what it writes about its clients.
const REGISTRIES: &str = "leasehold:\u{1}client*";

/// How many bytes may come and go while nobody is connected, and while waiters' beats go on.
const STILL: f64 = 1_000.0;
const LIVELY: f64 = 30_000.0;

/// How long nothing has to change; a registry is written once a second at most.
const QUIET: Duration = Duration::from_millis(500);
const WRITTEN: Duration = Duration::from_millis(1_200);

fn key(n: usize) -> String {
    format!("order:{n}:pay")
}

/// Measures held locks against a bare `SET` of the same name and id, and waiters, on a server of its own.
///
/// # Errors
/// What kept it from being measured.
pub fn measure(_: &mut Server, options: &Options) -> Result<Section, Fault> {
    let (count, waiters) = if options.quick { (10_000, 1_000) } else { (100_000, 10_000) };
    // Each has a server of its own, and bytes do not depend on time.
    let (bare, held, waiting) = std::thread::scope(|scope| {
        let bare = scope.spawn(|| bare(count));
        let held = scope.spawn(|| held(count, options));
        let waiting = waiting(waiters, options);
        (bare.join(), held.join(), waiting)
    });
    let panicked = |_| "a measurement of memory panicked";
    let (bare, held, waiting) = (bare.map_err(panicked)??, held.map_err(panicked)??, waiting?);
    let about = format!(
        "`used_memory` without the connections' buffers and the scripts' garbage, on a server of its own, in the last of some rounds: {count} held locks of one client, {waiters} waiters of one \
         client for one lock. The registry tells `list` and `inspect` who holds and waits."
    );
    let mut rows = vec![row(["bytes", "of the lock", "of the registry", "left after release", "keys left"])];
    rows.push(row(["bare `SET key id NX PX`", &table::short(bare), "–", "–", "–"]));
    for (name, seen) in [("a held lock", &held), ("a waiter", &waiting)] {
        let [own, registry, left] = [seen.own, seen.registry, seen.left].map(table::short);
        rows.push(row([name, &own, &registry, &left, &seen.keys_left.join(" ").replace('\u{1}', "·")]));
    }
    let ratio = held.own / bare;
    let is_counter = |key: &String| key.ends_with("token");
    let clean = |seen: &Seen| seen.left < 1.0 && seen.keys_left.iter().all(is_counter);
    let [left, own, registry, waiter] = [held.left.max(waiting.left), ratio, held.registry, waiting.own].map(table::short);
    let checks = vec![
        Check::new(
            "bytes left for each lock or waiter after a release".into(),
            "0 (< 1)".into(),
            left,
            clean(&held) && clean(&waiting),
        ),
        Check::new("a held lock against a bare SET".into(), "≤ 1.1 ×".into(), own, ratio <= 1.1),
        Check::new("its bytes in the registry".into(), "≤ 130".into(), registry, held.registry <= 130.0),
        Check::new("bytes of a waiter, registry apart".into(), "≤ 250".into(), waiter, waiting.own <= 250.0),
    ];
    Ok(Section { name: "memory/cross".into(), about, rows, checks, violations: Vec::new() })
}

/// Bytes for each, and what was left.
struct Seen {
    own: f64,
    registry: f64,
    left: f64,
    keys_left: Vec<String>,
}

/// Memory that the data use: all but the connections' buffers, which come and go, and what scripts left for the collector.
fn used(server: &mut Server) -> Result<f64, Fault> {
    server.query::<()>(&["EVAL", "collectgarbage()", "0"])?;
    let number = |server: &mut Server, field: &str| -> Result<f64, Fault> { Ok(server.info("memory", field)?.parse()?) };
    Ok(number(server, "used_memory")? - number(server, "mem_clients_normal")?)
}

/// Bytes of everything that is written about clients.
fn registry(server: &mut Server) -> Result<f64, Fault> {
    let keys: Vec<String> = server.query(&["KEYS", REGISTRIES])?;
    let mut bytes = 0.0;
    for key in keys {
        bytes += server.query::<Option<f64>>(&["MEMORY", "USAGE", &key, "SAMPLES", "0"])?.unwrap_or(0.0);
    }
    Ok(bytes)
}

/// Waits until what is written in the background is written, and tables that grew or shrank have been moved.
fn settle(server: &mut Server, slack: f64, quiet: Duration) -> Result<(), Fault> {
    let patience = Instant::now() + Duration::from_secs(8);
    let mut last = (0.0, 0.0);
    let mut quiet_since = Instant::now();
    while Instant::now() < patience && quiet_since.elapsed() < quiet {
        sleep(Duration::from_millis(100));
        let now = (registry(server)?, used(server)?);
        if now.0 != last.0 || (now.1 - last.1).abs() > slack {
            (last, quiet_since) = (now, Instant::now());
        }
    }
    Ok(())
}

fn bare(count: usize) -> Result<f64, Fault> {
    let mut server = Server::start()?;
    fresh(&mut server)?;
    let before = used(&mut server)?;
    for from in (0..count).step_by(1_000) {
        let mut batch = redis::pipe();
        for n in from..(from + 1_000).min(count) {
            let id = format!("{n:032x}");
            batch
                .cmd("SET")
                .arg(format!("leasehold:{}", key(n)))
                .arg(id)
                .arg("NX")
                .arg("PX")
                .arg(TTL.as_millis() as u64 * 10)
                .ignore();
        }
        batch.exec(server.connection())?;
    }
    settle(&mut server, STILL, QUIET)?;
    Ok((used(&mut server)? - before) / count as f64)
}

fn held(count: usize, options: &Options) -> Result<Seen, Fault> {
    let keys: Vec<String> = (0..count).map(key).collect();
    repeated(count, options, |server| {
        let mut keeper = Keeper::start(server, Kind::Ours, keys.clone(), options)?;
        let with = with(server, &mut keeper, "acquire")?;
        keeper.step("release")?;
        keeper.end()?;
        Ok(with)
    })
}

fn waiting(count: usize, options: &Options) -> Result<Seen, Fault> {
    repeated(count, options, |server| {
        let mut holder = Keeper::start(server, Kind::OursAlone, vec![key(0)], options)?;
        holder.step("acquire")?;
        let mut waiters = Keeper::start(server, Kind::OursAlone, vec![key(0); count], options)?;
        let with = with(server, &mut waiters, "wait")?;
        waiters.step("release")?;
        waiters.end()?;
        holder.step("release")?;
        holder.end()?;
        Ok(with)
    })
}

/// What a step of `keeper` adds to the data and to the registries.
fn with(server: &mut Server, keeper: &mut Keeper, step: &str) -> Result<(f64, f64), Fault> {
    settle(server, LIVELY, QUIET)?;
    let before = (used(server)?, registry(server)?);
    keeper.step(step)?;
    settle(server, LIVELY, WRITTEN)?;
    Ok((used(server)? - before.0, registry(server)? - before.1))
}

/// Does it until a fresh server has grown its own buffers, and once more to see what `count` of them cost and leave.
fn repeated(count: usize, options: &Options, once: impl Fn(&mut Server) -> Result<(f64, f64), Fault>) -> Result<Seen, Fault> {
    let mut server = Server::start()?;
    fresh(&mut server)?;
    for _ in 0..if options.quick { 1 } else { 2 } {
        once(&mut server)?;
    }
    // The server looks at its connections' buffers once a second.
    settle(&mut server, STILL, WRITTEN)?;
    let before = used(&mut server)?;
    let (all, registry) = once(&mut server)?;
    settle(&mut server, STILL, WRITTEN)?;
    let each = |bytes: f64| bytes / count as f64;
    let left = (used(&mut server)? - before).max(0.0);
    let mut keys_left: Vec<String> = server.query(&["KEYS", "*"])?;
    keys_left.sort();
    Ok(Seen { own: each(all - registry), registry: each(registry), left: each(left), keys_left })
}
