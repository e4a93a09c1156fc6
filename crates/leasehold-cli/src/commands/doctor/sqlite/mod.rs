//! What is looked at in a lock database that is a file.

mod content;
mod files;

use super::finding::Check;
use crate::store::Fault;
use leasehold::engines::sqlite::probe::Place;

/// Checks the file that `url` names.
///
/// # Errors
/// Bad usage, if the URL is not understood; permission, if the file cannot be looked at.
pub fn checks(url: &str) -> Result<Vec<Check>, Fault> {
    let place = Place::of(url)?;
    let mut checks = files::checks(&place)?;
    checks.extend(content::checks(&place));
    Ok(checks)
}
