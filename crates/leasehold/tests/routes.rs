//! Which way a hold is given back: by the caller's, unless an ask may still be under way by the driver's.

use leasehold::engine::{Answer, Capabilities, ClaimCall, Context, Engine, Inspection, Listener, ReleaseCall, RenewCall, Route};
use leasehold::engines::memory::MemoryStore;
use leasehold::{Client, Error, Instant, ResourceName};
use leasehold_core::{ClaimReply, ReleaseReply, RenewReply};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

const TTL: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(30);

/// An engine over memory that notes the ways of asks and releases, and answers no ask but the first while `answers` is false.
#[derive(Clone, Debug)]
struct Noted {
    inner: Arc<dyn Engine>,
    asks: watch::Sender<Vec<Route>>,
    releases: Arc<Mutex<Vec<Route>>>,
    answers: watch::Sender<bool>,
}

impl Engine for Noted {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn claim(&self, call: ClaimCall) -> Answer<ClaimReply> {
        self.asks.send_modify(|asks| asks.push(call.route));
        let (repeat, answer, mut answers) = (!call.ask.first, self.inner.claim(call), self.answers.subscribe());
        Box::pin(async move {
            if repeat {
                answers.wait_for(|answers| *answers).await.map_err(|_| Error::unavailable("the test is over"))?;
            }
            answer.await
        })
    }

    fn renew(&self, call: RenewCall) -> Answer<RenewReply> {
        self.inner.renew(call)
    }

    fn release(&self, call: ReleaseCall) -> Answer<ReleaseReply> {
        self.releases.lock().unwrap().push(call.route);
        self.inner.release(call)
    }

    fn inspect(&self, resource: ResourceName, io_deadline: Instant) -> Answer<Inspection> {
        self.inner.inspect(resource, io_deadline)
    }

    fn list(&self, io_deadline: Instant) -> Answer<Vec<Inspection>> {
        self.inner.list(io_deadline)
    }

    fn listen(&self, listener: Listener) {
        self.inner.listen(listener);
    }

    fn close(&self) -> Answer<()> {
        self.inner.close()
    }
}

/// The ways by which a hold was asked for and released that was waited for until the second ask went out.
async fn ways_of_a_waiter(answers: bool) -> (Vec<Route>, Vec<Route>) {
    let store = MemoryStore::new();
    let open = |context: Context| store.engine(&context.world, context.client, context.about);
    let (asks, mut asked) = watch::channel(Vec::new());
    let (releases, answers) = (Arc::default(), watch::Sender::new(answers));
    let other = Client::builder().connect_with(|context| async { Ok(open(context)) }).await.unwrap();
    let noted = |context| Noted { inner: open(context), asks, releases: Arc::clone(&releases), answers };
    let client = Client::builder().connect_with(|context| async { Ok(Arc::new(noted(context)) as _) }).await.unwrap();

    let held = other.mutex("a").unwrap().acquire().await.unwrap();
    let lock = client.mutex("a").unwrap().ttl(TTL);
    let waiting = tokio::spawn(async move { lock.acquire().await });
    timeout(LONG, asked.wait_for(|asked| asked.len() == 2)).await.expect("it asks again").unwrap();
    held.release().await.unwrap();
    let guard = timeout(LONG, waiting).await.expect("it is granted").unwrap().unwrap();
    guard.release().await.unwrap();
    let (asked, released) = (asked.borrow().clone(), releases.lock().unwrap().clone());
    (asked, released)
}

#[tokio::test]
async fn a_hold_whose_asks_were_answered_is_given_back_by_the_callers_way() {
    assert_eq!(ways_of_a_waiter(true).await, (vec![Route::Caller, Route::Driver], vec![Route::Caller]));
}

#[tokio::test]
async fn behind_an_ask_that_is_under_way_by_the_driver_goes_the_driver() {
    assert_eq!(ways_of_a_waiter(false).await, (vec![Route::Caller, Route::Driver], vec![Route::Driver]));
}
