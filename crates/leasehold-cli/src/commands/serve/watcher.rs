//! The one who looks into the store: connects for as long as it takes, and never waits for an answer without an end.

use crate::obtain::goodbye;
use crate::say::say;
use crate::store::{Fault, Store};
use leasehold::observers::Metrics;
use leasehold::{Client, Error, ErrorKind, Inspection};
use metrics::{Counter, Key, KeyName, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// How long a look may take: more than the library waits for its store, less than Prometheus does for us.
const LIMIT: Duration = Duration::from_secs(3);

/// How long the start waits for the store before it goes on without.
const START: Duration = Duration::from_secs(3);

/// The longest pause between two attempts to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The name that is asked for to see whether the store answers. Nobody is kept from using it.
const PROBE: &str = "leasehold:healthz";

/// Whoever asks for our health has not asked for that name.
fn without_probe(why: String) -> String {
    why.replace(&format!(" (resource {PROBE:?})"), "")
}

/// What a look brought: everything that is held or waited for, or why nothing is known; and how long it took.
pub struct Looked {
    pub seen: Result<Vec<Inspection>, String>,
    pub took: Duration,
}

/// The one who looks into the store.
pub struct Watcher {
    state: Arc<Mutex<Link>>,
    own: PrometheusHandle,
    scrapes: Counter,
    failures: Counter,
}

/// The way to the store.
enum Link {
    Up(Client),
    /// Why there is none.
    Down(String),
}

impl Watcher {
    /// Begins to connect. Returns once that is done, or will take a while.
    ///
    /// # Errors
    /// What no waiting mends: a URL that is wrong, a password that is refused.
    pub async fn start(store: Store) -> Result<Watcher, Fault> {
        let recorder = Arc::new(PrometheusBuilder::new().set_buckets(&Metrics::BUCKETS).map_err(no_buckets)?.build_recorder());
        let adapter = Arc::new(Metrics::on(Arc::clone(&recorder) as Arc<dyn Recorder + Send + Sync>));
        adapter.register();
        let own = recorder.handle();
        let scrapes = counter(&recorder, "leasehold_store_scrapes_total", "Looks into the store for /metrics");
        let failures = counter(&recorder, "leasehold_store_scrape_errors_total", "Looks that the store did not answer");
        let state = Arc::new(Mutex::new(Link::Down("not connected yet".into())));
        let (told, first) = tokio::sync::oneshot::channel();
        tokio::spawn(connect(store, adapter, Arc::clone(&state), told));
        match timeout(START, first).await {
            Ok(Ok(Some(fault))) => Err(fault),
            _ => Ok(Watcher { state, own, scrapes, failures }),
        }
    }

    /// Everything that is held or waited for.
    pub async fn look(&self) -> Looked {
        let begun = Instant::now();
        let seen = self.ask(|client| async move { client.list().await }).await;
        self.scrapes.increment(1);
        if seen.is_err() {
            self.failures.increment(1);
        }
        Looked { seen, took: begun.elapsed() }
    }

    /// Whether the store answers; if not, why.
    pub async fn is_up(&self) -> Result<(), String> {
        self.ask(|client| async move { client.inspect(PROBE).await }).await.map(|_| ()).map_err(without_probe)
    }

    /// What happened to the locks of this process, and to its looks.
    pub fn own_metrics(&self) -> String {
        self.own.render()
    }

    /// Ends the connection.
    pub async fn goodbye(&self) {
        let link = std::mem::replace(&mut *lock(&self.state), Link::Down("it ends".into()));
        if let Link::Up(client) = link {
            goodbye(client).await;
        }
    }

    async fn ask<T, F>(&self, ask: impl FnOnce(Client) -> F) -> Result<T, String>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let client = match &*lock(&self.state) {
            Link::Up(client) => client.clone(),
            Link::Down(why) => return Err(why.clone()),
        };
        match timeout(LIMIT, ask(client)).await {
            Ok(answer) => answer.map_err(|error| Fault::from(error).message),
            Err(_) => Err("the store did not answer in time".into()),
        }
    }
}

/// Tries to connect until it does; tells the fault of the first attempt if no other can do better.
async fn connect(
    store: Store,
    adapter: Arc<Metrics>,
    state: Arc<Mutex<Link>>,
    first: tokio::sync::oneshot::Sender<Option<Fault>>,
) {
    let mut first = Some(first);
    let mut pause = Duration::from_millis(100);
    loop {
        let error = match store.connect_observed(None, Some(adapter.clone())).await {
            Ok(client) => {
                *lock(&state) = Link::Up(client);
                drop(first.map(|first| first.send(None)));
                return;
            }
            Err(error) => error,
        };
        let fatal = error.kind() != ErrorKind::Unavailable;
        let fault = Fault::from(error);
        if let Some(first) = first.take() {
            if fatal {
                drop(first.send(Some(fault)));
                return;
            }
            say(format_args!("waiting for the store: {}", fault.message));
            drop(first.send(None));
        }
        *lock(&state) = Link::Down(fault.message);
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn counter(recorder: &impl Recorder, name: &'static str, meaning: &'static str) -> Counter {
    recorder.describe_counter(KeyName::from_const_str(name), None, meaning.into());
    recorder.register_counter(&Key::from_static_name(name), &Metadata::new("leasehold", Level::INFO, None))
}

fn no_buckets(error: metrics_exporter_prometheus::BuildError) -> Fault {
    Fault::usage(error.to_string())
}

fn lock(state: &Mutex<Link>) -> std::sync::MutexGuard<'_, Link> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
