//! What is asked of a Redis server, in order.

mod clock;
mod keeping;
mod links;
mod names;
mod patient;
mod rights;
mod server;
mod talk;

use super::finding::Check;
use crate::store::Fault;
use clock::Reading;
use patient::Patient;
use std::time::Duration;
use talk::words;

/// How far apart the first and the last reading of the clock are at least.
const APART: Duration = Duration::from_millis(300);

/// Checks the server that `url` names.
///
/// # Errors
/// It cannot be reached, refuses us, or stops answering.
pub async fn checks(url: &str) -> Result<Vec<Check>, Fault> {
    let patient = Patient::meet(url).await?;
    let checked = all(&patient).await;
    // Also where something failed; and what cannot be removed now ends by itself.
    patient.clean_up().await;
    checked
}

async fn all(patient: &Patient) -> Result<Vec<Check>, Fault> {
    let begun = tokio::time::Instant::now();
    let mut readings: Vec<Reading> = clock::read(&patient.talk).await?.into_iter().collect();
    let latency = links::latency(patient).await?;
    let (push, pushes) = links::push(patient).await?;
    readings.extend(clock::read(&patient.talk).await?);
    let refused = rights::try_all(patient, &pushes).await?;
    let names = names::checks(patient).await?;
    let slow = links::slow(patient).await?;
    tokio::time::sleep_until(begun + APART).await;
    readings.extend(clock::read(&patient.talk).await?);
    let key = patient.space().counter();
    let counter = patient.talk.ask_all(vec![words(["GET", key]), words(["PTTL", key])]).await?;
    let counter: [talk::Answer; 2] = counter.try_into().expect("two questions have two answers");
    let mut checks = server::checks(patient);
    checks.extend(keeping::checks(patient));
    checks.extend(keeping::writes(patient, refused.wrote.as_ref()));
    checks.extend(clock::checks(patient, &readings));
    checks.extend(readings.last().and_then(|reading| clock::counter(patient, &counter, reading)));
    checks.push(latency);
    checks.extend(links::checks(patient));
    checks.push(push);
    checks.extend(rights::checks(patient, &refused));
    checks.extend(names);
    checks.extend(slow);
    Ok(checks)
}
