//! A fault that is tried again and again, at other moments of other leases.

use std::thread;
use std::time::Duration;

/// More than so many at a time only keep each other waiting.
const AT_ONCE: usize = 40;

/// How often each fault is tried.
fn runs() -> u64 {
    std::env::var("LEASEHOLD_FAULT_RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

/// Between one and three seconds, by the number of the run.
pub fn ttl(run: u64) -> Duration {
    Duration::from_millis(1_000 + run * 2_000 / runs().max(1))
}

/// Runs `fault` side by side, with the number of the run.
pub fn side_by_side(fault: impl Fn(u64) + Copy + Send + 'static) {
    let mut failed = 0;
    for first in (0..runs()).step_by(AT_ONCE) {
        let some = first..runs().min(first + AT_ONCE as u64);
        let running: Vec<_> = some.map(|run| thread::spawn(move || fault(run))).collect();
        failed += running.into_iter().map(thread::JoinHandle::join).filter(Result::is_err).count();
    }
    assert_eq!(failed, 0, "{failed} of {} runs failed", runs());
}
