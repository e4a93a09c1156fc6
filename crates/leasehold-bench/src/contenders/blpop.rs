//! Floor of a hand-off: a list of one token that waiters pop and holders push back.

use super::Seat;
use crate::Fault;
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;

pub struct Blpop {
    connection: MultiplexedConnection,
    key: String,
}

/// A connection for each task, since a blocked `BLPOP` blocks its connection.
///
/// # Errors
/// If the server cannot be reached.
pub async fn seats(url: &str, keys: &[String]) -> Result<Vec<Blpop>, Fault> {
    let client = redis::Client::open(url)?;
    let patient = AsyncConnectionConfig::new().set_response_timeout(None);
    let mut seats = Vec::new();
    for key in keys {
        let connection = client.get_multiplexed_async_connection_with_config(&patient).await?;
        seats.push(Blpop { connection, key: key.clone() });
    }
    Ok(seats)
}

impl Seat for Blpop {
    async fn acquire(&mut self) -> Result<u64, Fault> {
        let _: (String, String) = redis::cmd("BLPOP").arg(&self.key).arg(0).query_async(&mut self.connection).await?;
        Ok(0)
    }

    async fn release(&mut self) -> Result<(), Fault> {
        let _: u64 = redis::cmd("RPUSH").arg(&self.key).arg("token").query_async(&mut self.connection).await?;
        Ok(())
    }
}
