//! One connection: the handshake, and calls with a deadline of our own.

use super::config::{Place, Target};
use super::fault::{self, Fault};
use super::ledger::Ledger;
use super::outbox::{BACKLOG, Care, Outbox, Pumping, Replies, Verdict};
use super::stream::{self, Grip};
use crate::error::Error;
use crate::world::World;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, Map, select};
use leasehold_core::Instant;
use leasehold_wire::{ALL, Call, NativeClaim, Reply, raise};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ProtocolVersion, PushInfo, RedisConnectionInfo, cmd};
use rustc_hash::FxHashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use tokio::sync::oneshot::error::RecvError;

/// Which of the two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Side {
    /// That of the runtime that connected.
    Caller,
    /// That of the driver's thread.
    Driver,
}

/// One connection among all that an engine ever had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LinkId {
    pub(super) side: Side,
    pub(super) generation: u64,
}

/// A connection that has shaken hands.
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) grip: Arc<Grip>,
    pub(super) outbox: Arc<Outbox>,
    connection: MultiplexedConnection,
    world: World,
}

/// What a handshake found out.
pub(super) struct Greeting {
    pub(super) link: Arc<Link>,
    /// Moves the bytes; ends with the connection.
    pub(super) traffic: BoxFuture<'static, ()>,
    /// The token counter, raised to the server's clock.
    pub(super) counter: u64,
    /// True if pushes can come in.
    pub(super) pushes: bool,
    /// What the user should know about this server.
    pub(super) warnings: Vec<String>,
}

/// The answers to commands that went out together.
type Answers = Map<Verdict, fn(Result<Result<Replies, Fault>, RecvError>) -> Result<Replies, Fault>>;

/// Gets what comes in unasked; true if that told somebody a grant.
pub(super) type OnPush = Arc<dyn Fn(PushInfo) -> bool + Send + Sync>;

/// What a connection is opened for.
pub(super) struct Purpose {
    pub(super) id: LinkId,
    pub(super) world: World,
    pub(super) ledger: Arc<Ledger>,
    /// The channel to subscribe to, and who gets what is said there.
    pub(super) listen: Option<(String, OnPush)>,
    /// How long each step may take.
    pub(super) io_deadline: Instant,
}

/// The oldest server that has all that the scripts use.
const OLDEST: u32 = 7;

/// What is refused for another reason than the protocol.
const MENDED_BY_NO_PROTOCOL: [&str; 4] = ["LOADING", "MASTERDOWN", "NOAUTH", "WRONGPASS"];

/// The name by which a server knows a script.
static HASHES: LazyLock<FxHashMap<&'static str, String>> =
    LazyLock::new(|| ALL.iter().map(|script| (script.name, redis::Script::new(script.source).get_hash().to_owned())).collect());

/// Connects and shakes hands: in RESP3 if the server speaks it, else in RESP2 without pushes.
///
/// # Errors
/// Config, permission and unsupported, where waiting cannot mend it; else unavailable.
pub(super) async fn open(target: &Target, purpose: Purpose) -> Result<Greeting, Error> {
    match attach(target, &purpose, ProtocolVersion::RESP3).await {
        // Whatever a proxy says to a HELLO that it does not know: whether it serves without is seen by trying.
        Err(fault) if fault.is_definite() && !MENDED_BY_NO_PROTOCOL.iter().any(|code| fault.says(code)) => {}
        Err(fault) => return Err(unreachable(fault, target)),
        Ok((link, traffic)) => return greet(target, &purpose, link, traffic).await,
    }
    let (link, traffic) = attach(target, &purpose, ProtocolVersion::RESP2).await.map_err(|fault| unreachable(fault, target))?;
    greet(target, &Purpose { listen: None, ..purpose }, link, traffic).await
}

pub(super) fn unreachable(fault: Fault, target: &Target) -> Error {
    match fault {
        Fault::Lost => Error::unavailable(format!("no connection to {:?}", target.place)),
        fault => fault.into_error(&target.space),
    }
}

type Attached = (Arc<Link>, BoxFuture<'static, ()>);

async fn attach(target: &Target, purpose: &Purpose, protocol: ProtocolVersion) -> Result<Attached, Fault> {
    let stream = stream::open(target).await.map_err(|error| unopened(&error))?;
    let grip = stream.grip.clone();
    let mut info = RedisConnectionInfo::default().set_protocol(protocol).set_skip_set_lib_name();
    if let Some(user) = &target.user {
        info = info.set_username(user);
    }
    if let Some(password) = &target.password {
        info = info.set_password(&password.0);
    }
    // Timeouts and retries are ours alone.
    let mut config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
    config = config.set_pipeline_buffer_size(BACKLOG);
    let granted = Arc::new(AtomicBool::new(false));
    if let (Some((_, on_push)), ProtocolVersion::RESP3) = (&purpose.listen, protocol) {
        let (on_push, granted) = (on_push.clone(), granted.clone());
        config = config.set_push_sender(move |push: PushInfo| {
            granted.fetch_or(on_push(push), Ordering::Relaxed);
            Ok::<(), ()>(())
        });
    }
    let opened = MultiplexedConnection::new_with_config(&info, stream, config).await;
    let (connection, traffic) = opened.map_err(|error| refused_greeting(&error))?;
    // A stream of others' stays on its runtime, and calls may be made elsewhere.
    let by_hand = purpose.id.side == Side::Caller && !matches!(target.place, Place::Given(_));
    let outbox = Outbox::new(grip.clone(), purpose.ledger.clone(), by_hand);
    let pump = Pumping::new(outbox.clone(), connection.clone(), (traffic.boxed(), granted));
    let link = Link { id: purpose.id, grip, outbox, connection, world: purpose.world.clone() };
    Ok((Arc::new(link), pump.boxed()))
}

/// Waiting mends a network; it does not mend a certificate.
pub(super) fn unopened(error: &std::io::Error) -> Fault {
    // Only the TLS handshake finds data invalid here.
    if error.kind() == std::io::ErrorKind::InvalidData {
        return Fault::Refused { code: "UNTRUSTED".to_owned(), detail: String::new(), what: "TLS" };
    }
    Fault::Lost
}

/// The crate tells some refusals of `HELLO` and `AUTH` by kinds of its own.
fn refused_greeting(error: &redis::RedisError) -> Fault {
    let refused = |code: &str, detail: &str| Fault::Refused { code: code.to_owned(), detail: detail.to_owned(), what: "HELLO" };
    match error.kind() {
        redis::ErrorKind::RESP3NotSupported => refused("ERR", "unknown command"),
        redis::ErrorKind::AuthenticationFailed => refused("WRONGPASS", ""),
        _ => fault::of_crate(error),
    }
}

async fn greet(target: &Target, purpose: &Purpose, link: Arc<Link>, traffic: BoxFuture<'static, ()>) -> Result<Greeting, Error> {
    let talk = pin!(talk(target, purpose, link.clone()));
    match select(talk, traffic).await {
        Either::Left((Ok((counter, pushes, warnings)), traffic)) => Ok(Greeting { link, traffic, counter, pushes, warnings }),
        Either::Left((Err(error), _)) => Err(error),
        Either::Right(_) => Err(unreachable(Fault::Lost, target)),
    }
}

async fn talk(target: &Target, purpose: &Purpose, link: Arc<Link>) -> Result<(u64, bool, Vec<String>), Error> {
    let mut greeting = vec![cmd("HELLO"), info("server"), info("memory")];
    let mut name = cmd("CLIENT");
    name.arg("SETNAME").arg("leasehold");
    greeting.push(name);
    for script in ALL {
        let mut load = cmd("SCRIPT");
        load.arg("LOAD").arg(script.source);
        greeting.push(load);
    }
    let mut select = cmd("SELECT");
    select.arg(target.db);
    greeting.push(select);
    let to_error = |fault: Fault| fault.into_error(&target.space);
    let mut replies = link.many(greeting, purpose.io_deadline).await.map_err(to_error)?;
    check_version(&replies)?;
    // With the right to scripts alone, loading may be refused: then each is sent whole, once.
    if let Some(error @ Reply::Error(..)) = replies.pop()
        && target.db != 0
    {
        return Err(no_database(error, target));
    }
    let answer = link.call(&raise(&target.space), purpose.io_deadline).await.map_err(to_error)?;
    let counter = leasehold_wire::counter(answer).map_err(|malformed| to_error(malformed.into()))?;
    let pushes = match &purpose.listen {
        Some((channel, _)) => link.listen(channel, true, purpose.io_deadline).await,
        None => false,
    };
    Ok((counter, pushes, warnings(&replies[2])))
}

fn info(section: &str) -> Cmd {
    let mut info = cmd("INFO");
    info.arg(section);
    info
}

fn no_database(error: Reply, target: &Target) -> Error {
    match Fault::refused(error, "SELECT") {
        Fault::Refused { code, .. } if code == "ERR" => Error::config(format!("the server has no database {}", target.db)),
        fault => fault.into_error(&target.space),
    }
}

/// Finds the version in the answers to `HELLO` and `INFO server`; one that hides it is judged by what it can do.
fn check_version(replies: &[Reply]) -> Result<(), Error> {
    let Some(version) = hello_version(&replies[0]).or_else(|| info_field(&replies[1], "redis_version")) else { return Ok(()) };
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major < OLDEST) {
        return Err(Error::unsupported(format!("redis 7.0 or newer is needed, this server is {version}")));
    }
    Ok(())
}

fn hello_version(reply: &Reply) -> Option<String> {
    let Reply::List(items) = reply else { return None };
    items.chunks(2).find_map(|pair| match pair {
        [Reply::Bytes(key), Reply::Bytes(value)] if key == b"version" => Some(String::from_utf8_lossy(value).into_owned()),
        _ => None,
    })
}

fn info_field(reply: &Reply, field: &str) -> Option<String> {
    let Reply::Bytes(text) = reply else { return None };
    let text = String::from_utf8_lossy(text);
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(name, _)| *name == field).map(|(_, value)| value.trim().to_owned())
}

fn warnings(memory: &Reply) -> Vec<String> {
    let limit = info_field(memory, "maxmemory").and_then(|limit| limit.parse::<u64>().ok()).unwrap_or(0);
    let policy = info_field(memory, "maxmemory_policy").unwrap_or_default();
    if limit == 0 || policy.is_empty() || policy == "noeviction" {
        return Vec::new();
    }
    vec![format!("the server may evict locks when memory is short (maxmemory-policy is {policy}; noeviction keeps them)")]
}

impl Link {
    /// True if the client's channel is heard on this connection.
    pub(super) fn hears(&self) -> bool {
        self.outbox.hears()
    }

    /// Subscribes to `channel`, or unsubscribes; false if the server refuses, or does not answer in time.
    // It does not go by the outbox, so it would go before the claims that wait there.
    pub(super) async fn listen(&self, channel: &str, yes: bool, io_deadline: Instant) -> bool {
        let mut connection = self.connection.clone();
        if yes {
            let done = connection.subscribe(channel).await.is_ok();
            self.outbox.set_hears(done);
            return done;
        }
        // A claim that is made from here on does not rely on it. Those before did: they are answered first.
        self.outbox.set_hears(false);
        self.many([word("GET", channel)], io_deadline).await.is_ok() && connection.unsubscribe(channel).await.is_ok()
    }

    /// Calls a script by its hash; if the server does not know it, nothing was executed, and the same call goes out once more,
    /// whole.
    pub(super) async fn call(&self, call: &Call, io_deadline: Instant) -> Result<Reply, Fault> {
        self.call_with(call, io_deadline, Care::default()).await
    }

    /// The same, with what it is due besides.
    pub(super) async fn call_with(&self, call: &Call, io_deadline: Instant, care: Care) -> Result<Reply, Fault> {
        let what = call.script.name;
        match self.one((eval(call, "EVALSHA", &HASHES[what]), what), io_deadline, care.clone()).await {
            // A release may have gone out by now, and no claim may follow it.
            Err(fault) if fault.says("NOSCRIPT") && self.world.now() >= io_deadline => Err(Fault::Late),
            Err(fault) if fault.says("NOSCRIPT") => {
                Box::pin(self.one((eval(call, "EVAL", call.script.source), what), io_deadline, care)).await
            }
            result => result,
        }
    }

    /// The native claim, in one write: the answers to `SET`, `INCR` and, where no push would say that the lock was taken away
    /// in between, `GET`.
    pub(super) fn native(&self, claim: &NativeClaim, io_deadline: Instant) -> Answers {
        let mut set = Cmd::with_capacity(6, 32 + claim.lock.len() + claim.value.len());
        set.arg("SET").arg(&claim.lock).arg(&claim.value).arg("NX").arg("PX").arg(claim.px_ms);
        let get = |hears: bool| (!hears).then(|| word("GET", &claim.lock));
        self.answers(|hears| [set, word("INCR", claim.counter)].into_iter().chain(get(hears)), io_deadline)
    }

    async fn one(&self, (command, what): (Cmd, &'static str), io_deadline: Instant, care: Care) -> Result<Reply, Fault> {
        let verdict = self.outbox.post(|_| [command], io_deadline, care);
        match verdict.await.unwrap_or(Err(Fault::Lost))?.pop().unwrap_or(Reply::Nil) {
            refusal @ Reply::Error(..) => Err(Fault::refused(refusal, what)),
            answer => Ok(answer),
        }
    }

    /// Sends commands in one write; each has its own answer, which may be an error.
    // Posted here, so that no future carries the commands: they are larger than all the rest of it.
    pub(super) fn many(&self, commands: impl IntoIterator<Item = Cmd>, io_deadline: Instant) -> Answers {
        self.answers(|_| commands, io_deadline)
    }

    fn answers<C: IntoIterator<Item = Cmd>>(&self, commands: impl FnOnce(bool) -> C, io_deadline: Instant) -> Answers {
        let or_lost: fn(_) -> _ = |verdict: Result<_, RecvError>| verdict.unwrap_or(Err(Fault::Lost));
        self.outbox.post(commands, io_deadline, Care::default()).map(or_lost)
    }
}

fn word(name: &str, key: &str) -> Cmd {
    let mut word = Cmd::with_capacity(2, name.len() + key.len());
    word.arg(name).arg(key);
    word
}

fn eval(call: &Call, command: &str, script: &str) -> Cmd {
    let texts = call.keys().iter().chain(call.args());
    let mut eval =
        Cmd::with_capacity(3 + call.keys().len() + call.args().len(), 16 + script.len() + texts.map(String::len).sum::<usize>());
    eval.arg(command).arg(script).arg(call.keys().len()).arg(call.keys()).arg(call.args());
    eval
}

#[cfg(test)]
mod tests {
    use super::super::outbox::tests::{outbox, serve};
    use super::*;
    use futures_util::future::join;

    #[tokio::test]
    async fn a_claim_that_relies_on_the_channel_is_answered_before_it_is_left() {
        let (outbox, pump, connection, server) = outbox().await;
        let (id, grip) = (LinkId { side: Side::Driver, generation: 1 }, Arc::default());
        let link = Link { id, grip, outbox, connection, world: World::with_thread("leasehold-test").unwrap() };
        link.outbox.set_hears(true);
        let claim = |counter| NativeClaim { lock: "l".to_owned(), value: "v".to_owned(), px_ms: 1, counter };
        let before = link.native(&claim("heard"), Instant::FAR);
        let mut left = Box::pin(link.listen("c", false, Instant::FAR));
        // The pump has not moved yet.
        assert!((&mut left).now_or_never().is_none());
        let after = link.native(&claim("unheard"), Instant::FAR);
        let moved = async {
            let all = join(left, join(before, after));
            let Either::Left(((done, _), pump)) = select(all, pump).await else { panic!("the connection ended") };
            assert!(done);
            drop(pump);
        };
        let (asked, ()) = join(serve(server), moved).await;
        assert_eq!(asked, ["SET", "INCR", "GET", "SET", "INCR", "GET", "UNSUBSCRIBE"]);
    }
}
