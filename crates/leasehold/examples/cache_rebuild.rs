//! A thousand misses, one rebuild: `cargo run -p leasehold --example cache_rebuild [URL]`.

use leasehold::{Client, Error};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, RwLock};
use std::time::Duration;
use tokio::{task::JoinSet, time::sleep};

const MISSES: usize = 1000;

/// A cache with one value, which is expensive to make.
#[derive(Default)]
struct Cache {
    value: RwLock<Option<String>>,
    rebuilt: AtomicU32,
}

impl Cache {
    fn get(&self) -> Option<String> {
        self.value.read().unwrap().clone()
    }

    async fn rebuild(&self) -> String {
        sleep(Duration::from_millis(50)).await;
        self.rebuilt.fetch_add(1, Relaxed);
        self.value.write().unwrap().insert("fresh".to_owned()).clone()
    }
}

async fn get_or_rebuild(client: &Client, cache: &Cache) -> Result<String, Error> {
    if let Some(value) = cache.get() {
        return Ok(value);
    }
    let _guard = client.mutex("cache:front-page:rebuild")?.acquire().await?;
    match cache.get() {
        Some(value) => Ok(value), // whoever held before us has done it
        None => Ok(cache.rebuild().await),
    }
}

/// Asks for the value so many times at once; returns how many got it, and how often it was made.
pub(crate) async fn miss(url: &str) -> Result<(usize, u32), Error> {
    let (client, cache) = (Client::connect(url).await?, Arc::new(Cache::default()));
    let mut askers = JoinSet::new();
    for _ in 0..MISSES {
        let (client, cache) = (client.clone(), Arc::clone(&cache));
        askers.spawn(async move { get_or_rebuild(&client, &cache).await });
    }
    let answers = askers.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok((answers.iter().filter(|answer| *answer == "fresh").count(), cache.rebuilt.load(Relaxed)))
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory:".into());
    let (answered, rebuilt) = miss(&url).await?;
    println!("{answered} of {MISSES} answered, rebuilt {rebuilt} time(s)");
    Ok(())
}
