//! A lock database in a temporary directory, its clients in this process, and other processes that do a job with it.

use leasehold::conformance::Store;
use leasehold::conformance::notices_of;
use leasehold::engine::{About, ClaimCall, Engine, Notice, ReleaseCall};
use leasehold::engines::sqlite::SqliteEngine;
use leasehold::world::World;
use leasehold::{ClaimId, Error, Instant, ResourceName, Want};
use leasehold_core::{Ask, Bound, ClaimReply, Grant, Manner, ReleaseReply, ReqNo, Terms};
use rusqlite::Connection;
use rustix::fs::{FlockOperation, flock};
use std::env;
use std::fs::{self, File};
use std::future::Future;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;

#[path = "sqlite.rs"]
#[allow(dead_code)]
mod database;
use database::Database;

const PATIENCE: Duration = Duration::from_secs(60);
const JOB: &str = "LEASEHOLD_TEST_JOB";
const DATABASE: &str = "LEASEHOLD_TEST_DATABASE";
const NOBODY: u32 = 65_534;

/// Terms under which nothing ends while a test runs.
pub fn lasting() -> Terms {
    let second = Duration::from_secs(1);
    Terms { ttl: second * 90, lock_delay: Duration::ZERO, place_life: second * 60, place_margin: second }
}

/// Terms under which a lease ends soon.
pub fn brief() -> Terms {
    terms(Duration::from_millis(600))
}

fn terms(ttl: Duration) -> Terms {
    Terms { ttl, lock_delay: Duration::ZERO, place_life: ttl / 4 * 3, place_margin: ttl / 4 }
}

/// A legal name.
pub fn name(text: &str) -> ResourceName {
    ResourceName::new(text).unwrap()
}

/// Runs a future to its end without a runtime.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

/// One test's lock database.
pub struct Site(Database);

impl Site {
    pub fn new() -> Site {
        Site(Database::new())
    }

    pub fn path(&self) -> PathBuf {
        self.0.path()
    }

    pub fn directory(&self) -> &Path {
        self.0.directory()
    }

    pub fn wake(&self) -> PathBuf {
        self.directory().join("locks.db-wake")
    }

    pub fn raw(&self) -> Connection {
        self.0.raw()
    }

    /// A client in this process.
    pub fn client(&self) -> Client {
        self.client_at(&self.path())
    }

    pub fn client_at(&self, path: &Path) -> Client {
        Client::open(path, self.0.world().clone(), "test").unwrap()
    }

    pub fn try_open(&self) -> Result<Client, Error> {
        Client::open(&self.path(), self.0.world().clone(), "test")
    }

    /// A process that does a job; see [`run_job`].
    pub fn spawn(&self, job: &str, argument: &str) -> Process {
        Process::start(&mut self.command(&format!("{job} {argument}")))
    }

    /// The same without any rights of its own, if this process has more than those.
    pub fn spawn_unprivileged(&self, job: &str) -> Process {
        let mut command = self.command(job);
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        Process::start(&mut command)
    }

    /// The same with a limit on the size of files, in blocks of the shell's; writes beyond it are errors.
    pub fn spawn_limited(&self, job: &str, blocks: u32) -> Process {
        let mut command = Command::new("sh");
        // A signal that is ignored stays so in the program that the shell becomes.
        command.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\""), "sh"]);
        command.arg(env::current_exe().unwrap());
        Process::start(self.give(&mut command, job))
    }

    fn command(&self, job: &str) -> Command {
        let mut command = Command::new(env::current_exe().unwrap());
        self.give(&mut command, job);
        command
    }

    fn give<'c>(&self, command: &'c mut Command, job: &str) -> &'c mut Command {
        command.args(["--exact", "a_process_of_its_own_does_its_job", "--nocapture"]);
        command.env(JOB, job).env(DATABASE, self.path())
    }

    /// How many holders and waiters have a row.
    pub fn rows(&self) -> i64 {
        let count = "SELECT (SELECT count(*) FROM holder) + (SELECT count(*) FROM waiter)";
        self.raw().query_row(count, [], |row| row.get(0)).unwrap()
    }

    /// How many clients' sockets there are.
    pub fn sockets(&self) -> usize {
        let names = fs::read_dir(self.wake()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().ends_with(".sock")).count()
    }

    pub fn mode(&self, path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    /// Makes all rows of a table those of another boot.
    pub fn make_foreign(&self, table: &str) {
        let rows = self.raw().execute(&format!("UPDATE {table} SET boot = 'of old/1'"), []).unwrap();
        assert!(rows > 0, "there is a {table}");
    }

    pub fn assert_no_residue(&self) {
        assert_eq!(self.rows(), 0, "no holder, no waiter");
        assert_eq!(self.sockets(), 0, "no socket");
        let names = fs::read_dir(self.directory()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.retain(|name| name != "inside");
        names.sort();
        assert_eq!(names, ["locks.db", "locks.db-wake"]);
    }

    pub fn eventually(&self, what: &str, condition: impl Fn() -> bool) {
        let deadline = self.0.world().now() + PATIENCE;
        while !condition() {
            assert!(self.0.world().now() < deadline, "{what}: not within {PATIENCE:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

pub fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// One client.
#[derive(Debug)]
pub struct Client {
    pub engine: Arc<dyn Engine>,
    pub notices: UnboundedReceiver<Notice>,
    pub world: World,
    id: u64,
}

impl Client {
    fn open(path: &Path, world: World, label: &str) -> Result<Client, Error> {
        let about = About { host: "host".into(), pid: std::process::id(), program: "test".into(), label: Some(label.into()) };
        let id = world.random();
        let engine = SqliteEngine::open(&format!("sqlite:{}", path.display()), world.clone(), id, about)?;
        Ok(Client { notices: notices_of(&*engine), engine, world, id })
    }

    pub fn fresh_claim(&self) -> ClaimId {
        ClaimId::new(self.id, self.world.random())
    }

    /// A deadline for a verb that is answered at once.
    pub fn soon(&self) -> Instant {
        self.world.now() + PATIENCE
    }

    pub fn call(&self, resource: &str, terms: Terms) -> ClaimCall {
        ClaimCall::new(name(resource), self.fresh_claim(), Want::ALL_OF_ONE, terms)
    }

    pub async fn try_claim(&self, resource: &str, terms: Terms) -> ClaimReply {
        self.engine.claim(self.call(resource, terms)).await.unwrap()
    }

    /// Claims what must be free.
    pub async fn granted(&self, resource: &str, terms: Terms) -> ClaimId {
        match self.try_claim(resource, terms).await {
            ClaimReply::Granted(grant) => grant.claim,
            other => panic!("{resource} must be free, got {other:?}"),
        }
    }

    /// Claims anew until it is granted.
    pub async fn until_granted(&self, resource: &str, terms: Terms) {
        let deadline = self.soon();
        while !matches!(self.try_claim(resource, terms).await, ClaimReply::Granted(_)) {
            assert!(self.world.now() < deadline, "{resource} was not granted");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn release(&self, resource: &str, claim: ClaimId) -> ReleaseReply {
        let call = ReleaseCall::new(name(resource), claim, Manner::Own { keep: Duration::ZERO });
        self.engine.release(call).await.unwrap()
    }

    pub async fn hear_grant(&mut self) -> Grant {
        loop {
            if let Notice::Granted(grant) = self.hear(PATIENCE).await.expect("a grant is pushed") {
                return grant;
            }
        }
    }

    async fn hear(&mut self, patience: Duration) -> Option<Notice> {
        tokio::time::timeout(patience, self.notices.recv()).await.ok().flatten()
    }

    /// Waits for its turn as a driver does; returns the claim and until when it holds by its own clock.
    async fn acquire(&mut self, resource: &str, terms: Terms) -> (ClaimId, Instant) {
        let mut call = self.call(resource, terms);
        let mut sent = Vec::new();
        loop {
            let no = ReqNo(u32::try_from(sent.len()).unwrap());
            call.ask = Ask { no, first: no.0 == 0, wait: true, spare: 0 };
            sent.push(self.world.now());
            if let ClaimReply::Granted(_) = self.engine.claim(call.clone()).await.unwrap() {
                return (call.claim, sent[sent.len() - 1] + terms.ttl);
            }
            let beat = self.world.now() + terms.place_margin;
            while let Some(notice) = self.hear(beat.since(self.world.now())).await {
                match notice {
                    Notice::Granted(Grant { claim, bound: Bound::FromAsk(no), .. }) if claim == call.claim => {
                        return (claim, sent[no.0 as usize] + terms.place_life);
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Another process at work.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    heard: Vec<String>,
}

impl Process {
    fn start(command: &mut Command) -> Process {
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sink, lines) = channel();
        thread::spawn(move || stderr.lines().map_while(Result::ok).all(|line| sink.send(line).is_ok()));
        Process { child, lines, heard: Vec::new() }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it tells `what`, and returns what it tells of it.
    pub fn told(&mut self, what: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("the process does not tell {what}; it told {:#?}", self.heard));
            if let Some(("", told)) = line.split_once(&format!("> {what} ")) {
                return told.into();
            }
            self.heard.push(line);
        }
    }

    pub fn told_number(&mut self, what: &str) -> u64 {
        self.told(what).parse().unwrap()
    }

    /// Waits for its end; true if its job went well.
    pub fn is_well(&mut self) -> bool {
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), None);
        status.success()
    }

    /// Ends its wait for the end of its input.
    pub fn let_go(&mut self) {
        drop(self.child.stdin.take());
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What this process does if it was started by [`Site::spawn`]: the job that its environment names.
pub fn run_job() {
    let Ok(job) = env::var(JOB) else { return };
    let path = PathBuf::from(env::var_os(DATABASE).unwrap());
    let (job, argument) = job.split_once(' ').unwrap_or((&job, ""));
    let client = Client::open(&path, World::with_thread("worker").unwrap(), "worker");
    let client = match client {
        Ok(client) => client,
        Err(error) => return tell("error", &format!("{:?}", error.kind())),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match job {
            "open" => tell("error", "none"),
            "hold" => hold(client, argument).await,
            "try" => attempt(&client, argument).await,
            "fill" => fill(&client).await,
            "queue" => queue(&client, argument).await,
            "contend" => contend(client, &path, millis(argument)).await,
            "hammer" => hammer(&client, millis(argument)).await,
            _ => panic!("no job {job}"),
        }
    });
}

/// Holds until its input ends, and tells what is revoked meanwhile.
async fn hold(client: Client, resource: &str) {
    let claim = client.granted(resource, brief_for("forgotten", resource)).await;
    tell("granted", &claim.to_string());
    let mut notices = client.notices;
    thread::spawn(move || {
        while let Some(notice) = notices.blocking_recv() {
            if let Notice::Revoked(claim) = notice {
                tell("revoked", &claim.to_string());
            }
        }
    });
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    let call = ReleaseCall::new(name(resource), claim, Manner::Own { keep: Duration::ZERO });
    client.engine.release(call).await.unwrap();
    client.engine.close().await.unwrap();
}

fn brief_for(special: &str, resource: &str) -> Terms {
    if resource == special { brief() } else { lasting() }
}

/// Claims once, and keeps what it gets.
async fn attempt(client: &Client, resource: &str) {
    match client.try_claim(resource, lasting()).await {
        ClaimReply::Granted(_) => tell("reply", "granted"),
        ClaimReply::Busy(_) => tell("reply", "busy"),
        other => panic!("{other:?}"),
    }
    client.engine.close().await.unwrap();
}

/// Claims ever more until that is an error, then gives all of it back.
async fn fill(client: &Client) {
    let mut held = Vec::new();
    let error = loop {
        let call = client.call(&format!("{}:{}", held.len(), "x".repeat(400)), lasting());
        held.push((call.resource.clone(), call.claim));
        match client.engine.claim(call).await {
            Ok(ClaimReply::Granted(_)) => {}
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    tell("error", &format!("{:?}", error.kind()));
    tell("granted", &format!("{}", held.len() - 1));
}

/// Waits until it is killed.
async fn queue(client: &Client, resource: &str) {
    let mut call = client.call(resource, lasting());
    call.ask.wait = true;
    assert!(matches!(client.engine.claim(call).await.unwrap(), ClaimReply::Queued(_)));
    tell("queued", "");
    thread::sleep(PATIENCE * 10);
}

/// Takes turns; panics if it meets another inside while both hold.
async fn contend(mut client: Client, path: &Path, span: Duration) {
    let inside = File::options().create(true).append(true).open(path.with_file_name("inside")).unwrap();
    let until = client.world.now() + span;
    let mut turns = 0;
    tell("ready", "");
    while client.world.now() < until {
        let (claim, deadline) = client.acquire("contended", terms(Duration::from_secs(3))).await;
        // The kernel gives this lock back when a process is killed, as the lease does a little later.
        let alone = flock(&inside, FlockOperation::NonBlockingLockExclusive).is_ok();
        assert!(alone || client.world.now() >= deadline, "another is inside");
        if alone {
            tokio::time::sleep(Duration::from_micros(client.world.random() % 300)).await;
            flock(&inside, FlockOperation::Unlock).unwrap();
        }
        client.release("contended", claim).await;
        turns += 1;
    }
    client.engine.close().await.unwrap();
    tell("turns", &format!("{turns}"));
}

/// Claims and releases a resource of its own without a pause.
async fn hammer(client: &Client, span: Duration) {
    let resource = format!("of {}", std::process::id());
    let until = client.world.now() + span;
    let mut cycles = 0;
    while client.world.now() < until {
        let claim = client.granted(&resource, lasting()).await;
        client.release(&resource, claim).await;
        cycles += 1;
    }
    client.engine.close().await.unwrap();
    tell("cycles", &format!("{cycles}"));
}

fn tell(what: &str, value: &str) {
    eprintln!("> {what} {value}");
}

fn millis(argument: &str) -> Duration {
    Duration::from_millis(argument.parse().unwrap())
}
