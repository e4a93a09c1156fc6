//! A stock in sixteen parts, each with a lock of its own: `cargo run -p leasehold --example striped_stock [URL]`.

use leasehold::{Client, Error, ResourceName};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::{task::JoinSet, time::sleep};

const BUYERS: u32 = 200;
const STOCK: u32 = 160;

/// Sells a stock that is split into `stripes` equal parts; returns how many were sold, and how long it took.
pub(crate) async fn sell(url: &str, stripes: u32) -> Result<(u32, Duration), Error> {
    let client = Client::connect(url).await?;
    let name = ResourceName::new("stock:7")?;
    let parts: BTreeMap<String, u32> = (0..stripes).map(|part| (format!("{name}#{part}/{stripes}"), STOCK / stripes)).collect();
    let (parts, began) = (Arc::new(Mutex::new(parts)), Instant::now());
    let mut buyers = JoinSet::new();
    for buyer in 0..BUYERS {
        let (client, name, parts) = (client.clone(), name.clone(), Arc::clone(&parts));
        buyers.spawn(async move {
            // Where a part is sold out, the next key leads to another one.
            for attempt in 0..stripes * 8 {
                let part = name.stripe(format!("{buyer}/{attempt}"), stripes)?;
                let guard = client.mutex(&part)?.acquire().await?;
                let left = parts.lock().unwrap()[part.as_str()];
                sleep(Duration::from_millis(2)).await; // the sale
                if left > 0 {
                    parts.lock().unwrap().insert(part.to_string(), left - 1);
                }
                guard.release().await?;
                if left > 0 {
                    return Ok::<_, Error>(true);
                }
            }
            Ok(false)
        });
    }
    let mut sold = 0;
    while let Some(bought) = buyers.join_next().await {
        sold += u32::from(bought.expect("no buyer panics")?);
    }
    Ok((sold, began.elapsed()))
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory:".into());
    for stripes in [1, 16] {
        let (sold, took) = sell(&url, stripes).await?;
        println!("{stripes:2} stripes: {sold} of {STOCK} sold in {took:.0?}");
    }
    Ok(())
}
