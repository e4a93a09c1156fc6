//! What of this host endangers locks: its clocks, what `leasehold run` needs, its processors.

mod cpu;

use super::finding::Check;
use crate::sys;
use rustix::process::{getpid, parent_process_death_signal, set_child_subreaper, set_parent_process_death_signal};
use rustix::time::{ClockId, TimerfdClockId, TimerfdFlags, clock_gettime, timerfd_create};
use std::path::Path;
use std::time::Duration;

/// By how much two clocks' rates may differ: what the library allows for.
const DRIFT_PPM: i64 = 10_000;

/// All of it.
pub fn checks() -> Vec<Check> {
    vec![clock(), rate(), sync(), namespace(), processes(), cpu::check()]
}

/// The clock of deadlines: it is there, it moves, and it has a timer.
fn clock() -> Check {
    let id = "host.clock";
    let broken = |what: String| {
        Check::danger(id, "the clock that counts suspend does not work", what)
            .means("deadlines cannot be told in time on this host: P1 is broken for what it holds")
            .remedy("uname -r    # Linux 3.15 or newer is needed")
    };
    let now = |clock| {
        let time = clock_gettime(clock);
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
    };
    let (boot, before) = (now(ClockId::Boottime), now(ClockId::Monotonic));
    std::thread::sleep(Duration::from_millis(20));
    let (after, later) = (now(ClockId::Monotonic), now(ClockId::Boottime));
    // It counts at least what passed between; a suspend meanwhile makes it more.
    if later.saturating_sub(boot) + Duration::from_millis(1) < after.saturating_sub(before) {
        return broken(format!("CLOCK_BOOTTIME moved by {:?} in {:?}", later.saturating_sub(boot), after.saturating_sub(before)));
    }
    match timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC) {
        Err(error) => broken(format!("no timerfd of CLOCK_BOOTTIME: {error}")),
        Ok(_) => {
            let suspended = later.saturating_sub(after).as_secs();
            Check::ok(
                id,
                "the clock that counts suspend works",
                format!("CLOCK_BOOTTIME has counted {suspended} s of suspend since the boot"),
            )
        }
    }
}

fn rate() -> Check {
    let id = "host.clock_rate";
    let Ok(steering) = sys::steering() else { return hidden(id) };
    judge_rate(steering.rate_ppm)
}

fn judge_rate(ppm: i64) -> Check {
    let id = "host.clock_rate";
    let seen = format!("all clocks are steered by {ppm} ppm; leases allow for {DRIFT_PPM} ppm between holder and store");
    let check = match ppm.unsigned_abs() {
        0..=1000 => return Check::ok(id, "the clocks run at their natural rate", seen),
        1001..=9999 => Check::warning(id, "the clocks are steered hard", seen),
        _ => Check::danger(id, "the clocks are steered beyond what leases allow for", seen),
    };
    check
        .means("P1 rests on clocks whose rates differ by 1 % at most: a slower one here lets a holder believe for too long")
        .remedy("adjtimex --print    # tick should be 10000, frequency within ±500 ppm; chronyc tracking says who steers")
}

fn sync() -> Check {
    let id = "host.sync";
    let Ok(steering) = sys::steering() else { return hidden(id) };
    if !steering.unsynchronised {
        let seen = format!("synchronised, at most {:?} off", Duration::from_micros(steering.max_error_us.unsigned_abs()));
        return Check::ok(id, "the time of day is synchronised", seen);
    }
    // Nothing rests on it but the floor of tokens in a file; and virtual machines are often kept in step from outside.
    Check::note(id, "nobody says that the time of day is synchronised", "the kernel's clock is marked unsynchronised")
        .means("P1 does not rest on it. P2 of a sqlite: store does where its file was lost, and of a Redis on this host where its data was")
        .remedy("timedatectl set-ntp true")
}

fn hidden(id: &'static str) -> Check {
    Check::ok(id, "the kernel's steering of its clocks cannot be seen here", "adjtimex is not allowed, as in some containers")
}

fn namespace() -> Check {
    let id = "host.time_namespace";
    let offsets = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    let moved: Vec<String> = offsets
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.ends_with(" 0 0"))
        .collect();
    if moved.is_empty() {
        return Check::ok(id, "the clocks are those of the host", "no time namespace with an offset");
    }
    Check::note(id, "this is a time namespace of its own", moved.join(", "))
        .means("P1 to P3 hold; of a sqlite: store that is shared with others, a dead holder's lock is free only one ttl and 1 % after it was first seen")
}

/// What `leasehold run` needs to end all that its command started.
fn processes() -> Check {
    let id = "host.processes";
    let mut missing = Vec::new();
    if set_child_subreaper(Some(getpid())).is_err() {
        missing.push("no child subreaper");
    }
    let _ = set_child_subreaper(None);
    let death_signal = parent_process_death_signal().and_then(set_parent_process_death_signal);
    if death_signal.is_err() {
        missing.push("no parent-death signal");
    }
    let pid = getpid().as_raw_nonzero();
    if !Path::new(&format!("/proc/self/task/{pid}/children")).exists() {
        missing.push("no /proc/PID/task/TID/children");
    }
    if missing.is_empty() {
        return Check::ok(id, "leasehold run can end all that its command starts", "subreaper, parent-death signal, /proc");
    }
    Check::warning(id, "leasehold run cannot end all that its command starts", missing.join(", "))
        .means("locks of the library work; but what a command of `leasehold run` left in the background may outlive the lease: P1 is not kept for it")
        .remedy("mount | grep '^proc'    # /proc must be mounted, and the kernel needs CONFIG_PROC_CHILDREN")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Severity;

    #[test]
    fn the_harder_the_clocks_are_steered_the_worse() {
        let of = |ppm| judge_rate(ppm).severity;
        assert_eq!((of(0), of(-500), of(2000), of(-9000)), (Severity::Ok, Severity::Ok, Severity::Warning, Severity::Warning));
        assert_eq!((of(10_000), of(-100_000)), (Severity::Danger, Severity::Danger));
    }

    #[test]
    fn an_ordinary_host_has_no_more_than_notes() {
        for check in [clock(), sync(), namespace(), processes()] {
            assert!(check.severity <= Severity::Note, "{check:?}");
        }
    }
}
