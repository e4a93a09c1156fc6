//! The counters, gauges and histograms of one group of resources, and what each event adds to them.

use crate::observer::{Observed, What};
use crate::observers::words::{answer, failure, kind, loss};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, SharedString, Unit};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Why attempts fail.
const FAILURES: [&str; 9] =
    ["cancelled", "config", "held", "lost", "permission", "spent", "timeout", "unavailable", "unsupported"];
/// Why leases end without a release.
const LOSSES: [&str; 5] = ["ended", "expired", "other", "revoked", "store"];
/// What the store says to a release.
const ANSWERS: [&str; 5] = ["expired", "gone", "released", "taken", "unknown"];
/// Why renewals do not come through.
const RENEWAL_FAILURES: [&str; 5] = ["config", "lost", "permission", "unavailable", "unsupported"];

static METADATA: Metadata<'_> = Metadata::new("leasehold", Level::INFO, Some("leasehold::observers"));

/// The counters, gauges and histograms of one group of resources.
pub(super) struct Instruments {
    attempts: Counter,
    grants: Counter,
    failures: Labelled<Counter>,
    losses: Labelled<Counter>,
    releases: Labelled<Counter>,
    detached: Counter,
    hand_offs: Counter,
    renewals: Counter,
    renewal_failures: Labelled<Counter>,
    in_doubt: Counter,
    recovered: Counter,
    near_max_hold: Counter,
    waiting: Gauge,
    held: Gauge,
    acquire_granted: Histogram,
    acquire_failed: Labelled<Histogram>,
    hold: Histogram,
    release: Histogram,
    success: Part,
    mean_hold: Mean,
}

impl Instruments {
    pub(super) fn register(recorder: &dyn Recorder, group: Option<&SharedString>) -> Instruments {
        let on = Registry { recorder, group };
        Instruments {
            attempts: on.counter("leasehold_attempts_total", "Attempts to acquire"),
            grants: on.counter("leasehold_grants_total", "Attempts that were granted"),
            failures: on.counters("leasehold_failures_total", "Attempts that were not granted, by cause", ("cause", &FAILURES)),
            losses: on.counters("leasehold_losses_total", "Holds that ended without a release, by cause", ("cause", &LOSSES)),
            releases: on.counters("leasehold_releases_total", "Holds that were given back, by answer", ("answer", &ANSWERS)),
            detached: on.counter("leasehold_detached_total", "Holds that were left to others by their claim's id"),
            hand_offs: on.counter("leasehold_hand_offs_total", "Releases that handed the hold on to a task of the same client"),
            renewals: on.counter("leasehold_renewals_total", "Renewals that came through"),
            renewal_failures: on.counters(
                "leasehold_renewal_failures_total",
                "Renewals that did not come through, by cause; each is tried again",
                ("cause", &RENEWAL_FAILURES),
            ),
            in_doubt: on.counter("leasehold_in_doubt_total", "Holds that fell in doubt: less than a third of the lease was left"),
            recovered: on.counter("leasehold_recovered_total", "Holds that recovered from doubt"),
            near_max_hold: on.counter("leasehold_near_max_hold_total", "Holds that passed four fifths of their max_hold"),
            waiting: on.gauge("leasehold_waiting", (Unit::Count, "Attempts that wait at present")),
            held: on.gauge("leasehold_held", (Unit::Count, "Holds at present")),
            acquire_granted: on.histogram("leasehold_acquire_seconds", ACQUIRE, Some(("outcome", "granted"))),
            acquire_failed: on.histograms("leasehold_acquire_seconds", ACQUIRE, ("outcome", &FAILURES)),
            hold: on.histogram("leasehold_hold_seconds", "From the grant to the release, the loss or the detaching", None),
            release: on.histogram("leasehold_release_seconds", "From a release to the store's answer", None),
            success: Part::new(on.gauge("leasehold_success_ratio", (Unit::Count, SUCCESS))),
            mean_hold: Mean::new(on.gauge("leasehold_mean_hold_seconds", (Unit::Seconds, "Mean time of all holds that ended"))),
        }
    }

    pub(super) fn count(&self, event: &Observed) {
        match &event.what {
            What::Attempt => {
                self.attempts.increment(1);
                self.waiting.increment(1.0);
            }
            What::Granted(_) => {
                self.waiting.decrement(1.0);
                self.held.increment(1.0);
                self.grants.increment(1);
                self.acquire_granted.record(event.after);
                self.success.good();
            }
            What::Failed(why) => self.failed(failure(why), event.after),
            What::Released(said) => {
                self.releases.at(answer(said)).increment(1);
                match event.took {
                    Some(took) => self.release.record(took),
                    None => self.hand_offs.increment(1),
                }
                self.hold_ended(event.after);
            }
            What::Lost(why) => {
                self.losses.at(loss(*why)).increment(1);
                self.hold_ended(event.after);
            }
            What::Detached => {
                self.detached.increment(1);
                self.hold_ended(event.after);
            }
            What::Renewed => self.renewals.increment(1),
            What::RenewalFailed(error) => self.renewal_failures.at(kind(error.kind())).increment(1),
            What::InDoubt => self.in_doubt.increment(1),
            What::Recovered => self.recovered.increment(1),
            What::NearMaxHold => self.near_max_hold.increment(1),
            What::LetGo(_) | What::Waiting { .. } => {}
        }
    }

    fn failed(&self, cause: &'static str, after: Duration) {
        self.waiting.decrement(1.0);
        self.failures.at(cause).increment(1);
        self.acquire_failed.at(cause).record(after);
        // Another attempt follows, and says how the acquire ends.
        if cause != "spent" {
            self.success.bad();
        }
    }

    fn hold_ended(&self, held: Duration) {
        self.held.decrement(1.0);
        self.hold.record(held);
        self.mean_hold.add(held);
    }
}

const SUCCESS: &str = "The part of the attempts that ended which was granted; those that were spent do not count";
const ACQUIRE: &str = "From an attempt to its grant, or to its failure, by outcome";

/// A recorder, and the group that all that is registered belongs to.
struct Registry<'a> {
    recorder: &'a dyn Recorder,
    group: Option<&'a SharedString>,
}

impl Registry<'_> {
    fn counter(&self, name: &'static str, text: &'static str) -> Counter {
        self.recorder.describe_counter(KeyName::from_const_str(name), Some(Unit::Count), text.into());
        self.recorder.register_counter(&self.key(name, None), &METADATA)
    }

    fn counters(
        &self,
        name: &'static str,
        text: &'static str,
        (label, values): (&'static str, &[&'static str]),
    ) -> Labelled<Counter> {
        self.recorder.describe_counter(KeyName::from_const_str(name), Some(Unit::Count), text.into());
        let counter = |value| self.recorder.register_counter(&self.key(name, Some((label, value))), &METADATA);
        Labelled::new(values, counter)
    }

    fn gauge(&self, name: &'static str, (unit, text): (Unit, &'static str)) -> Gauge {
        self.recorder.describe_gauge(KeyName::from_const_str(name), Some(unit), text.into());
        self.recorder.register_gauge(&self.key(name, None), &METADATA)
    }

    fn histogram(&self, name: &'static str, text: &'static str, label: Option<(&'static str, &'static str)>) -> Histogram {
        self.recorder.describe_histogram(KeyName::from_const_str(name), Some(Unit::Seconds), text.into());
        self.recorder.register_histogram(&self.key(name, label), &METADATA)
    }

    fn histograms(
        &self,
        name: &'static str,
        text: &'static str,
        (label, values): (&'static str, &[&'static str]),
    ) -> Labelled<Histogram> {
        Labelled::new(values, |value| self.histogram(name, text, Some((label, value))))
    }

    fn key(&self, name: &'static str, label: Option<(&'static str, &'static str)>) -> Key {
        let group = self.group.map(|group| Label::new("group", group.clone()));
        let label = label.map(|(name, value)| Label::from_static_parts(name, value));
        Key::from_parts(name, group.into_iter().chain(label).collect::<Vec<_>>())
    }
}

/// One metric for each value of a label.
struct Labelled<T> {
    by_value: Vec<(&'static str, T)>,
}

impl<T> Labelled<T> {
    fn new(values: &[&'static str], mut metric: impl FnMut(&'static str) -> T) -> Labelled<T> {
        Labelled { by_value: values.iter().map(|value| (*value, metric(value))).collect() }
    }

    fn at(&self, value: &str) -> &T {
        let found = self.by_value.iter().find(|(known, _)| *known == value);
        &found.expect("each word that is counted is among the values").1
    }
}

/// A gauge that shows the part of a whole that is good; 1 as long as there is none.
struct Part {
    good: AtomicU64,
    bad: AtomicU64,
    gauge: Gauge,
}

impl Part {
    fn new(gauge: Gauge) -> Part {
        gauge.set(1.0);
        Part { good: AtomicU64::new(0), bad: AtomicU64::new(0), gauge }
    }

    fn good(&self) {
        self.good.fetch_add(1, Ordering::SeqCst);
        // An ordinary day, with nothing bad, costs no setting of the gauge.
        if self.bad.load(Ordering::SeqCst) > 0 {
            self.publish();
        }
    }

    fn bad(&self) {
        self.bad.fetch_add(1, Ordering::SeqCst);
        self.publish();
    }

    fn publish(&self) {
        publish(&self.gauge, [&self.good, &self.bad], |good, bad| good / (good + bad));
    }
}

/// A gauge that shows the mean of times.
struct Mean {
    nanos: AtomicU64,
    count: AtomicU64,
    gauge: Gauge,
}

impl Mean {
    fn new(gauge: Gauge) -> Mean {
        Mean { nanos: AtomicU64::new(0), count: AtomicU64::new(0), gauge }
    }

    fn add(&self, time: Duration) {
        self.nanos.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
        self.count.fetch_add(1, Ordering::SeqCst);
        publish(&self.gauge, [&self.nanos, &self.count], |nanos, count| nanos / (count * 1e9));
    }
}

/// Sets a gauge to what two sums make. Whoever sets it last has seen all: another thread may have set a newer value before an
/// older one.
fn publish(gauge: &Gauge, sums: [&AtomicU64; 2], value: impl Fn(f64, f64) -> f64) {
    let read = || sums.map(|sum| sum.load(Ordering::SeqCst));
    let mut seen = read();
    loop {
        gauge.set(value(seen[0] as f64, seen[1] as f64));
        let now = read();
        if now == seen {
            return;
        }
        seen = now;
    }
}
