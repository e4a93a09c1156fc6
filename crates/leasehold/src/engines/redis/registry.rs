//! What a client lets others see of itself: written in the background, at most once a second.

use super::book::Delta;
use super::fault::Fault;
use super::inner::{CONNECT, Inner};
use super::link::Link;
use leasehold_core::{ClaimId, Instant};
use leasehold_wire::{forget, registry};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The shortest time between two writes.
const PACE: Duration = Duration::from_secs(1);

/// How many entries one script call writes: while it runs, the server serves nobody else.
const MOST_AT_ONCE: usize = 500;

/// Writes what changed at once, but at most once a second, lengthens the life of all from time to time, and writes everything
/// after a reconnect and where the server is found to have lost some, until the engine closes.
pub(super) async fn keep(inner: Arc<Inner>) {
    let world = inner.world.clone();
    let (mut refresh_at, mut last_write) = (Instant::FAR, None);
    loop {
        world.until(refresh_at, inner.registry.notified()).await;
        if let Some(last) = last_write {
            world.sleep_until(last + PACE).await;
        }
        if inner.is_closed() {
            return;
        }
        let Ok(link) = inner.driver() else {
            // The next connection wakes us.
            refresh_at = Instant::FAR;
            continue;
        };
        let now = world.now();
        let all = inner.rewrite.swap(false, Ordering::AcqRel);
        let delta = inner.book().delta(now, all);
        let due = now >= refresh_at && delta.life.is_some();
        if delta.gone.is_empty() && delta.changes.is_empty() && !due {
            refresh_at = delta.life.map_or(Instant::FAR, |_| refresh_at);
            continue;
        }
        last_write = Some(now);
        refresh_at = delta.life.map_or(Instant::FAR, |life| now + life / 3);
        match write(&inner, &link, &delta).await {
            // One field is not of a claim.
            Ok(Some(fields)) if fields <= delta.entries => {
                inner.rewrite.store(true, Ordering::Release);
                refresh_at = now + PACE;
            }
            Ok(_) => {}
            Err(_) => {
                inner.book().put_back(delta);
                refresh_at = now + PACE;
            }
        }
    }
}

/// The registry outlives the longest lease by what may pass before the next write. Returns how many fields it has then; `None`
/// if it is gone.
async fn write(inner: &Inner, link: &Link, delta: &Delta) -> Result<Option<usize>, Fault> {
    let space = &inner.target.space;
    let Some(life) = delta.life else {
        let call = forget(space, inner.client, None);
        return link.call(&call, inner.world.now() + CONNECT).await.map(|_| None);
    };
    let (mut gone, mut changes) = (delta.gone.as_slice(), delta.changes.as_slice());
    loop {
        // Nothing is written behind the goodbye.
        if inner.is_closed() {
            return Ok(None);
        }
        let (gone_now, changed_now) = (first(&mut gone), first(&mut changes));
        let call = registry(space, (inner.client, life / 3 * 4 + PACE, &inner.about), gone_now, changed_now);
        let answer = link.call(&call, inner.world.now() + CONNECT).await?;
        if gone.is_empty() && changes.is_empty() {
            return Ok(Some(leasehold_wire::counter(answer)?.try_into().unwrap_or(usize::MAX)));
        }
    }
}

/// Takes as many as go into one call.
fn first<'a, T>(rest: &mut &'a [T]) -> &'a [T] {
    let (now, later) = rest.split_at(rest.len().min(MOST_AT_ONCE));
    *rest = later;
    now
}

/// Corrects a token that the registry shows and that is no longer the last: nobody shall read an old one for a new one.
pub(super) async fn correct(inner: &Inner, link: &Link, (claim, io_deadline): (ClaimId, Instant)) {
    let outdated = inner.book().outdated(claim, inner.world.now());
    let Some(change) = outdated else { return };
    let life = change_life(inner);
    let call = registry(&inner.target.space, (inner.client, life, &inner.about), &[], &[change]);
    if link.call(&call, io_deadline).await.is_err() {
        inner.rewrite.store(true, Ordering::Release);
        inner.registry.notify_one();
    }
}

fn change_life(inner: &Inner) -> Duration {
    let longest = inner.book().longest_life();
    longest.unwrap_or_default() / 3 * 4 + PACE
}

/// Removes what the store keeps about this client, but for the holds that outlive it.
pub(super) async fn say_goodbye(inner: &Inner, link: &Link) -> Result<(), Fault> {
    let call = forget(&inner.target.space, inner.client, None);
    link.call(&call, inner.world.now() + CONNECT).await.map(|_| ())
}
