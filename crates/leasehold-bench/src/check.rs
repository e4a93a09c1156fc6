//! The judge of every run: holds of one lock must not overlap, and their tokens must rise in that order.

use crate::record::Record;

/// Every way in which the holds of one lock, of all processes, break a promise; `holds` is sorted by start.
pub fn violations(holds: &[Record]) -> Vec<String> {
    let mut found = Vec::new();
    let mut until = 0;
    for hold in holds {
        if hold.start < until {
            found.push(format!("two held at once, for {} µs at least", (until - hold.start).div_ceil(1_000)));
        }
        until = until.max(hold.end);
    }
    for pair in holds.windows(2) {
        // Contenders without tokens say 0 throughout.
        let (before, after) = (pair[0].token, pair[1].token);
        if (before, after) != (0, 0) && before >= after {
            found.push(format!("token {after} was granted after {before}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};

    fn hold(start: u64, end: u64, token: u64) -> Record {
        Record { task: 0, asked: 0, start, end, token }
    }

    #[test]
    fn holds_one_after_the_other_with_rising_tokens_pass() {
        assert!(violations(&[hold(1, 2, 1), hold(2, 3, 2), hold(5, 5, 9)]).is_empty());
        assert!(violations(&[hold(1, 2, 0), hold(2, 3, 0)]).is_empty());
    }

    #[test]
    fn an_overlap_is_caught_also_with_a_hold_further_back() {
        assert_eq!(violations(&[hold(1, 3, 1), hold(2, 4, 2)]).len(), 1);
        assert_eq!(violations(&[hold(1, 9, 1), hold(2, 3, 2), hold(8, 9, 3)]).len(), 2);
    }

    #[test]
    fn a_token_that_does_not_rise_is_caught() {
        assert_eq!(violations(&[hold(1, 2, 7), hold(3, 4, 7)]).len(), 1);
        assert_eq!(violations(&[hold(1, 2, 7), hold(3, 4, 0)]).len(), 1);
        assert_eq!(violations(&[hold(1, 2, 7), hold(3, 4, 6)]).len(), 1);
    }

    /// Threads that hold without any lock, and the same under a lock: the one must be caught, the other must not.
    #[test]
    fn threads_without_a_lock_are_caught_and_with_one_are_not() {
        let held = |locked: bool| {
            let (lock, tokens) = (Arc::new(Mutex::new(())), Arc::new(AtomicU64::new(1)));
            let work = move || {
                let mut holds = Vec::new();
                for _ in 0..20 {
                    let guard = locked.then(|| lock.lock().unwrap());
                    let (token, start) = (tokens.fetch_add(1, Ordering::SeqCst), crate::clock::now());
                    std::thread::sleep(std::time::Duration::from_millis(1));
                    holds.push(hold(start, crate::clock::now(), token));
                    drop(guard);
                }
                holds
            };
            let threads: Vec<_> = (0..3).map(|_| std::thread::spawn(work.clone())).collect();
            let mut holds: Vec<Record> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
            holds.sort_by_key(|hold| hold.start);
            violations(&holds)
        };
        assert!(!held(false).is_empty());
        assert_eq!(held(true), Vec::<String>::new());
    }
}
