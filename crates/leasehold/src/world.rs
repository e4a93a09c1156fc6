//! The one file that names a clock, a timer, a thread, a spawn or a random source; everyone else receives it.

use leasehold_core::Instant;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread, ThreadId};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::runtime::{Builder, Handle, Id};
use tokio::sync::Notify;

/// Tells one thread from another.
pub type ThreadKey = ThreadId;

/// Clock, chance, threads and the driver's runtime, for those who need them.
#[derive(Clone, Debug)]
pub struct World {
    driver: Handle,
    thread: ThreadId,
    stop: Arc<Notify>,
}

impl World {
    /// A world whose spawned work runs on a new thread with this name, until [`World::stop`].
    ///
    /// # Errors
    /// Those of the operating system, if it refuses a thread or a poller.
    pub fn with_thread(name: &str) -> io::Result<World> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let driver = runtime.handle().clone();
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let builder = thread::Builder::new().name(name.into());
        let running = builder.spawn(move || runtime.block_on(async move { stopped.notified().await }))?;
        Ok(World { driver, thread: running.thread().id(), stop })
    }

    /// Ends the driver's thread; what still runs on it is dropped.
    pub fn stop(&self) {
        self.stop.notify_one();
    }

    /// True on the driver's own thread.
    pub fn on_driver(&self) -> bool {
        thread::current().id() == self.thread
    }

    /// The calling thread.
    pub fn current_thread() -> ThreadKey {
        thread::current().id()
    }

    /// The runtime that the calling thread is in, if any.
    pub fn current_runtime() -> Option<Id> {
        World::current_handle().map(|handle| handle.id())
    }

    /// A handle of that runtime. None while the blocking face parks one of its threads: what it waits for must not be that
    /// runtime's work.
    pub fn current_handle() -> Option<Handle> {
        Handle::try_current().ok().filter(|_| !PARKS.get())
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

    /// The same, fetched for this call alone: also a process that forked has no second one that is equal.
    pub fn unique() -> u64 {
        getrandom::u64().expect("the operating system has a random source")
    }

    /// Runs `future` on the driver's thread.
    pub fn spawn<F>(&self, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.driver.spawn(future);
    }

    /// Runs `future` on the runtime whose task calls, as a task of its own.
    pub fn spawn_beside<F>(future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        tokio::spawn(future);
    }

    /// Waits for `span`. Only inside work given to [`World::spawn`].
    ///
    /// # Cancel safety
    /// Dropping it ends the wait, nothing else.
    pub async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }

    /// Waits until `instant`. Only inside work given to [`World::spawn`].
    ///
    /// # Cancel safety
    /// Dropping it ends the wait, nothing else.
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
    ///
    /// # Cancel safety
    /// Dropping it drops `future`.
    pub async fn until<F: Future>(&self, deadline: Instant, future: F) -> Option<F::Output> {
        tokio::time::timeout(deadline.since(self.now()), future).await.ok()
    }

    /// Runs `work` on a thread of its own.
    ///
    /// # Errors
    /// Those of the operating system, if it refuses a thread.
    pub fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        thread::Builder::new().name(name.into()).spawn(work).map(|_| ())
    }

    /// Puts the calling thread to sleep for `span`. For threads made by [`World::thread`], never on a runtime.
    pub fn pause(span: Duration) {
        thread::sleep(span);
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
    RANDOM.with(|random| random.borrow_mut().next())
}

/// Random numbers of one thread, fetched from the operating system in bulk: a call for each would cost a lock a few percent.
struct Random {
    numbers: [u8; 512],
    used: usize,
}

impl Random {
    fn next(&mut self) -> u64 {
        if self.used == self.numbers.len() {
            getrandom::fill(&mut self.numbers).expect("the operating system has a random source");
            self.used = 0;
        }
        let number = &mut self.numbers[self.used..self.used + 8];
        self.used += 8;
        u64::from_ne_bytes(number.try_into().expect("eight bytes"))
    }
}

thread_local! {
    static RANDOM: RefCell<Random> = const { RefCell::new(Random { numbers: [0; 512], used: 512 }) };
    /// True while this thread is inside [`block_on`].
    static PARKS: Cell<bool> = const { Cell::new(false) };
}

/// Runs `future` to its end on the calling thread, without a runtime, also if the thread belongs to one.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let _parked = Parked { outer: PARKS.replace(true) };
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    // A task's budget is refilled by a scheduler that does not run while its thread parks here.
    let mut future = pin!(tokio::task::unconstrained(future));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        thread::park();
    }
}

/// Puts [`PARKS`] back, also if the future panics.
struct Parked {
    outer: bool,
}

impl Drop for Parked {
    fn drop(&mut self) {
        PARKS.set(self.outer);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A timer of the suspend-counting clock that one thread waits on and any thread sets.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: rustix::fd::OwnedFd,
}

impl Alarm {
    /// An alarm that is not set.
    ///
    /// # Errors
    /// Those of the operating system, if it refuses a timer.
    #[cfg(target_os = "linux")]
    pub(crate) fn new() -> io::Result<Alarm> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?;
        Ok(Alarm { timer })
    }

    /// Sets the alarm, in place of what it was set to before.
    pub(crate) fn set(&self, at: Instant) {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        // Zero would disarm it.
        let nanos = at.as_nanos().clamp(1, i64::MAX as u64);
        let it_value = Timespec { tv_sec: (nanos / 1_000_000_000) as _, tv_nsec: (nanos % 1_000_000_000) as _ };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &Itimerspec { it_interval, it_value })
            .expect("the timer is open and the time is legal");
    }

    /// Waits until the alarm goes off.
    pub(crate) fn wait(&self) {
        let mut count = [0; 8];
        // An interrupted wait is a look too early, which costs nothing.
        let _ = rustix::io::read(&self.timer, &mut count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_goes_off_when_it_is_set_and_not_before() {
        let alarm = Alarm::new().unwrap();
        let at = boottime() + Duration::from_millis(20);
        alarm.set(at);
        alarm.wait();
        assert!(boottime() >= at);
    }

    #[test]
    fn a_future_runs_to_its_end_without_a_runtime() {
        let world = World::with_thread("test").unwrap();
        let (tx, rx) = tokio::sync::oneshot::channel();
        let inner = world.clone();
        world.spawn(async move {
            inner.sleep(Duration::from_millis(1)).await;
            tx.send(7).expect("it is waited for");
        });
        assert_eq!(block_on(rx).unwrap(), 7);
        world.stop();
    }
}
