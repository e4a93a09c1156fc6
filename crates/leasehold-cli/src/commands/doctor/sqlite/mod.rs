//! What is looked at in a lock database that is a file.

mod content;
mod files;

use super::finding::Check;
use crate::exit;
use crate::store::Fault;
use leasehold::engines::sqlite::probe::Place;
use std::sync::mpsc::channel;
use std::time::Duration;

/// How long all of it may take: a file system whose server is gone answers nothing for ever.
const LIMIT: Duration = Duration::from_secs(15);

/// Checks the file that `url` names.
///
/// # Errors
/// Bad usage, if the URL is not understood; permission, if the file cannot be looked at; unreachable, if its file system does
/// not answer.
pub fn checks(url: &str) -> Result<Vec<Check>, Fault> {
    let place = Place::of(url)?;
    let path = place.path.display().to_string();
    let url = url.to_owned();
    let looked = within(LIMIT, move || {
        let mut checks = files::checks(&place, &url)?;
        checks.extend(content::checks(&place));
        Ok(checks)
    });
    looked.unwrap_or_else(|| {
        let message = format!("sqlite: the file system of {path} did not answer within {} s", LIMIT.as_secs());
        Err(Fault { code: exit::UNAVAILABLE, message })
    })
}

/// What `work` comes to, unless it takes too long: then it is left to itself.
fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, outcome) = channel();
    std::thread::spawn(move || done.send(work()));
    outcome.recv_timeout(limit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_takes_too_long_is_left_to_itself() {
        assert_eq!(within(Duration::from_secs(30), || 7), Some(7));
        let (never, hung) = channel::<()>();
        assert_eq!(within(Duration::from_millis(20), move || hung.recv().is_err()), None);
        drop(never);
    }
}
