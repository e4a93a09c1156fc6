//! The verbs that write: claim, renew, release.

use super::fault::Fault;
use super::inner::Inner;
use super::link::{Link, LinkId};
use super::outbox::Care;
use super::registry;
use crate::engine::{ClaimCall, ReleaseCall, RenewCall};
use crate::error::Error;
use futures_util::future::join_all;
use leasehold_core::{
    Block, Bound, ClaimId, ClaimReply, Contention, Grant, Instant, Manner, ReleaseReply, RenewReply, Renewed, Terms, Token, Want,
};
use leasehold_wire::{
    Call, Claimed, Detach, Ended, HoldState, Native, NativeClaim, Obstacle, Record, Reply, claim, claimed, detach, forget,
    native, release, released, renew, renewed,
};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;

/// How often a script that bounds its work is called in one verb.
const MOST_CALLS: u32 = 1000;

/// What a claim came to: an answer, or a hold whose token is no token.
enum Outcome {
    Reply(ClaimReply),
    /// It holds, but the counter is below the floor, or refused with this fault.
    NoToken(Option<Fault>),
}

pub(super) async fn claim_verb(inner: &Arc<Inner>, call: &ClaimCall) -> Result<ClaimReply, Error> {
    if call.want != Want::ALL_OF_ONE {
        return Err(Error::unsupported("more than one permit per resource"));
    }
    let link = inner.link(call.route)?;
    let now = inner.world.now();
    let life = call.terms.ttl + call.terms.lock_delay;
    let contended = inner.book().sent((call.claim, call.ask.first), link.id, (&call.resource, life, now));
    let result = if call.ask.first && !contended {
        ask_natively(inner, &link, call).await
    } else {
        Box::pin(ask_by_script(inner, &link, call)).await
    };
    let result = match result {
        Ok(Outcome::Reply(reply)) => Ok(reply),
        Ok(Outcome::NoToken(why)) => Box::pin(mend_token(inner, &link, call, why)).await,
        Err(fault) => Err(Problem::Fault(fault)),
    };
    settle_claim(inner, (call.claim, link.id), call, &result);
    if matches!(result, Ok(ClaimReply::Granted(_))) && !call.ask.first {
        Box::pin(registry::correct(inner, &link, (call.claim, call.io_deadline))).await;
    }
    result.map_err(|problem| problem.into_error(inner))
}

/// A fault, or an error that is ready to be told.
enum Problem {
    Fault(Fault),
    Error(Error),
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Problem {
        Problem::Fault(fault)
    }
}

impl Problem {
    fn into_error(self, inner: &Inner) -> Error {
        match self {
            Problem::Fault(fault) => fault.into_error(&inner.target.space),
            Problem::Error(error) => error,
        }
    }

    fn is_definite(&self) -> bool {
        match self {
            Problem::Fault(fault) => fault.is_definite(),
            Problem::Error(error) => !error.outcome_unknown(),
        }
    }
}

/// Keeps the memory of the engine in step with what the store said.
fn settle_claim(inner: &Inner, (claim, by): (ClaimId, LinkId), call: &ClaimCall, result: &Result<ClaimReply, Problem>) {
    let now = inner.world.now();
    let mut book = inner.book();
    match result {
        Ok(ClaimReply::Granted(_)) if call.ask.first => book.met_none(&call.resource),
        Ok(ClaimReply::Queued(_) | ClaimReply::Busy(_)) => book.met_contention(&call.resource, now),
        // Unanswered: a release of this id goes out behind it.
        Err(problem) if !problem.is_definite() => return,
        _ => {}
    }
    book.answered(claim, by);
    let wake = match result {
        Ok(ClaimReply::Granted(grant)) => book.stands(claim, HoldState::Held, Some(grant.token), now),
        Ok(ClaimReply::Queued(_)) => book.stands(claim, HoldState::Waiting, None, now),
        // Told by native commands: it asks at once by script, if it did not already.
        Ok(ClaimReply::Busy(_)) if call.ask.wait => false,
        Ok(ClaimReply::Busy(_) | ClaimReply::Stale) => book.over(claim),
        Err(_) => call.ask.first && book.over(claim),
    };
    drop(book);
    if wake {
        inner.registry.notify_one();
    }
}

async fn ask_natively(inner: &Inner, link: &Link, call: &ClaimCall) -> Result<Outcome, Fault> {
    let ask = NativeClaim::new(&inner.target.space, &call.resource, (call.claim, call.terms));
    match native(&link.native(&ask, call.io_deadline).await?, &ask.value)? {
        Native::Set(Ok(counter)) => Ok(granted(inner, call, (counter, 0))),
        Native::Set(Err(refusal)) => Ok(Outcome::NoToken(Some(Fault::refused(refusal, "INCR")))),
        Native::Refused(refusal) => Err(Fault::refused(refusal, "SET")),
        // Who waits asks at once by script, and is told there by whom it is held: not worth a request here.
        Native::Held if call.ask.wait => {
            Ok(Outcome::Reply(ClaimReply::Busy(Contention { by: None, lease_left: Some(Duration::ZERO) })))
        }
        Native::Held => Ok(Outcome::Reply(ClaimReply::Busy(Box::pin(look_at_holder(link, &ask.lock, call.io_deadline)).await?))),
    }
}

/// Who holds, and for how long: for who asks only once.
async fn look_at_holder(link: &Link, lock: &str, io_deadline: Instant) -> Result<Contention, Fault> {
    let looks = ["GET", "PTTL"].map(|name| {
        let mut look = redis::cmd(name);
        look.arg(lock);
        look
    });
    let mut replies = link.many(looks, io_deadline).await?;
    let (left, value) = (replies.pop().unwrap_or(Reply::Nil), replies.pop().unwrap_or(Reply::Nil));
    let by = match value {
        Reply::Bytes(value) => Record::read(&value).claim(),
        refusal @ Reply::Error(..) => return Err(Fault::refused(refusal, "GET")),
        _ => None,
    };
    let lease_left = match left {
        Reply::Int(-1) => None,
        Reply::Int(left_ms) => Some(Duration::from_millis(u64::try_from(left_ms).unwrap_or(0))),
        other => return Err(Fault::refused(other, "PTTL")),
    };
    Ok(Contention { by, lease_left })
}

async fn ask_by_script(inner: &Inner, link: &Link, call: &ClaimCall) -> Result<Outcome, Fault> {
    let space = &inner.target.space;
    let (entry, place_life) = inner.book().asks(call.claim, (call.ask.no, call.terms.place_life));
    let ask = claim(space, &call.resource, (call.claim, entry), (Terms { place_life, ..call.terms }, call.ask));
    for _ in 0..MOST_CALLS {
        let (outcome, made) = match claimed(link.call(&ask, call.io_deadline).await?)? {
            Claimed::Granted(counter, spare) => (granted(inner, call, (counter, spare)), None),
            Claimed::Queued(obstacle, made) => (Outcome::Reply(ClaimReply::Queued(contention(&obstacle))), Some(made)),
            Claimed::Busy(obstacle) => (Outcome::Reply(ClaimReply::Busy(contention(&obstacle))), None),
            Claimed::Stale => (Outcome::Reply(ClaimReply::Stale), None),
            // Past its deadline, a release may have gone out, and no claim may follow it.
            Claimed::Again if inner.world.now() < call.io_deadline => continue,
            Claimed::Again => return Err(Fault::Late),
        };
        inner.book().has(call.claim, call.ask.no, made);
        return Ok(outcome);
    }
    Err(Fault::Late)
}

fn contention(obstacle: &Obstacle) -> Contention {
    Contention { by: obstacle.record.claim(), lease_left: obstacle.left }
}

/// A grant, if the counter is not below the floor.
fn granted(inner: &Inner, call: &ClaimCall, (counter, spare): (u64, u32)) -> Outcome {
    let floor = inner.floor.load(Ordering::Acquire);
    match Token::new(0, counter).filter(|token| token.counter() >= floor) {
        Some(token) => {
            let bound = Bound::FromSend(call.terms.ttl);
            Outcome::Reply(ClaimReply::Granted(Grant { claim: call.claim, token, spare, bound }))
        }
        None => Outcome::NoToken(None),
    }
}

/// The claim holds without a token. Raises the counter to the server's clock and asks again; if there is still none, the hold
/// is given back and nothing is granted.
async fn mend_token(inner: &Arc<Inner>, link: &Arc<Link>, call: &ClaimCall, why: Option<Fault>) -> Result<ClaimReply, Problem> {
    let behind = match why {
        Some(fault) => Err(Problem::Fault(fault)),
        None => match inner.raise(link, call.io_deadline).await {
            Ok(()) => Ok(()),
            Err(Ok(behind)) => {
                let message = format!("the store's clock went back by {behind:?}, and its tokens with it");
                Err(Problem::Error(Error::unavailable(message)))
            }
            Err(Err(fault)) => Err(Problem::Fault(fault)),
        },
    };
    // Past the caller's patience a release may have gone out, and no claim may follow it.
    if behind.is_ok()
        && inner.world.now() < call.io_deadline
        && let Outcome::Reply(reply) = ask_by_script(inner, link, call).await?
    {
        return Ok(reply);
    }
    give_back(inner, link, call).await?;
    behind?;
    Ok(ClaimReply::Busy(Contention { by: None, lease_left: Some(Duration::ZERO) }))
}

async fn give_back(inner: &Inner, link: &Link, call: &ClaimCall) -> Result<(), Fault> {
    let entry = inner.book().entry(call.claim);
    let back = release(&inner.target.space, &call.resource, (call.claim, entry), Manner::Own { keep: Duration::ZERO });
    release_on(link, &back, call.io_deadline, Care::default()).await.map(|_| ())
}

pub(super) async fn renew_verb(inner: Arc<Inner>, call: RenewCall) -> Result<RenewReply, Error> {
    if call.want != Want::ALL_OF_ONE {
        return Err(Error::unsupported("more than one permit per resource"));
    }
    let to_error = |fault: Fault| fault.into_error(&inner.target.space);
    let link = inner.driver()?;
    let space = &inner.target.space;
    let upkeep = renew(space, &call.resource, call.claim, (call.terms, call.tokens));
    let answer = link.call(&upkeep, call.io_deadline).await.map_err(to_error)?;
    let Some(prolonged) = renewed(answer).map_err(|malformed| to_error(malformed.into()))? else {
        inner.over(call.claim);
        return Ok(RenewReply::Lost);
    };
    inner.book().lengthened(call.claim, inner.world.now());
    if call.detached {
        let token = inner.book().known(call.claim).and_then(|(_, token)| token);
        let life = call.terms.ttl + call.terms.lock_delay;
        let hold = Detach { claim: call.claim, life, token, resource: call.resource.clone() };
        link.call(&detach(space, &hold), call.io_deadline).await.map_err(to_error)?;
        inner.book().detached(call.claim);
    }
    let block = prolonged.tokens.and_then(|tokens| set_aside(&inner, tokens));
    if block.is_none() && call.tokens > 0 {
        // Where it fails, the next renewal that wants tokens finds it out.
        let _ = inner.raise(&link, call.io_deadline).await;
    }
    let bound = Bound::FromSend(call.terms.ttl);
    Ok(RenewReply::Renewed(Renewed { bound, block, others_wait: prolonged.others_wait }))
}

/// The tokens up to `last`, unless the counter is below the floor: then they are no tokens.
fn set_aside(inner: &Inner, (last, count): (u64, u32)) -> Option<Block> {
    let first = Token::new(0, last.checked_sub(u64::from(count).checked_sub(1)?)?)?;
    (first.counter() >= inner.floor.load(Ordering::Acquire)).then_some(Block { first, count })
}

/// Sends a release by its route, and behind every unanswered claim of its id: on each connection that carried one and lives.
/// Where such a connection is gone, the one by the route is the next.
pub(super) async fn release_verb(inner: &Arc<Inner>, call: &ReleaseCall) -> Result<ReleaseReply, Error> {
    let now = inner.world.now();
    let (carriers, urgent, entry) = {
        let book = inner.book();
        (book.carriers(call.claim), book.is_contended(&call.resource, now), book.entry(call.claim))
    };
    let mut others: Vec<Arc<Link>> = carriers.iter().filter_map(|id| inner.living(*id)).collect();
    let link = match inner.link(call.route) {
        Ok(link) => link,
        Err(error) => others.pop().ok_or(error)?,
    };
    others.retain(|other| other.id != link.id);
    let space = &inner.target.space;
    let end = Arc::new(release(space, &call.resource, (call.claim, entry), call.manner));
    let result = if others.is_empty() {
        release_on(&link, &end, call.io_deadline, Care { rescue: Some(end.clone()), urgent }).await
    } else {
        Box::pin(release_on_all(inner, [vec![link], others].concat(), end, call.io_deadline)).await
    };
    let ended = result.map_err(|fault| fault.into_error(space))?;
    inner.book().settled(call.claim, &carriers);
    Ok(settle_release(inner, call, ended))
}

fn settle_release(inner: &Arc<Inner>, call: &ReleaseCall, ended: Ended) -> ReleaseReply {
    let stays = matches!(call.manner, Manner::Revoke) || matches!(call.manner, Manner::Own { keep } if !keep.is_zero());
    if !stays || ended != Ended::Released {
        inner.over(call.claim);
    }
    if ended == Ended::Released && !stays && call.claim.client() != inner.client {
        forget_elsewhere(inner, call.claim);
    }
    match ended {
        Ended::Released | Ended::Again => ReleaseReply::Released,
        Ended::Absent => ReleaseReply::Absent,
        Ended::Taken(obstacle) => ReleaseReply::Taken(contention(&obstacle)),
    }
}

/// Takes a claim out of the registry of the client that made it, which may be gone.
fn forget_elsewhere(inner: &Arc<Inner>, claim: ClaimId) {
    let Ok(link) = inner.driver() else { return };
    let call = forget(&inner.target.space, claim.client(), Some(claim));
    let io_deadline = inner.world.now() + super::inner::CONNECT;
    // A registry shows a hold only where the lock's key carries it: a failure here is not seen by anybody.
    inner.world.spawn(async move { drop(link.call(&call, io_deadline).await) });
}

async fn release_on(link: &Link, end: &Call, io_deadline: Instant, care: Care) -> Result<Ended, Fault> {
    for _ in 0..MOST_CALLS {
        match released(link.call_with(end, io_deadline, care.clone()).await?)? {
            Ended::Again => {}
            ended => return Ok(ended),
        }
    }
    Err(Fault::Late)
}

/// The same release on several connections; goes on to its end even if the caller is gone.
async fn release_on_all(inner: &Inner, links: Vec<Arc<Link>>, end: Arc<Call>, io_deadline: Instant) -> Result<Ended, Fault> {
    let (told, verdict) = oneshot::channel();
    inner.world.spawn(async move {
        let results = join_all(links.iter().map(|link| release_on(link, &end, io_deadline, Care::default()))).await;
        let _ = told.send(sum_up(results));
    });
    verdict.await.unwrap_or(Err(Fault::Late))
}

/// Released if any says so; else what the last says that knows. A connection that is gone carries nothing any more.
fn sum_up(results: Vec<Result<Ended, Fault>>) -> Result<Ended, Fault> {
    let rank = |result: &Result<Ended, Fault>| match result {
        Ok(Ended::Released) => 3,
        Err(Fault::Late) => 2,
        Ok(_) => 1,
        Err(_) => 0,
    };
    results.into_iter().max_by_key(rank).unwrap_or(Err(Fault::Lost))
}
