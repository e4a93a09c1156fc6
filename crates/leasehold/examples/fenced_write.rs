//! A database that refuses a holder whose time is over: `cargo run -p leasehold --example fenced_write [URL]`.

use leasehold::{Client, Error, Guard, Renewal};
use rusqlite::{Connection, params};
use std::time::Duration;

const TABLE: &str = "CREATE TABLE account (id INTEGER PRIMARY KEY, owner TEXT, fence INTEGER NOT NULL, claim TEXT NOT NULL);
                     INSERT INTO account VALUES (1, 'nobody', 0, '')";

/// Accepts a larger token than the last, or the same of the same claim; nothing else.
const WRITE: &str = "UPDATE account SET owner = ?1, fence = ?2, claim = ?3
                     WHERE id = 1 AND (fence < ?2 OR (fence = ?2 AND claim = ?3))";

/// Writes under the lock; false if the database has seen a newer holder.
fn write(database: &Connection, owner: &str, guard: &Guard) -> rusqlite::Result<bool> {
    let changed = database.execute(WRITE, params![owner, guard.token().as_i64(), guard.claim().to_string()])?;
    Ok(changed == 1)
}

/// One holder stops between its last look at the lock and its write. Returns whether each write was accepted, and who owns
/// the account in the end.
pub(crate) async fn pause(url: &str) -> Result<(bool, bool, String), Box<dyn std::error::Error + Send + Sync>> {
    let database = Connection::open_in_memory()?;
    database.execute_batch(TABLE)?;
    let lock = Client::connect(url).await?.mutex("account:1:write")?.ttl(Duration::from_millis(400)).renew(Renewal::Off);

    let early = lock.acquire().await?;
    early.check(Duration::ZERO)?; // holds, it says; and now the process stops for a while
    let late = other_process(url).await?;
    let late_wrote = write(&database, "late", &late)?;
    let early_wrote = write(&database, "early", &early)?; // wakes up, and does not know better

    let owner = database.query_row("SELECT owner FROM account", [], |row| row.get(0))?;
    late.release().await?;
    Ok((late_wrote, early_wrote, owner))
}

/// Waits until the first holder's lease is over.
async fn other_process(url: &str) -> Result<Guard, Error> {
    Client::connect(url).await?.mutex("account:1:write")?.acquire().await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory:fenced".into());
    let (late, early, owner) = pause(&url).await?;
    println!("late holder accepted: {late}, early holder accepted: {early}, the account is of {owner:?}");
    Ok(())
}
