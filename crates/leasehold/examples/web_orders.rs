//! A web service that takes a lock for each order: `cargo run -p leasehold --example web_orders [URL]`.

use axum::{Router, extract::Path, extract::State, http::StatusCode, routing::post};
use leasehold::{Client, Error};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the service has: a client for its locks, and the orders that are paid.
#[derive(Clone)]
struct Shop {
    locks: Client,
    paid: Arc<Mutex<HashSet<u64>>>,
}

async fn pay(State(shop): State<Shop>, Path(order): Path<u64>) -> Result<&'static str, StatusCode> {
    // Should the caller hang up, this future is dropped, and the lock with it.
    let lock = shop.locks.mutex(format!("order:{order}:pay")).map_err(|_| StatusCode::BAD_REQUEST)?;
    match lock.acquire_timeout(Duration::from_secs(5)).await {
        Ok(Some(guard)) => guard.run(charge_once(&shop, order)).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?,
        Ok(None) => Err(StatusCode::CONFLICT), // others were at it for all that time
        Err(_) => Err(StatusCode::SERVICE_UNAVAILABLE),
    }
}

async fn charge_once(shop: &Shop, order: u64) -> Result<&'static str, StatusCode> {
    if shop.paid.lock().unwrap().contains(&order) {
        return Ok("paid before\n");
    }
    tokio::time::sleep(Duration::from_millis(20)).await; // the payment
    let new = shop.paid.lock().unwrap().insert(order);
    if new { Ok("paid\n") } else { Err(StatusCode::INTERNAL_SERVER_ERROR) }
}

/// The service, to be served wherever you like.
pub(crate) async fn service(url: &str) -> Result<Router, Error> {
    let shop = Shop { locks: Client::connect(url).await?, paid: Arc::default() };
    Ok(Router::new().route("/orders/{order}/pay", post(pay)).with_state(shop))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory:".into());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("curl -X POST http://{}/orders/123/pay", listener.local_addr()?);
    axum::serve(listener, service(&url).await?).await?;
    Ok(())
}
