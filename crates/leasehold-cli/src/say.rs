//! Our own words: one line each, on stderr.

use std::io::Write;
use std::time::Duration;

/// Says one line. A closed stderr is no reason to fail.
pub fn say(text: impl std::fmt::Display) {
    let line = format!("leasehold: {}\n", text.to_string().replace('\n', " "));
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// A text that others wrote, fit for a terminal: what would move its cursor, or turn or hide text, is written out.
pub fn plain(text: &str) -> String {
    let acts = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) { shown.extend(c.escape_debug()) } else { shown.push(c) }
    }
    shown
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
    fn what_acts_on_a_terminal_is_written_out_and_all_else_is_kept() {
        assert_eq!(plain("a\u{1b}]0;x\u{7}\n\u{9b}2J\u{202e}b"), "a\\u{1b}]0;x\\u{7}\\n\\u{9b}2J\\u{202e}b");
        assert_eq!(plain("größe:鎖:\"e\u{301}\""), "größe:鎖:\"e\u{301}\"");
    }

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
