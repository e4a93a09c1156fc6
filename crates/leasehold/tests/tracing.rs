//! What the tracing adapter tells: which event at which level, with which fields.

use leasehold::engine::{Context, Engine};
use leasehold::engines::memory::MemoryStore;
use leasehold::observers::Tracing;
use leasehold::{Client, Error, LostWhy, Renewal};
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Writes each event down as `LEVEL message field=value …`.
struct Notes;

static NOTES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Line(String, String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            write!(self.0, "{value:?}").unwrap();
        } else {
            write!(self.1, " {}={value:?}", field.name()).unwrap();
        }
    }
}

impl Subscriber for Notes {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "leasehold"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new(), String::new());
        event.record(&mut line);
        NOTES.lock().unwrap().push(format!("{} {}{}", event.metadata().level(), line.0, line.1));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The lines about this resource, once the last of them has this in it.
async fn lines(resource: &str, last: &str) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let about = format!("resource=\"{resource}\"");
        let lines: Vec<String> = NOTES.lock().unwrap().iter().filter(|line| line.contains(&about)).cloned().collect();
        if lines.last().is_some_and(|line| line.contains(last)) {
            return lines;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain for {last}: {lines:#?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn client_of(store: &MemoryStore) -> Client {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| tracing::subscriber::set_global_default(Notes).unwrap());
    let engine = store.clone();
    let connect = |context: Context| async move {
        Ok::<Arc<dyn Engine>, Error>(engine.engine(&context.world, context.client, context.about))
    };
    Client::builder().observer(Arc::new(Tracing)).connect_with(connect).await.unwrap()
}

fn heads(lines: &[String]) -> Vec<&str> {
    lines.iter().map(|line| line.split(" resource=").next().unwrap()).collect()
}

#[tokio::test]
async fn an_ordinary_hold_is_told_at_debug_with_its_claim_and_its_token() {
    let client = client_of(&MemoryStore::new()).await;
    let guard = client.mutex("ordinary").unwrap().acquire().await.unwrap();
    let (claim, token) = (guard.claim(), guard.token());
    guard.release().await.unwrap();
    let lines = lines("ordinary", "released").await;
    assert_eq!(heads(&lines), ["DEBUG asked for", "DEBUG granted", "DEBUG released"]);
    assert!(lines.iter().all(|line| line.contains(&format!("claim={claim}")) && line.contains("after_ms=")), "{lines:#?}");
    assert!(lines[1].contains(&format!("token={}", token.as_u64())), "{lines:#?}");
    assert!(lines[2].contains("took_ms="), "{lines:#?}");
}

#[tokio::test]
async fn doubt_and_failed_renewals_are_warnings_and_a_loss_is_an_error() {
    let store = MemoryStore::new();
    let client = client_of(&store).await;
    let guard = client.mutex("troubled").unwrap().ttl(Duration::from_millis(600)).acquire().await.unwrap();
    store.fail(Some(Error::unavailable("the store is loading")));
    assert_eq!(guard.lost().await, LostWhy::Expired);
    let lines = lines("troubled", "ERROR lost").await;
    assert!(lines.iter().any(|line| line.starts_with("WARN in doubt")), "{lines:#?}");
    let failed = lines.iter().find(|line| line.starts_with("WARN not renewed")).unwrap();
    assert!(failed.contains("cause=\"unavailable\"") && failed.contains("the store is loading"), "{failed}");
    assert!(lines.last().unwrap().contains("cause=\"expired\""), "{lines:#?}");
}

#[tokio::test]
async fn refusals_are_told_with_their_cause_and_max_hold_before_it_is_over() {
    let client = client_of(&MemoryStore::new()).await;
    let limited = client.mutex("limited").unwrap().ttl(Duration::from_millis(400)).renew(Renewal::Off);
    let guard = limited.clone().max_hold(Duration::from_millis(100)).acquire().await.unwrap();
    assert!(limited.try_acquire().await.unwrap().is_none());
    guard.lost().await;
    let lines = lines("limited", "ERROR lost").await;
    assert!(lines.iter().any(|line| line.starts_with("DEBUG not granted") && line.contains("cause=\"held\"")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("WARN four fifths of max_hold")), "{lines:#?}");
}
