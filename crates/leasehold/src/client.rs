//! The client: one connection to a store, and the handles that are made of it.

use crate::claimed::Claimed;
use crate::driver::{Audience, Driver, Parts};
use crate::engine::{About, Context, Engine, Inspection};
use crate::engines;
use crate::error::Error;
use crate::kinds::Mutex;
use crate::observer::Observer;
use crate::session::Session;
use crate::world::World;
use leasehold_core::{ClaimId, Manner, ResourceName, Timing};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// How long calls wait that belong to no claim: inspect, list, force.
const CALL_LIMIT: Duration = Duration::from_secs(2);

/// One connection to a store. Clones share it; it closes with the last clone, handle or guard.
///
/// Dropping the last of them waits, for at most 200 ms, until releases that are under way have been answered.
#[derive(Clone, Debug)]
pub struct Client {
    session: Arc<Session>,
}

impl Client {
    /// Connects to the store that `url` names: `memory:`, `sqlite:PATH`, `redis://…`, `rediss://…`, `redis+unix:…`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for a URL that is not understood,
    /// [`ErrorKind::Permission`](crate::ErrorKind::Permission) for wrong credentials or missing rights,
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) at once if the store cannot be reached,
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for a store that is too old.
    ///
    /// # Cancel safety
    /// Dropping it closes what was opened; nothing is left in the store.
    ///
    /// # Examples
    /// ```
    /// # async fn example() -> Result<(), leasehold::Error> {
    /// use leasehold::Client;
    /// use std::time::Duration;
    ///
    /// let client = Client::connect("memory:").await?;
    /// let lock = client.mutex("order:123:pay")?.ttl(Duration::from_secs(30));
    /// let guard = lock.acquire().await?;
    /// println!("fencing token {}", guard.token());
    /// guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(url: &str) -> Result<Client, Error> {
        Client::builder().connect(url).await
    }

    /// A client with options.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// A lock on `name` that one holder at a time has.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if `name` is not a legal [`ResourceName`].
    pub fn mutex(&self, name: impl AsRef<str>) -> Result<Mutex, Error> {
        Ok(Mutex::new(Arc::clone(&self.session), ResourceName::new(name.as_ref())?))
    }

    /// A hold that outlives its client, by its claim's id.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if `name` is not a legal [`ResourceName`].
    pub fn claimed(&self, name: impl AsRef<str>, claim: ClaimId) -> Result<Claimed, Error> {
        Ok(Claimed::new(Arc::clone(&self.session), ResourceName::new(name.as_ref())?, claim))
    }

    /// Who holds `name` and who waits for it.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if the store does not answer within 2 s, and those of
    /// [`Client::mutex`].
    ///
    /// # Cancel safety
    /// Nothing is changed.
    pub async fn inspect(&self, name: impl AsRef<str>) -> Result<Inspection, Error> {
        let resource = ResourceName::new(name.as_ref())?;
        let driver = self.session.driver();
        let engine = Arc::clone(driver.engine());
        driver.call(CALL_LIMIT, |io_deadline| engine.inspect(resource, io_deadline)).await
    }

    /// Every resource that a client of Leasehold holds or waits for in this store, sorted by name.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if the store does not answer within 2 s.
    ///
    /// # Cancel safety
    /// Nothing is changed.
    pub async fn list(&self) -> Result<Vec<Inspection>, Error> {
        let driver = self.session.driver();
        let engine = Arc::clone(driver.engine());
        driver.call(CALL_LIMIT, |io_deadline| engine.list(io_deadline)).await
    }

    /// Takes `name` away from its holders, as an operator; returns from how many.
    ///
    /// Each holder is told that it lost the hold, and the next grant waits for its release or for its lease's old end. With
    /// `now` the next grant does not wait: that breaks exclusion, since the old holder may still be at work.
    ///
    /// # Errors
    /// Those of [`Client::inspect`].
    ///
    /// # Cancel safety
    /// The holds taken so far stay taken.
    pub async fn revoke(&self, name: impl AsRef<str>, now: bool) -> Result<usize, Error> {
        let inspection = self.inspect(name).await?;
        let manner = if now { Manner::RevokeNow } else { Manner::Revoke };
        let mut revoked = 0;
        for claim in inspection.holders.iter().filter_map(|holder| holder.claim) {
            let claimed = Claimed::new(Arc::clone(&self.session), inspection.resource.clone(), claim);
            revoked += usize::from(claimed.end(manner).await? == crate::guard::Released::Released);
        }
        Ok(revoked)
    }

    /// Gives back every hold of this client, ends its waits, waits for the store's answers, for 2 s at most, and closes the
    /// connections. What the store has not answered by then goes on in the background, or ends with its lease. What other
    /// clones and handles of this client ask for after that is refused.
    ///
    /// # Cancel safety
    /// The releases go on in the background.
    pub async fn shutdown(self) {
        self.session.shut_down().await;
    }
}

/// Options of a [`Client`].
#[derive(Clone, Default)]
pub struct ClientBuilder {
    label: Option<String>,
    timing: Timing,
    observers: Vec<Arc<dyn Observer>>,
}

impl ClientBuilder {
    /// What `list` and `inspect` call this client, beside host, process and program.
    pub fn label(mut self, label: impl Into<Option<String>>) -> ClientBuilder {
        self.label = label.into();
        self
    }

    /// The bound on clock drift, and the margin taken off every deadline.
    pub fn timing(mut self, timing: Timing) -> ClientBuilder {
        self.timing = timing;
        self
    }

    /// Adds one who sees everything that happens to this client's locks; several clients may share one.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> ClientBuilder {
        self.observers.push(observer);
        self
    }

    /// Connects to the store that `url` names; see [`Client::connect`].
    ///
    /// # Errors
    /// Those of [`Client::connect`].
    ///
    /// # Cancel safety
    /// Dropping it closes what was opened; nothing is left in the store.
    pub async fn connect(self, url: &str) -> Result<Client, Error> {
        let url = url.to_owned();
        self.connect_with(|context| async move { engines::open(&url, context).await }).await
    }

    /// Connects by an engine of your own, or by one of ours with options that a URL cannot carry.
    ///
    /// # Errors
    /// Those of `engine`, and [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if the operating system grants no thread.
    ///
    /// # Cancel safety
    /// Dropping it closes what was opened; nothing is left in the store.
    pub async fn connect_with<F>(self, engine: impl FnOnce(Context) -> F) -> Result<Client, Error>
    where
        F: Future<Output = Result<Arc<dyn Engine>, Error>>,
    {
        let refused = |error| Error::unavailable("the operating system grants no thread").caused_by(error);
        let world = World::with_thread("leasehold-driver").map_err(refused)?;
        let context = Context { world: world.clone(), client: World::unique(), about: About::this_process(self.label) };
        let client = context.client;
        let engine = match engine(context).await {
            Ok(engine) => engine,
            Err(error) => {
                world.stop();
                return Err(error);
            }
        };
        let (timing, audience) = (self.timing, Audience::new(self.observers));
        let driver = Driver::start(Parts { engine, world, client, timing, audience });
        Ok(Client { session: Session::new(driver) })
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder").field("label", &self.label).field("timing", &self.timing).finish_non_exhaustive()
    }
}
