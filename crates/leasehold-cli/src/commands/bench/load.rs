//! Several clients side by side, each with a thread and a runtime of its own, that begin and end together.

use super::interrupted;
use super::progress::bar;
use crate::args::Bench;
use crate::commands::{on_runtime, view};
use crate::exit;
use crate::keeper;
use crate::obtain::{Ears, goodbye, refused};
use crate::store::{Fault, Store};
use leasehold::Client;
use std::future::Future;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

/// How often the progress is shown.
const STEP: Duration = Duration::from_millis(100);

/// How long what is under way at the end may take. Who drops an ask leaves its withdrawal to the background, which is slower.
const GRACE: Duration = Duration::from_secs(2);

/// Who measures what, and where.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// The options.
    pub args: &'a Bench,
    /// The store.
    pub store: &'a Store,
    /// What ends it early.
    pub ears: &'a Ears,
}

/// Begin and end, for all.
#[derive(Clone, Debug)]
pub struct Cue(watch::Receiver<Phase>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Before,
    Now,
    Over,
}

impl Cue {
    /// Waits until it has been over for a while: what is under way then may be dropped. May be dropped at any await.
    pub async fn long_over(&mut self) {
        // Whoever gave the cue is gone: that is the end as well.
        let _ = self.0.wait_for(|phase| *phase == Phase::Over).await;
        sleep(GRACE).await;
    }

    /// True once it is over.
    pub fn is_over(&self) -> bool {
        *self.0.borrow() == Phase::Over
    }

    async fn begins(&mut self) {
        let _ = self.0.wait_for(|phase| *phase != Phase::Before).await;
    }
}

/// One of the clients.
#[derive(Debug)]
pub struct Seat {
    /// Which one.
    pub number: u32,
    /// The client.
    pub client: Client,
    /// When to end.
    pub cue: Cue,
}

/// Lets `count` clients do `work` for the time that the options say; returns what each came to, and how long it took.
///
/// # Errors
/// The first of any of them, or the signal that ended it.
pub async fn side_by_side<T, W, F>(site: Site<'_>, what: &str, count: u32, work: W) -> Result<(Vec<T>, Duration), Fault>
where
    T: Send + 'static,
    W: Fn(Seat) -> F + Send + Sync + 'static,
    F: Future<Output = Result<T, Fault>>,
{
    let (cue, cued) = watch::channel(Phase::Before);
    let (news, heard) = mpsc::unbounded_channel();
    let work = Arc::new(work);
    for number in 0..count {
        let place = Place { number, store: site.store.clone(), cue: Cue(cued.clone()), news: news.clone() };
        let work = Arc::clone(&work);
        let run = move || place.fill(&*work);
        thread::Builder::new().name("leasehold-bench".into()).spawn(run).map_err(refused)?;
    }
    Conductor { cue, heard, count: count as usize }.conduct(site, what).await
}

enum News<T> {
    /// A client is connected.
    Ready,
    /// It has ended.
    Done(Result<T, Fault>),
}

/// Where a client goes to work.
struct Place<T> {
    number: u32,
    store: Store,
    cue: Cue,
    news: mpsc::UnboundedSender<News<T>>,
}

impl<T> Place<T> {
    /// Connects, works from the cue on, and says goodbye to the store, on this thread.
    fn fill<F: Future<Output = Result<T, Fault>>>(mut self, work: impl Fn(Seat) -> F) {
        let answer = on_runtime(async {
            // The connection for claims belongs to the runtime that makes it.
            let client = self.store.connect(Some("leasehold bench")).await?;
            let _ = self.news.send(News::Ready);
            self.cue.begins().await;
            let answer = work(Seat { number: self.number, client: client.clone(), cue: self.cue.clone() }).await;
            // Who waits while the store is down is not told so: figures of a store that is gone are none.
            let is_there = client.inspect("leasehold-bench:end").await;
            goodbye(client).await;
            is_there?;
            answer
        });
        let _ = self.news.send(News::Done(answer));
    }
}

/// The one who gives the cues.
struct Conductor<T> {
    cue: watch::Sender<Phase>,
    heard: mpsc::UnboundedReceiver<News<T>>,
    count: usize,
}

impl<T> Conductor<T> {
    async fn conduct(mut self, site: Site<'_>, what: &str) -> Result<(Vec<T>, Duration), Fault> {
        let mut ended = Vec::new();
        let began = tokio::select! {
            began = self.all_ready(&mut ended) => began,
            signal = site.ears.end() => Err(interrupted(signal)),
        };
        let measured = match began {
            Ok(()) => self.measure(site, what, &mut ended).await,
            Err(fault) => Err(fault),
        };
        self.cue.send_replace(Phase::Over);
        while ended.len() < self.count {
            match self.heard.recv().await {
                Some(News::Done(answer)) => ended.push(answer),
                Some(News::Ready) => {}
                None => break,
            }
        }
        let elapsed = measured?;
        let results = ended.into_iter().collect::<Result<Vec<T>, Fault>>()?;
        if results.len() < self.count {
            return Err(Fault { code: exit::LOST, message: "a client broke down".into() });
        }
        Ok((results, elapsed))
    }

    /// Waits until all are connected, or one has failed.
    async fn all_ready(&mut self, ended: &mut Vec<Result<T, Fault>>) -> Result<(), Fault> {
        for _ in 0..self.count {
            match self.heard.recv().await {
                Some(News::Ready) => {}
                Some(News::Done(Err(fault))) => {
                    ended.push(Err(fault.clone()));
                    return Err(fault);
                }
                Some(News::Done(Ok(_))) | None => return Err(Fault { code: exit::LOST, message: "a client broke down".into() }),
            }
        }
        Ok(())
    }

    /// From the cue to the end of the time, or to the first failure.
    async fn measure(&mut self, site: Site<'_>, what: &str, ended: &mut Vec<Result<T, Fault>>) -> Result<Duration, Fault> {
        let whole = site.args.load.seconds;
        let bar = bar(site.args, view::millis(whole), what);
        let begun = keeper::now();
        self.cue.send_replace(Phase::Now);
        loop {
            let lasted = keeper::now().since(begun);
            bar.set_position(view::millis(lasted));
            if lasted >= whole {
                bar.finish_and_clear();
                return Ok(lasted);
            }
            tokio::select! {
                signal = site.ears.end() => return Err(interrupted(signal)),
                news = self.heard.recv() => match news {
                    Some(News::Done(answer)) => {
                        let failed = answer.as_ref().err().cloned();
                        ended.push(answer);
                        if let Some(fault) = failed {
                            return Err(fault);
                        }
                    }
                    Some(News::Ready) => {}
                    None => return Err(Fault { code: exit::LOST, message: "a client broke down".into() }),
                },
                () = sleep(STEP.min(whole - lasted)) => {}
            }
        }
    }
}
