//! `leasehold list`: the locks that are held or waited for.

use super::view::{self, Lock};
use super::{print, print_json, with_client};
use crate::args::List;
use crate::exit::{self, Code};
use crate::store::Fault;

/// Prints all locks whose name matches.
pub fn list(args: List) -> Result<Code, Fault> {
    let mut seen = with_client(&args.store, |client| async move { client.list().await })?;
    if let Some(pattern) = &args.pattern {
        seen.retain(|seen| matches(pattern, seen.resource.as_str()));
    }
    if args.json {
        print_json(&seen.iter().map(Lock::from).collect::<Vec<_>>())?;
    } else if seen.is_empty() {
        print("no lock is held or waited for\n")?;
    } else {
        print(&view::list(&seen))?;
    }
    Ok(exit::OK)
}

/// True if `name` as a whole matches: `*` stands for any text, `?` for one character.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut seen) = (0, 0);
    // Where the last star stands, and how much it swallowed: the only place that ever needs another try.
    let mut star = None;
    while seen < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(&wanted) if wanted == '?' || wanted == name[seen] => (at, seen) = (at + 1, seen + 1),
            _ => match star {
                Some((place, from)) => {
                    star = Some((place, from + 1));
                    (at, seen) = (place + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|&rest| rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text_and_a_question_mark_one_character() {
        for (pattern, name) in [("*", ""), ("a*", "a"), ("*:pay", "order:1:pay"), ("a?c", "aéc"), ("*a*b*", "xaybz"), ("**", "x")]
        {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("", "a"), ("a", "ab"), ("?", ""), ("a*b", "abc"), ("*a*b*", "ba"), ("a", "A")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
