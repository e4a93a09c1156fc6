//! A function that locks calls another that locks the same: `cargo run -p leasehold --example reentrant [URL]`.

use leasehold::{Client, Error, Owner, Token};

/// Ships an order; locks it, whoever calls.
async fn ship(client: &Client, owner: Owner) -> Result<Token, Error> {
    let guard = client.mutex("order:123")?.owner(owner).acquire().await?;
    Ok(guard.token())
}

/// Pays an order and ships it, locked from the first step to the last. Returns both steps' tokens.
async fn pay_and_ship(client: &Client, owner: Owner) -> Result<(Token, Token), Error> {
    let guard = client.mutex("order:123")?.owner(owner).acquire().await?;
    let shipped = ship(client, owner).await?; // enters again: no word to the store, no waiting for ourselves
    let stranger = client.mutex("order:123")?.owner(Owner::new()).try_acquire().await?;
    assert!(stranger.is_none(), "the order stays locked though the inner step is over");
    let paid = guard.token();
    guard.release().await?;
    Ok((paid, shipped))
}

/// Does both steps; true if they were one hold.
pub(crate) async fn one_hold(url: &str) -> Result<bool, Error> {
    let client = Client::connect(url).await?;
    let (paid, shipped) = pay_and_ship(&client, Owner::new()).await?;
    Ok(paid == shipped)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory:".into());
    println!("the inner and the outer step were one hold: {}", one_hold(&url).await?);
    Ok(())
}
