//! What it costs a client to keep very many locks.

use super::{Keeper, Section, fresh, row};
use crate::contenders::Kind;
use crate::server::Server;
use crate::thresholds::Check;
use crate::{Fault, Options, table};
use std::thread::sleep;
use std::time::{Duration, Instant};

const LOCKS: usize = 100_000;

/// Measures 100 000 locks with a ttl of 30 s, for 60 s.
///
/// # Errors
/// What kept it from being measured.
pub fn measure(server: &mut Server, options: &Options) -> Result<Section, Fault> {
    let seconds = if options.quick { 10 } else { 60 };
    fresh(server)?;
    let keys = (0..LOCKS).map(|n| format!("order:{n}:pay")).collect();
    let mut keeper = Keeper::start(server, Kind::Ours, keys, options)?;
    let began = Instant::now();
    keeper.step("acquire")?;
    let taken = began.elapsed().as_secs_f64();
    server.query::<()>(&["CONFIG", "RESETSTAT"])?;
    let (began, cpu, before) = (Instant::now(), server.cpu_used()?, keeper.step("status")?);
    sleep(Duration::from_secs(seconds));
    let after = keeper.step("status")?;
    let (passed, cpu) = (began.elapsed().as_secs_f64(), server.cpu_used()? - cpu);
    let requests = Kind::Ours.requests(&server.calls()?) as f64 / passed;
    if !options.quick {
        keeper.step("release")?;
        keeper.end()?;
    }

    let cores = |cpu: u64| cpu as f64 / 1e9 / passed;
    let [client, server_cpu] = [cores(after.cpu - before.cpu), cores(cpu)];
    let shown = [taken, client, server_cpu, requests, after.least_left_ms as f64 / 1e3].map(table::short);
    let [doubts, lost] = [after.doubts, after.lost].map(|count| count.to_string());
    let about = format!(
        "{LOCKS} locks of one client, ttl 30 s, kept for {seconds} s, one run. In doubt: less than a third of the lease left, looked for \
         each second at every guard; the client's figure is without these looks."
    );
    let header =
        ["taken in, s", "client CPU, cores", "server CPU, cores", "requests/s", "least lease left, s", "seen in doubt", "lost"];
    let cells = [&shown[0], &shown[1], &shown[2], &shown[3], &shown[4], &doubts, &lost].map(String::as_str);
    let checks = vec![
        Check::new(
            format!("client CPU for {LOCKS} held locks, {seconds} s"),
            "≤ 0.15 core".into(),
            shown[1].clone(),
            client <= 0.15,
        ),
        Check::new(
            "of them in doubt, lost".into(),
            "0, 0".into(),
            format!("{doubts}, {lost}"),
            (after.doubts, after.lost) == (0, 0),
        ),
    ];
    Ok(Section { name: "held/cross".into(), about, rows: vec![row(header), row(cells)], checks, violations: Vec::new() })
}
