//! Metrics that are written or served as text, by the exporter that applications use; and those of one run.

use crate::exit;
use crate::report::{Story, put};
use metrics::{describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::PrometheusBuilder;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What whoever collects the metrics may read, whatever the umask of the job.
const READABLE: u32 = 0o644;

/// What `work` sets, as text.
pub fn rendered(work: impl FnOnce()) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    with_local_recorder(&recorder, work);
    recorder.handle().render()
}

/// A label's value as the exporter is to be given it: it takes a lone backslash for the beginning of an escape.
pub fn label(text: &str) -> String {
    text.replace('\\', "\\\\")
}

/// Writes the metrics of one run to `file`, in one step, for the textfile collector of `node_exporter`.
///
/// # Errors
/// Those of the operating system.
pub fn write(story: &Story, file: &Path) -> io::Result<()> {
    put(file, of_run(story).as_bytes(), Some(READABLE))
}

fn of_run(story: &Story) -> String {
    let granted = story.granted_at.is_some();
    let lost = story.lost.is_some();
    let success = granted && !lost && story.exit_code == Some(exit::OK);
    let yes = |it: bool| if it { 1.0 } else { 0.0 };
    let seconds = |span: Option<Duration>| span.unwrap_or_default().as_secs_f64();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    let all = [
        ("leasehold_run_granted", "1 if the last run was granted its lock", yes(granted)),
        ("leasehold_run_refused", "1 if others held the lock until the end of the last run's wait", yes(story.refused)),
        ("leasehold_run_lost", "1 if the last run lost its lock", yes(lost)),
        ("leasehold_run_success", "1 if the last run was granted its lock, kept it, and its command exited 0", yes(success)),
        ("leasehold_run_wait_seconds", "How long the last run waited for its lock", seconds(story.waited)),
        ("leasehold_run_hold_seconds", "How long the last run held its lock", seconds(story.held)),
        ("leasehold_run_exit_code", "The exit code of the last run", story.exit_code.map_or(0.0, f64::from)),
        ("leasehold_run_timestamp_seconds", "When the last run ended, since 1970", seconds(now)),
    ];
    rendered(|| {
        for (name, meaning, value) in all {
            describe_gauge!(name, meaning);
            gauge!(name, "name" => label(&story.name)).set(value);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_escaped_so_that_no_two_are_shown_alike() {
        let shown = |name: &str| {
            let text = of_run(&Story::begin(name));
            text.lines().find(|line| line.starts_with("leasehold_run_lost{")).unwrap().to_owned()
        };
        assert_eq!(shown("nightly"), "leasehold_run_lost{name=\"nightly\"} 0");
        assert_eq!(shown("a\"b"), "leasehold_run_lost{name=\"a\\\"b\"} 0");
        assert_eq!(shown("a\\\"b"), "leasehold_run_lost{name=\"a\\\\\\\"b\"} 0");
        assert_eq!(shown("a\\\\b"), "leasehold_run_lost{name=\"a\\\\\\\\b\"} 0");
        assert_eq!(shown("a\nb"), "leasehold_run_lost{name=\"a\\nb\"} 0");
    }
}
