//! A job of every host's crontab that runs on one: `cargo run -p leasehold --example cron_once [URL]`.

use leasehold::{Client, Error};
use std::time::Duration;
use tokio::{task::JoinSet, time::sleep};

const HOSTS: u64 = 5;

/// What each host's crontab starts; true if the job ran here.
async fn nightly(client: &Client) -> Result<bool, Error> {
    // Longer than the hosts' clocks differ: a late host finds the lock taken, though the job is over.
    let lock = client.mutex("cron:nightly-report")?.min_hold(Duration::from_secs(5));
    let Some(guard) = lock.try_acquire().await? else { return Ok(false) };
    guard.run(report()).await?; // ended, should the lock be lost
    guard.release().await?;
    Ok(true)
}

async fn report() {
    sleep(Duration::from_millis(20)).await;
}

/// The job is due on every host, a little later on each; returns on how many it ran.
pub(crate) async fn midnight(url: &str) -> Result<usize, Error> {
    let mut hosts = JoinSet::new();
    for late in 0..HOSTS {
        // Each host has a client of its own. (Those of `memory:` share one store by its name.)
        let client = Client::connect(url).await?;
        hosts.spawn(async move {
            sleep(Duration::from_millis(100 * late)).await;
            nightly(&client).await
        });
    }
    let ran = hosts.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(ran.into_iter().filter(|ran| *ran).count())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory:cron".into());
    println!("due on {HOSTS} hosts, ran on {}", midnight(&url).await?);
    Ok(())
}
