//! A lock over work that blocks its thread: `cargo run -p leasehold --example blocking_job [URL]`.

use leasehold::{Client, Error, Guard};
use std::thread::sleep;
use std::time::Duration;

/// The job in steps. Between two of them it looks whether enough of the lease is left for the next.
fn compact(guard: &Guard, steps: u32) -> Result<u32, Error> {
    for _ in 0..steps {
        guard.check(Duration::from_millis(50))?;
        sleep(Duration::from_millis(30)); // never awaits, so nothing can interrupt it
    }
    Ok(steps)
}

/// Runs the job for longer than its lock's ttl. Renewals come from a thread of their own: a blocked runtime stops none.
/// Returns how many steps were done, and whether the lock was held at the end.
pub(crate) async fn run(url: &str) -> Result<(u32, bool), Error> {
    let client = Client::connect(url).await?;
    let guard = client.mutex("table:9:compact")?.ttl(Duration::from_secs(2)).acquire().await?;
    let inside = guard.clone(); // the hold ends with the last clone
    let work = tokio::task::spawn_blocking(move || compact(&inside, 80));
    let steps = work.await.expect("the job does not panic")?;
    let held = guard.check(Duration::ZERO).is_ok();
    guard.release().await?;
    Ok((steps, held))
}

/// The same in a program without async.
pub(crate) fn run_blocking(url: &str) -> Result<u64, Error> {
    let client = leasehold::blocking::Client::connect(url)?;
    let guard = client.mutex("table:9:compact")?.acquire()?;
    let fence = guard.token().counter();
    guard.release()?;
    Ok(fence)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory:".into());
    let (steps, held) = run(&url).await?;
    println!("{steps} steps in a lease of 2 s, held to the end: {held}");
    let fence = tokio::task::spawn_blocking(move || run_blocking(&url)).await.expect("it does not panic")?;
    println!("without async: fenced by {fence}");
    Ok(())
}
