//! The watch: one thread per process that tells a loss in time, whatever else is blocked.

use super::timers::{Planned, Timers};
use super::{Claimant, Driver};
use crate::world::{self, Alarm, World};
use leasehold_core::{Input, Instant};
use std::sync::{Arc, OnceLock, Weak};

/// Whose deadline is watched.
struct Watched {
    driver: Weak<Driver>,
    claimant: Weak<Claimant>,
}

impl Watched {
    /// Looks at the clock, on the watch's thread. Runs no user code.
    fn look(&self) {
        if let (Some(driver), Some(claimant)) = (self.driver.upgrade(), self.claimant.upgrade()) {
            driver.step(&claimant, Input::Tick);
        }
    }
}

struct Watch {
    timers: Timers<Watched>,
    alarm: Alarm,
}

/// Plans a look at a claim.
pub(super) fn plan(at: Instant, driver: &Arc<Driver>, claimant: &Arc<Claimant>) -> Planned {
    let watch = watch();
    let watched = Watched { driver: Arc::downgrade(driver), claimant: Arc::downgrade(claimant) };
    watch.timers.plan(at, watched, |at| watch.alarm.set(at))
}

/// Takes a plan back.
pub(super) fn forget(planned: Planned) {
    watch().timers.forget(planned);
}

/// Starts the thread if it does not run yet, so that the first lock does not wait for it.
pub(super) fn start() {
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
