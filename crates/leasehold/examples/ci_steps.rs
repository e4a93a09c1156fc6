//! One lock over steps that are processes of their own: `cargo run -p leasehold --example ci_steps [URL]`.

use leasehold::{ClaimId, Client, Error, Released};
use std::time::Duration;

const NAME: &str = "deploy:prod";

/// The first step: acquires, and leaves the hold to whoever knows its claim.
async fn lock_step(url: &str) -> Result<ClaimId, Error> {
    let client = Client::connect(url).await?;
    let guard = client.mutex(NAME)?.ttl(Duration::from_secs(60)).acquire().await?;
    let claim = guard.detach().await?.claim;
    client.shutdown().await; // the process ends; the hold does not
    Ok(claim) // printed, and kept by the pipeline
}

/// A step in the middle: nobody renews a detached hold but us.
async fn deploy_step(url: &str, claim: ClaimId) -> Result<bool, Error> {
    let claimed = Client::connect(url).await?.claimed(NAME, claim)?;
    Ok(claimed.renew(Duration::from_secs(60)).await?.is_some())
}

/// The last step.
async fn unlock_step(url: &str, claim: ClaimId) -> Result<Released, Error> {
    Client::connect(url).await?.claimed(NAME, claim)?.release().await
}

/// A pipeline of three steps, and another that comes in between. Returns whether that one was let in, whether the hold could
/// be renewed, and what the release said.
pub(crate) async fn pipeline(url: &str) -> Result<(bool, bool, Released), Error> {
    // Stands for the store's server, which outlives the steps. (A store of `memory:` lives as long as its clients.)
    let other = Client::connect(url).await?;
    let claim = lock_step(url).await?;
    let let_in = other.mutex(NAME)?.try_acquire().await?.is_some();
    let renewed = deploy_step(url, claim).await?;
    Ok((let_in, renewed, unlock_step(url, claim).await?))
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory:pipeline".into());
    let (let_in, renewed, released) = pipeline(&url).await?;
    println!("another pipeline let in: {let_in}, renewed: {renewed}, at the end: {released:?}");
    Ok(())
}
