//! The one file that names a clock, a timer, a thread, a spawn or a random source; everyone else receives it.

use leasehold_core::Instant;
use std::future::Future;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::runtime::{Builder, Handle};

/// Clock, chance, threads and the driver's runtime, for those who need them.
#[derive(Clone, Debug)]
pub struct World {
    driver: Handle,
}

impl World {
    /// A world whose spawned work runs on a new thread with this name, until the last world of it is dropped.
    ///
    /// # Errors
    /// Those of the operating system, if it refuses a thread or a poller.
    pub fn with_thread(name: &str) -> io::Result<World> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let driver = runtime.handle().clone();
        // The runtime lives on its thread for good: pending work is a release or a renewal, never something to cut short.
        World::thread(name, move || runtime.block_on(std::future::pending::<()>()))?;
        Ok(World { driver })
    }

    /// Now, on a clock that counts suspend.
    pub fn now(&self) -> Instant {
        boottime()
    }

    /// Microseconds since 1970 by the wall clock: for what people read, and for token floors; never for a lease.
    pub fn wall_micros(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    /// 64 bits from the operating system's random source.
    pub fn random(&self) -> u64 {
        random()
    }

    /// Runs `future` on the driver's thread.
    pub fn spawn<F>(&self, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.driver.spawn(future);
    }

    /// Waits for `span`. Only inside work given to [`World::spawn`].
    pub async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }

    /// Waits until `instant`. Only inside work given to [`World::spawn`].
    pub async fn sleep_until(&self, instant: Instant) {
        // Tokio's clock stops in suspend: never sleep long on it without a look at ours.
        loop {
            let left = instant.since(self.now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(Duration::from_secs(60))).await;
        }
    }

    /// Waits for `future` until `deadline`; `None` if it did not end by then. Only inside work given to [`World::spawn`].
    pub async fn until<F: Future>(&self, deadline: Instant, future: F) -> Option<F::Output> {
        tokio::time::timeout(deadline.since(self.now()), future).await.ok()
    }

    /// Runs `work` on a thread of its own.
    ///
    /// # Errors
    /// Those of the operating system, if it refuses a thread.
    pub fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        std::thread::Builder::new().name(name.into()).spawn(work).map(|_| ())
    }

    /// Puts the calling thread to sleep for `span`. For threads made by [`World::thread`], never on a runtime.
    pub fn pause(span: Duration) {
        std::thread::sleep(span);
    }
}

/// Now, on a clock that counts suspend.
#[cfg(target_os = "linux")]
pub(crate) fn boottime() -> Instant {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    Instant::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// 64 bits from the operating system's random source.
pub(crate) fn random() -> u64 {
    getrandom::u64().expect("the operating system has a random source")
}
