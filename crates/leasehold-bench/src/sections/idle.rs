//! What waiters cost while nothing happens.

use super::{Keeper, Section, fresh, row};
use crate::contenders::Kind;
use crate::server::Server;
use crate::thresholds::Check;
use crate::{Fault, Options, table};
use std::thread::sleep;
use std::time::{Duration, Instant};

const WAITERS: usize = 128;
const KEY: &str = "order:123:pay";

/// Measures 128 waiters of one process for a lock that another holds.
///
/// # Errors
/// What kept it from being measured.
pub fn measure(server: &mut Server, options: &Options) -> Result<Section, Fault> {
    let mut section = Section {
        name: "idle/cross".into(),
        about: format!("{WAITERS} tasks of one process wait for a lock that another process holds all the time; one run each."),
        rows: vec![row(["contender", "requests/waiter/s", "client CPU, cores", "server CPU, cores"])],
        ..Section::default()
    };
    let mut kinds = vec![Kind::OursAlone, Kind::Poll1];
    if !options.quick {
        kinds.insert(0, Kind::Ours);
    }
    if cfg!(feature = "rivals") && !options.quick {
        kinds.push(Kind::Rslock);
    }
    for kind in kinds {
        let polls = !matches!(kind, Kind::Ours | Kind::OursAlone);
        let time = match (options.quick, polls) {
            (true, true) => 1_000,
            (true, false) => 2_100,
            (false, true) => 3_000,
            (false, false) => 10_000,
        };
        let idle = idle(server, options, kind, Duration::from_millis(time))?;
        let [requests, client, server_cpu] = idle.map(table::short);
        section.rows.push(row([kind.name(), &requests, &client, &server_cpu]));
        if !polls {
            let what = format!("requests per idle waiter and second, {kind}");
            section.checks.push(Check::new(what, "≤ 0.5".into(), requests, idle[0] <= 0.5));
        }
    }
    Ok(section)
}

/// Requests for each waiter and second, cores of the clients, cores of the server.
fn idle(server: &mut Server, options: &Options, kind: Kind, time: Duration) -> Result<[f64; 3], Fault> {
    fresh(server)?;
    let holder = hold(server, options, kind)?;
    let mut waiters = Keeper::start(server, kind, vec![KEY.into(); WAITERS], options)?;
    waiters.step("wait")?;
    // All have asked once by then.
    sleep(Duration::from_millis(500));
    server.query::<()>(&["CONFIG", "RESETSTAT"])?;
    let (began, client, cpu) = (Instant::now(), waiters.step("status")?.cpu, server.cpu_used()?);
    sleep(time);
    let requests = kind.requests(&server.calls()?);
    let (client, cpu) = (waiters.step("status")?.cpu - client, server.cpu_used()? - cpu);
    let seconds = began.elapsed().as_secs_f64();
    if let Some(mut holder) = holder {
        waiters.step("release")?;
        holder.step("release")?;
        holder.end()?;
    }
    waiters.end()?;
    Ok([requests as f64 / WAITERS as f64 / seconds, client as f64 / 1e9 / seconds, cpu as f64 / 1e9 / seconds])
}

/// Holds the lock as its contender does.
fn hold(server: &mut Server, options: &Options, kind: Kind) -> Result<Option<Keeper>, Fault> {
    if matches!(kind, Kind::Ours | Kind::OursAlone) {
        let mut holder = Keeper::start(server, kind, vec![KEY.into()], options)?;
        holder.step("acquire")?;
        return Ok(Some(holder));
    }
    server.query::<()>(&["SET", KEY, "somebody else"])?;
    Ok(None)
}
