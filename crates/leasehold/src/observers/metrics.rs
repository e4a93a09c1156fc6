//! What happens to the locks, as metrics of the `metrics` crate.

mod instruments;

use crate::observer::{Observed, Observer};
use instruments::Instruments;
use leasehold_core::ResourceName;
use metrics::{Recorder, SharedString};
use rustc_hash::FxHashMap;
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// How many groups there are at most; what comes later is counted in the last, [`REST`].
const MOST_GROUPS: usize = 200;

/// The group of those for which there was no room.
const REST: &str = "(rest)";

type Group = dyn Fn(&ResourceName) -> SharedString + Send + Sync;

/// Counts and times what happens to the locks, by the `metrics` crate.
///
/// All names begin with `leasehold_`; they are listed in the document on operating. Every metric is there, at zero, from the
/// first event on, so that an alert sees the first loss as a rise. No label holds a resource's name, since each costs a series
/// in every metric: [`Metrics::by`] puts resources into groups. One adapter may serve several clients, which are then counted
/// together.
///
/// It is called at once ([`Observer::is_prompt`]), since it costs less than the way to another thread; the recorder must not
/// block. That of `metrics-exporter-prometheus` keeps each time until its next rendering or upkeep: render, or run the upkeep,
/// every few seconds. It makes histograms only if it is given [`Metrics::BUCKETS`].
///
/// # Examples
/// ```
/// # async fn example() -> Result<(), leasehold::Error> {
/// use leasehold::Client;
/// use leasehold::observers::Metrics;
/// use std::sync::Arc;
///
/// // `order:123:pay` and `order:124:pay` are one group: `order`.
/// let kind = |name: &leasehold::ResourceName| name.as_str().split(':').next().unwrap_or_default().to_owned();
/// let client = Client::builder().observer(Arc::new(Metrics::new().by(kind))).connect("memory:").await?;
/// # let _ = client;
/// # Ok(())
/// # }
/// ```
pub struct Metrics {
    /// Where they are registered; the process's own recorder if `None`.
    recorder: Option<Arc<dyn Recorder + Send + Sync>>,
    group: Option<Box<Group>>,
    /// Of all resources, if they are in no groups.
    all: OnceLock<Instruments>,
    groups: RwLock<FxHashMap<SharedString, Arc<Instruments>>>,
}

impl Metrics {
    /// Upper bounds of the histograms' buckets, in seconds: from 100 µs to an hour.
    pub const BUCKETS: [f64; 18] =
        [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0];

    /// Metrics of the process's recorder (`metrics::set_global_recorder`), which must be there before the first event.
    pub fn new() -> Metrics {
        Metrics { recorder: None, group: None, all: OnceLock::new(), groups: RwLock::default() }
    }

    /// Metrics of a recorder of your own.
    pub fn on(recorder: Arc<dyn Recorder + Send + Sync>) -> Metrics {
        Metrics { recorder: Some(recorder), ..Metrics::new() }
    }

    /// Puts resources into groups: what `group` says of a resource's name is the label `group` of all its metrics.
    ///
    /// It must not block, and must have few answers: from the 200th group on, all others are counted together as `(rest)`.
    pub fn by<T: Into<SharedString>>(mut self, group: impl Fn(&ResourceName) -> T + Send + Sync + 'static) -> Metrics {
        self.group = Some(Box::new(move |name| group(name).into()));
        self
    }

    /// Registers every metric now, at zero, instead of at the first event. With [`Metrics::by`] there is none before that.
    pub fn register(&self) {
        if self.group.is_none() {
            self.all();
        }
    }

    fn all(&self) -> &Instruments {
        self.all.get_or_init(|| self.with_recorder(|recorder| Instruments::register(recorder, None)))
    }

    fn of_group(&self, group: SharedString) -> Arc<Instruments> {
        let known = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        let (found, full) = (known.get(&group).cloned(), known.len() >= MOST_GROUPS - 1);
        drop(known);
        found.unwrap_or_else(|| self.add_group(if full { SharedString::const_str(REST) } else { group }))
    }

    /// Handles are registered once: what two threads register at the same time is one metric, of which one pair is kept.
    fn add_group(&self, group: SharedString) -> Arc<Instruments> {
        let mut known = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        let register = || Arc::new(self.with_recorder(|recorder| Instruments::register(recorder, Some(&group))));
        Arc::clone(known.entry(group.clone()).or_insert_with(register))
    }

    fn with_recorder<T>(&self, work: impl FnOnce(&dyn Recorder) -> T) -> T {
        match &self.recorder {
            Some(recorder) => work(&**recorder),
            None => metrics::with_recorder(work),
        }
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Observer for Metrics {
    fn saw(&self, event: &Observed) {
        match &self.group {
            None => self.all().count(event),
            Some(group) => self.of_group(group(&event.resource)).count(event),
        }
    }

    fn is_prompt(&self) -> bool {
        true
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
