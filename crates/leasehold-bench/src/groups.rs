//! What is compared with what: each group is one workload, its contenders, and whom the ratios are to.

use crate::contenders::Kind;
use crate::placement::Placement::{self, Cross, Same};
use crate::record::Hold;
use crate::run::{Outcome, Shape};
use std::time::Duration;

/// The figure that a group compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Cycles per second.
    Cycles,
    /// Hand-offs per second.
    HandOffs,
    /// The median time from a release to the grant.
    Gap,
}

impl Figure {
    pub fn of(self, outcome: &Outcome) -> f64 {
        match self {
            Figure::Cycles => outcome.cycles,
            Figure::HandOffs => outcome.hand_offs,
            Figure::Gap => crate::stats::percentile(&outcome.gaps, 0.5) as f64,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Figure::Cycles => "cycles/s",
            Figure::HandOffs => "hand-offs/s",
            Figure::Gap => "release to grant",
        }
    }
}

/// One workload and its contenders, which run in turns.
#[derive(Clone, Debug)]
pub struct Group {
    /// `WORKLOAD/PLACEMENT/SIZE`
    pub name: String,
    pub figure: Figure,
    pub shape: Shape,
    /// In the order in which they run; the ratios are to the first.
    pub members: Vec<Kind>,
    /// How often it is repeated, against other groups: a few percent are seen in many short runs that alternate, and of a lone
    /// task two processes that do the same differ by a fifth.
    pub rounds: usize,
}

impl Group {
    pub fn base(&self) -> Kind {
        self.members[0]
    }

    /// What `--only` is matched with.
    pub fn member_name(&self, kind: Kind) -> String {
        format!("{}/{}", self.name, kind.name())
    }
}

const fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// Every group, as long as in a full run or quick.
pub fn all(quick: bool) -> Vec<Group> {
    let mut groups = Vec::new();
    for (placement, tasks) in [(Same, 1), (Same, 64), (Cross, 1), (Cross, 16), (Cross, 64)] {
        groups.push(uncontended(placement, tasks, quick));
    }
    for tasks in [2, 16, 64] {
        groups.push(one_key(tasks, quick));
    }
    groups.push(processes(quick));
    groups.extend([observed(1, quick), observed(64, quick)]);
    groups.extend([latency(Cross, quick), latency(Same, quick)]);
    groups
}

fn shape(placement: Placement, tasks: usize, time: Duration) -> Shape {
    let warm = (time / 4).min(ms(200));
    Shape { placement, processes: 1, tasks, rival_tasks: None, one_key: true, hold: Hold::NONE, warm, time }
}

fn uncontended(placement: Placement, tasks: usize, quick: bool) -> Group {
    let (time, rounds) = match (quick, tasks) {
        (true, _) => (ms(200), 1),
        (false, 1) => (ms(250), 4),
        (false, _) => (ms(700), 1),
    };
    Group {
        name: format!("uncontended/{placement}/{tasks}-tasks"),
        figure: Figure::Cycles,
        shape: Shape { one_key: false, ..shape(placement, tasks, time) },
        members: vec![Kind::Bare, Kind::Ours, Kind::Rslock, Kind::Raw],
        rounds,
    }
}

/// What metrics cost.
fn observed(tasks: usize, quick: bool) -> Group {
    let (time, rounds) = if quick { (ms(200), 1) } else { (ms(500), 4) };
    Group {
        name: format!("observed/cross/{tasks}-tasks"),
        figure: Figure::Cycles,
        shape: Shape { one_key: false, ..shape(Cross, tasks, time) },
        members: vec![Kind::Ours, Kind::Observed],
        rounds,
    }
}

fn one_key(tasks: usize, quick: bool) -> Group {
    let time = if quick { ms(200) } else { ms(600) };
    let mut members = vec![Kind::Blpop, Kind::Fifo, Kind::Ours, Kind::OursAlone];
    if tasks == 16 || !quick {
        members.extend([Kind::Poll1, Kind::Rslock1]);
    }
    if tasks == 16 {
        members.extend([Kind::Bare, Kind::Poll10, Kind::Rslock]);
    }
    let name = format!("one-key/cross/{tasks}-tasks");
    Group { name, figure: Figure::HandOffs, shape: shape(Cross, tasks, time), members, rounds: 1 }
}

fn processes(quick: bool) -> Group {
    let time = if quick { ms(400) } else { ms(1_000) };
    let mut members = vec![Kind::Blpop, Kind::Fifo, Kind::Ours, Kind::OursAlone];
    if !quick {
        members.extend([Kind::Bare, Kind::Poll1, Kind::Rslock1]);
    }
    Group {
        name: "one-key/cross/4x16-tasks".into(),
        figure: Figure::HandOffs,
        shape: Shape { processes: 4, ..shape(Cross, 16, time) },
        members,
        rounds: 1,
    }
}

fn latency(placement: Placement, quick: bool) -> Group {
    let time = if quick { ms(300) } else { ms(1_500) };
    let mut members = vec![Kind::Blpop, Kind::OursAlone, Kind::Fifo];
    if placement == Cross && !quick {
        members.extend([Kind::Poll1, Kind::Rslock1]);
    }
    Group {
        name: format!("latency/{placement}/2x1-tasks"),
        figure: Figure::Gap,
        shape: Shape { processes: 2, hold: Hold::ms(1, 20), ..shape(placement, 1, time) },
        members,
        rounds: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_each_group_has_a_base_that_it_does_not_repeat() {
        for quick in [false, true] {
            let groups = all(quick);
            let names: HashSet<&str> = groups.iter().map(|group| group.name.as_str()).collect();
            assert_eq!(names.len(), groups.len());
            for group in &groups {
                let members: HashSet<Kind> = group.members.iter().copied().collect();
                assert_eq!(members.len(), group.members.len(), "{}", group.name);
            }
        }
    }

    #[test]
    fn what_a_lone_task_does_is_repeated_more_often_than_what_a_crowd_does() {
        let rounds = |name: &str| all(false).iter().find(|group| group.name == name).map(|group| group.rounds);
        assert!(rounds("uncontended/same/1-tasks") > rounds("uncontended/same/64-tasks"));
        assert!(rounds("uncontended/cross/1-tasks") > rounds("uncontended/cross/64-tasks"));
    }
}
