//! Many buyers, one stock, nothing sold twice: `cargo run -p leasehold --example stock [URL]`.

use leasehold::{Client, Error};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;
use tokio::{task::JoinSet, time::sleep};

const STOCK: u32 = 25;
const BUYERS: u32 = 40;

/// A stock as a database without transactions would keep it: to look and to write are two steps.
struct Stock(AtomicU32);

impl Stock {
    async fn look(&self) -> u32 {
        sleep(Duration::from_millis(1)).await;
        self.0.load(Relaxed)
    }

    async fn write(&self, left: u32) {
        sleep(Duration::from_millis(1)).await;
        self.0.store(left, Relaxed);
    }
}

/// Lets everybody buy one; returns how many were sold, and how many are left.
pub(crate) async fn sell(url: &str) -> Result<(u32, u32), Error> {
    let client = Client::connect(url).await?;
    let stock = Arc::new(Stock(AtomicU32::new(STOCK)));
    let mut buyers = JoinSet::new();
    for _ in 0..BUYERS {
        let (lock, stock) = (client.mutex("stock:7:sell")?, Arc::clone(&stock));
        buyers.spawn(async move {
            let guard = lock.acquire().await?;
            let left = stock.look().await;
            if left > 0 {
                stock.write(left - 1).await;
            }
            guard.release().await?;
            Ok::<_, Error>(left > 0)
        });
    }
    let mut sold = 0;
    while let Some(bought) = buyers.join_next().await {
        sold += u32::from(bought.expect("no buyer panics")?);
    }
    Ok((sold, stock.look().await))
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory:".into());
    let (sold, left) = sell(&url).await?;
    println!("{BUYERS} buyers came for {STOCK} pieces: {sold} sold, {left} left");
    Ok(())
}
