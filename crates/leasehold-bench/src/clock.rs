//! The one clock of all processes of a run: `CLOCK_BOOTTIME`, in nanoseconds.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Nanoseconds since the host started.
pub fn now() -> u64 {
    nanoseconds(ClockId::Boottime)
}

/// Nanoseconds of processor time that this process has used so far.
pub fn cpu_used() -> u64 {
    nanoseconds(ClockId::ProcessCPUTime)
}

/// Nanoseconds of processor time that this thread has used so far.
pub fn thread_cpu_used() -> u64 {
    nanoseconds(ClockId::ThreadCPUTime)
}

/// Blocks the thread until `at`.
pub fn sleep_until(at: u64) {
    std::thread::sleep(Duration::from_nanos(at.saturating_sub(now())));
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let part = |value: i64| u64::try_from(value).expect("these clocks are not negative");
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}
