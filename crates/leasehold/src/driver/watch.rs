//! The watch: one thread per process that tells a loss in time, whatever else is blocked.

use super::timers::{Planned, Timers};
use crate::world::{self, Alarm, World};
use leasehold_core::Instant;
use std::sync::OnceLock;

/// Somebody whose deadline is watched.
pub(crate) trait Watched: Send + Sync {
    /// Looks at the clock; called at or after the instant that was planned, on the watch's thread. Runs no user code.
    fn look(&self);
}

struct Watch {
    timers: Timers<Box<dyn Watched>>,
    alarm: Alarm,
}

/// Plans a look at `watched`.
pub(crate) fn plan(at: Instant, watched: Box<dyn Watched>) -> Planned {
    let watch = watch();
    watch.timers.plan(at, watched, |at| watch.alarm.set(at))
}

/// Takes a plan back.
pub(crate) fn forget(planned: Planned) {
    watch().timers.forget(planned);
}

/// Starts the thread if it does not run yet, so that the first lock does not wait for it.
pub(crate) fn start() {
    watch();
}

fn watch() -> &'static Watch {
    static WATCH: OnceLock<Watch> = OnceLock::new();
    static RUNNING: OnceLock<()> = OnceLock::new();
    let watch = WATCH.get_or_init(|| Watch {
        timers: Timers::new(),
        alarm: Alarm::new().expect("the operating system grants one timer per process"),
    });
    RUNNING.get_or_init(|| {
        World::thread("leasehold-watch", || run(watch)).expect("the operating system grants one thread per process");
    });
    watch
}

fn run(watch: &Watch) {
    loop {
        while let Some(watched) = watch.timers.pop_due(world::boottime()) {
            watched.look();
        }
        watch.timers.arm(|next| watch.alarm.set(next));
        watch.alarm.wait();
    }
}
