//! How many processors there are, and whether a limit holds this process up: one that is held up renews late.

use crate::commands::doctor::finding::Check;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// How many periods say enough.
const ENOUGH: u64 = 20;

/// Looks at this process's own group.
pub fn check() -> Check {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    judge(cpus, find(Path::new("/sys/fs/cgroup"), &groups).as_ref())
}

/// What a group says of its processors.
#[derive(Clone, Debug, PartialEq)]
struct Limit {
    /// How many processors it may use, if that is limited.
    cpus: Option<f64>,
    periods: u64,
    throttled: u64,
}

/// Finds the innermost group that has figures. `groups` is what `/proc/self/cgroup` says.
fn find(root: &Path, groups: &str) -> Option<Limit> {
    let mut places: Vec<PathBuf> = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
        if controllers.is_empty() {
            places.extend([root.join(path), root.join("unified").join(path)]);
        } else if controllers.split(',').any(|controller| controller == "cpu") {
            // In a container the group's own directory may be mounted as the root.
            places.extend([root.join(controllers).join(path), root.join("cpu").join(path), root.join("cpu")]);
        }
    }
    places.push(root.to_owned());
    places.iter().find_map(|place| read(place))
}

fn read(place: &Path) -> Option<Limit> {
    let stat = fs::read_to_string(place.join("cpu.stat")).ok()?;
    let fields: HashMap<&str, u64> = stat
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, value)| Some((name, value.parse().ok()?)))
        .collect();
    let (periods, throttled) = (*fields.get("nr_periods")?, *fields.get("nr_throttled")?);
    Some(Limit { cpus: quota(place), periods, throttled })
}

fn quota(place: &Path) -> Option<f64> {
    let number = |file: &str| fs::read_to_string(place.join(file)).ok()?.trim().parse::<f64>().ok();
    if let Ok(text) = fs::read_to_string(place.join("cpu.max")) {
        let (quota, period) = text.trim().split_once(' ')?;
        return Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?);
    }
    let quota = number("cpu.cfs_quota_us").filter(|&quota| quota > 0.0)?;
    Some(quota / number("cpu.cfs_period_us")?)
}

fn judge(cpus: usize, limit: Option<&Limit>) -> Check {
    let id = "host.cpu";
    let Some(limit) = limit else {
        return Check::ok(id, "no limit holds this process up", format!("{cpus} processors; no limit of a group is seen"));
    };
    let allowed = limit.cpus.map_or("no limit".into(), |cpus| format!("limited to {cpus:.2} of them"));
    let seen = format!("{cpus} processors, {allowed}; held up in {} of {} periods", limit.throttled, limit.periods);
    let share = if limit.periods < ENOUGH { 0 } else { limit.throttled * 100 / limit.periods };
    let check = match share {
        0..=4 => return Check::ok(id, "no limit holds this process up", seen),
        5..=24 => Check::note(id, "a limit of its group holds this process up at times", seen),
        _ => Check::warning(id, "a limit of its group holds this process up", seen),
    };
    check
        .means("P1 holds: a loss is told by the clock at the next look; but a process that is held up renews late, loses short leases, and `leasehold run` may kill late")
        .remedy("docker update --cpus 2 NAME    # or raise limits.cpu of the pod, or CPUQuota= of the unit")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Severity;
    use tempfile::TempDir;

    fn group(dir: &TempDir, path: &str, files: &[(&str, &str)]) {
        let place = dir.path().join(path);
        fs::create_dir_all(&place).unwrap();
        for (name, text) in files {
            fs::write(place.join(name), text).unwrap();
        }
    }

    #[test]
    fn the_figures_of_both_kinds_of_groups_are_found() {
        let dir = TempDir::new().unwrap();
        assert_eq!(find(dir.path(), "0::/a/b\n"), None);
        let stat = "usage_usec 5\nnr_periods 100\nnr_throttled 40\nthrottled_usec 9\n";
        group(&dir, "a/b", &[("cpu.stat", stat), ("cpu.max", "50000 100000\n")]);
        let expected = Limit { cpus: Some(0.5), periods: 100, throttled: 40 };
        assert_eq!(find(dir.path(), "0::/a/b\n"), Some(expected.clone()));
        let old = [("cpu.stat", stat), ("cpu.cfs_quota_us", "50000\n"), ("cpu.cfs_period_us", "100000\n")];
        group(&dir, "cpu,cpuacct/c", &old);
        assert_eq!(find(dir.path(), "4:memory:/c\n2:cpu,cpuacct:/c\n0::/\n"), Some(expected));
        group(&dir, "a/b", &[("cpu.max", "max 100000\n")]);
        assert_eq!(find(dir.path(), "0::/a/b\n").unwrap().cpus, None);
    }

    #[test]
    fn a_quarter_of_the_periods_is_a_warning() {
        let of = |throttled, periods| judge(2, Some(&Limit { cpus: Some(0.5), periods, throttled })).severity;
        assert_eq!((of(0, 100), of(10, 100), of(25, 100)), (Severity::Ok, Severity::Note, Severity::Warning));
        assert_eq!((of(5, 10), judge(2, None).severity), (Severity::Ok, Severity::Ok));
    }
}
