//! The one thread of an engine that touches the database: verbs are executed in the order in which they were handed over.

use super::book::Push;
use super::store::Store;
use super::view;
use super::wake::{Mailbox, Post};
use crate::engine::{ClaimCall, Ear, Inspection, Notice, ReleaseCall, RenewCall};
use crate::error::Error;
use crate::world::World;
use leasehold_core::{ClaimReply, Instant, ReleaseReply, RenewReply, ResourceName};
use std::collections::VecDeque;
use std::sync::mpsc::Receiver;
use std::time::Duration;
use tokio::sync::oneshot;

/// The engine's name in errors and capabilities.
pub(super) const NAME: &str = "sqlite";

/// How often the socket's name is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where the answer of a verb goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// A verb on its way to the thread.
#[derive(Debug)]
pub(super) enum Job {
    Claim(ClaimCall, Reply<ClaimReply>),
    Renew(RenewCall, Reply<RenewReply>),
    Release(ReleaseCall, Reply<ReleaseReply>),
    Inspect(ResourceName, Instant, Reply<Inspection>),
    List(Instant, Reply<Vec<Inspection>>),
    Close(Reply<()>),
}

impl Job {
    /// When its caller stops waiting.
    fn deadline(&self) -> Instant {
        match self {
            Job::Claim(call, _) => call.io_deadline,
            Job::Renew(call, _) => call.io_deadline,
            Job::Release(call, _) => call.io_deadline,
            Job::Inspect(_, deadline, _) | Job::List(deadline, _) => *deadline,
            Job::Close(_) => Instant::FAR,
        }
    }

    /// True if nobody wants it any more. A release or a renewal is wanted even if its answer is not.
    fn is_abandoned(&self) -> bool {
        match self {
            Job::Claim(_, reply) => reply.is_closed(),
            Job::Inspect(_, _, reply) => reply.is_closed(),
            Job::List(_, reply) => reply.is_closed(),
            Job::Renew(..) | Job::Release(..) | Job::Close(_) => false,
        }
    }

    /// Answers that nothing was executed.
    fn refuse(self, error: Error) {
        match self {
            Job::Claim(_, reply) => answer(reply, Err(error)),
            Job::Renew(_, reply) => answer(reply, Err(error)),
            Job::Release(_, reply) => answer(reply, Err(error)),
            Job::Inspect(_, _, reply) => answer(reply, Err(error)),
            Job::List(_, reply) => answer(reply, Err(error)),
            Job::Close(reply) => answer(reply, Ok(())),
        }
    }
}

/// Answers the caller, unless it has dropped the future.
fn answer<T>(reply: Reply<T>, answer: Result<T, Error>) {
    reply.send(answer.map_err(|error| error.on(NAME))).ok();
}

/// The thread's state.
#[derive(Debug)]
pub(super) struct Worker {
    queue: Queue,
    store: Store,
    links: Links,
}

/// Verbs that were handed over.
#[derive(Debug)]
struct Queue {
    world: World,
    jobs: Receiver<Job>,
    waiting: VecDeque<Job>,
}

/// The ways to this client and to the others.
#[derive(Debug)]
struct Links {
    world: World,
    client: u64,
    ear: Ear,
    /// `None` only while it is being replaced, or if that went wrong: then beats do the waking.
    post: Option<(Post, Mailbox)>,
    look_at: Instant,
}

impl Worker {
    pub(super) fn new(store: Store, client: u64, ends: (Receiver<Job>, Ear), world: World) -> Result<Worker, Error> {
        let (jobs, ear) = ends;
        let mut links = Links { world: world.clone(), client, ear, post: None, look_at: Instant::from_nanos(0) };
        links.connect(&store)?;
        Ok(Worker { queue: Queue { world, jobs, waiting: VecDeque::new() }, store, links })
    }

    /// Works until the engine is closed or dropped.
    pub(super) fn run(mut self) {
        while let Some(job) = self.queue.next() {
            if let Job::Close(reply) = job {
                let jobs = self.close();
                // Only now, so that nothing is left behind once the caller knows.
                answer(reply, Ok(()));
                jobs.into_iter().for_each(|job| job.refuse(closed()));
                return;
            }
            if !job.is_abandoned() {
                self.execute(job);
            }
        }
    }

    fn close(mut self) -> VecDeque<Job> {
        self.queue.fetch();
        self.queue.waiting
    }

    fn execute(&mut self, job: Job) {
        let deadline = job.deadline();
        if self.queue.world.now() >= deadline {
            return job.refuse(too_late());
        }
        let Worker { queue, store, links } = self;
        let mut tries = 0;
        let mut pause = || queue.pause(deadline, &mut tries);
        match job {
            Job::Claim(call, reply) => {
                let done = store.write(&mut pause, |book| book.claim(&call));
                links.tell(store, done, reply);
            }
            Job::Renew(call, reply) => {
                let done = store.write(&mut pause, |book| book.renew(&call));
                links.tell(store, done, reply);
            }
            Job::Release(call, reply) => {
                let done = store.write(&mut pause, |book| book.release(&call));
                links.tell(store, done, reply);
            }
            Job::Inspect(resource, _, reply) => {
                let done = store.read(&mut pause, |rows, here| view::inspect(rows, here, resource.clone()));
                links.tell(store, done.map(|seen| (Ok(seen), Vec::new())), reply);
            }
            Job::List(_, reply) => {
                let done = store.read(&mut pause, view::list);
                links.tell(store, done.map(|seen| (Ok(seen), Vec::new())), reply);
            }
            Job::Close(_) => {}
        }
    }
}

impl Queue {
    fn next(&mut self) -> Option<Job> {
        self.waiting.pop_front().or_else(|| self.jobs.recv().ok())
    }

    fn fetch(&mut self) {
        self.waiting.extend(self.jobs.try_iter());
    }

    /// Leaves the database to other processes for a moment; meanwhile answers those who no longer wait.
    // Short and random, so that nobody backs off for long and nobody is always just too late. After some tries the pauses get
    // shorter: who has waited long looks more often than who has just come.
    fn pause(&mut self, deadline: Instant, tries: &mut u64) -> Result<(), Error> {
        let now = self.world.now();
        if now >= deadline {
            return Err(too_late());
        }
        self.fetch();
        if self.waiting.iter().any(|job| job.deadline() <= now) {
            let (late, waiting): (VecDeque<Job>, VecDeque<Job>) = self.waiting.drain(..).partition(|job| job.deadline() <= now);
            self.waiting = waiting;
            late.into_iter().for_each(|job| job.refuse(too_late()));
        }
        let longest = if *tries < 8 { 450 } else { 100 };
        *tries += 1;
        World::pause(Duration::from_micros(50 + self.world.random() % longest));
        Ok(())
    }
}

impl Links {
    fn connect(&mut self, store: &Store) -> Result<(), Error> {
        // The old socket goes first: dropping it removes its name.
        self.post = None;
        let post = Post::open(&store.files()?.wake)?;
        let mailbox = post.mailbox(self.client, &self.world, self.ear.clone())?;
        self.post = Some((post, mailbox));
        Ok(())
    }

    /// True if somebody has removed this client's socket; looked at now and then.
    fn is_cut_off(&mut self) -> bool {
        let now = self.world.now();
        if now < self.look_at {
            return false;
        }
        self.look_at = now + LOOK_EVERY;
        self.post.as_ref().is_none_or(|(_, mailbox)| !mailbox.is_found())
    }

    /// Answers the caller, and tells others what the transaction did to them.
    fn tell<T>(&mut self, store: &mut Store, done: Result<(Result<T, Error>, Vec<Push>), Error>, reply: Reply<T>) {
        if store.take_replaced() || self.is_cut_off() {
            // Without a socket, beats do the waking.
            self.connect(store).ok();
            self.ear.tell(Notice::LinkUp);
        }
        let (verdict, pushes) = match done {
            Ok((verdict, pushes)) => (verdict, pushes),
            Err(error) => (Err(error), Vec::new()),
        };
        answer(reply, verdict);
        for push in pushes {
            match &self.post {
                _ if push.claim().client() == self.client => self.ear.tell(push.into()),
                Some((post, _)) => post.send(push),
                None => {}
            }
        }
    }
}

/// The error of a verb on a closed engine.
pub(super) fn closed() -> Error {
    Error::unavailable("the connection was closed").on(NAME)
}

fn too_late() -> Error {
    Error::unavailable("the lock database did not get free in time").on(NAME)
}
