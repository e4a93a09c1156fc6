//! The progress bar: on stderr, and only where somebody looks at it.

use crate::args::Bench;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// A bar of `length` steps; it shows nothing with --quiet or --json, or if stderr is no terminal.
pub fn bar(args: &Bench, length: u64, what: &str) -> ProgressBar {
    let is_shown = std::io::stderr().is_terminal() && !args.store.quiet && !args.json;
    let target = if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{msg:40} {wide_bar} {percent:>3}%").expect("the template is well formed");
    ProgressBar::with_draw_target(Some(length), target).with_style(style).with_message(what.to_owned())
}
