//! Our own words: one line each, on stderr.

use std::io::Write;
use std::time::Duration;

/// Says one line. A closed stderr is no reason to fail.
pub fn say(text: impl std::fmt::Display) {
    let line = format!("leasehold: {}\n", text.to_string().replace('\n', " "));
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// A time as people say it: 340ms, 12s, 3m 5s, 2h 1m.
pub fn humane(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 => format!("{}ms", span.as_millis()),
        1..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_at_most_two_units() {
        let said = |ms| humane(Duration::from_millis(ms));
        assert_eq!(said(0), "0ms");
        assert_eq!(said(999), "999ms");
        assert_eq!(said(59_999), "59s");
        assert_eq!(said(185_000), "3m 5s");
        assert_eq!(said(7_260_000), "2h 1m");
        assert_eq!(said(90_000_000), "1d 1h");
    }
}
