//! The background work that keeps the two connections up and watches over calls under way.

use super::inner::{CONNECT, Inner};
use super::ledger::Rescue;
use super::link::{Greeting, Link, Side};
use crate::engine::Notice;
use crate::error::Error;
use crate::world::World;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// Keeps the driver's connection up. The first attempt's outcome goes to `first`; if it failed, that is all.
pub(super) async fn keep_driver(inner: Weak<Inner>, first: oneshot::Sender<Result<(), Error>>) {
    let mut first = Some(first);
    let mut failures = 0;
    loop {
        let Some(inner) = inner.upgrade().filter(|inner| !inner.is_closed()) else { return };
        let world = inner.world.clone();
        let generation = inner.next_generation();
        let opened = world.until(world.now() + CONNECT, inner.open(Side::Driver, generation)).await;
        match opened.unwrap_or_else(|| Err(Error::unavailable(format!("no answer from {:?}", inner.target.place)))) {
            Ok(greeting) => {
                failures = 0;
                stay_up(inner, greeting, first.take()).await;
            }
            Err(error) => {
                if let Some(first) = first.take() {
                    let _ = first.send(Err(error));
                    return;
                }
                inner.keep_trouble(error);
                let pause = inner.back_off(failures);
                failures += 1;
                drop(inner);
                world.sleep(pause).await;
            }
        }
    }
}

async fn stay_up(inner: Arc<Inner>, greeting: Greeting, first: Option<oneshot::Sender<Result<(), Error>>>) {
    inner.install(&greeting);
    inner.settle_listening();
    inner.tell(Notice::LinkUp);
    inner.rewrite.store(true, Ordering::Release);
    inner.registry.notify_one();
    if let Some(first) = first {
        let _ = first.send(Ok(()));
    }
    let weak = Arc::downgrade(&inner);
    let world = inner.world.clone();
    let up = Up { inner: weak.clone(), link: greeting.link };
    drop(inner);
    World::spawn_beside(up.link.outbox.clone().keep_turns());
    greeting.traffic.await;
    drop(up);
    let Some(inner) = weak.upgrade() else { return };
    inner.tell(Notice::LinkDown);
    let pause = inner.back_off(0);
    drop(inner);
    world.sleep(pause).await;
}

pub(super) async fn keep_caller(inner: Arc<Inner>, generation: u64, settled: Option<oneshot::Sender<()>>) {
    let opened = inner.open(Side::Caller, generation).await;
    if let Ok(greeting) = &opened {
        inner.install(greeting);
        inner.settle_listening();
    }
    drop(settled);
    let Ok(Greeting { link, traffic, .. }) = opened else { return };
    let _up = Up { inner: Arc::downgrade(&inner), link: link.clone() };
    drop(inner);
    World::spawn_beside(link.outbox.clone().keep_turns());
    traffic.await;
}

/// A connection that is in its slot; takes it out and closes it however its task ends.
struct Up {
    inner: Weak<Inner>,
    link: Arc<Link>,
}

impl Drop for Up {
    fn drop(&mut self) {
        self.link.grip.kill();
        if let Some(inner) = self.inner.upgrade() {
            inner.uninstall(self.link.id);
            inner.settle_listening();
        }
    }
}

/// The caller's runtime may have no timers, or be blocked: the time limit is kept here.
pub(super) async fn abort_if_not_up(inner: Weak<Inner>, generation: u64, attempt: AbortHandle) {
    let Some(world) = inner.upgrade().map(|inner| inner.world.clone()) else { return };
    world.sleep(CONNECT).await;
    let up = inner.upgrade().is_some_and(|inner| inner.caller_is_up(generation));
    if !up {
        attempt.abort();
    }
}

/// Spawns the watch over calls under way.
pub(super) fn watch_calls(inner: &Arc<Inner>) {
    let weak = Arc::downgrade(inner);
    let again = move |rescues: Vec<Rescue>| match weak.upgrade() {
        Some(inner) => {
            inner.rescue(rescues);
            // What is under way when the engine closes still gets its verdict.
            true
        }
        None => false,
    };
    inner.world.spawn(inner.ledger.clone().watch(inner.world.clone(), again));
}
