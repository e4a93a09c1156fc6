//! What the keeper does when: a machine without a clock or a system call, so that each rule can be tested by the nanosecond.

use leasehold::Instant;
use std::time::Duration;

/// The spans that decide when a tree is told to end and when it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spans {
    /// Time between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// Time between SIGKILL and the end of the lease, for the kill itself.
    pub reserve: Duration,
}

impl Spans {
    /// The grace when nobody asks for another, clamped to what the ttl allows.
    pub const DEFAULT_GRACE: Duration = Duration::from_secs(5);

    /// The spans of a lease of `ttl` with this grace, which is clamped to [`Spans::most_grace`].
    pub fn of(ttl: Duration, grace: Duration) -> Spans {
        Spans { grace: grace.min(Spans::most_grace(ttl)), reserve: (ttl / 10).max(Duration::from_millis(50)) }
    }

    /// The longest grace: more, and a healthy run would be told to end between two renewals.
    pub fn most_grace(ttl: Duration) -> Duration {
        ttl / 3
    }
}

/// What to do with the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Ask all of it to end: SIGTERM.
    Term,
    /// Kill all of it until nothing is left.
    Kill,
}

/// The state of one guarded tree.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    spans: Spans,
    /// False for `--on-lost warn`: loss then never touches the tree.
    kills: bool,
    deadline: Instant,
    stage: Stage,
    main_ended: bool,
    hung_up: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The lease is in force.
    Watching,
    /// SIGTERM is out; SIGKILL follows at `until`, or earlier if the lease ends earlier.
    Ending { until: Instant, lost: bool },
    /// SIGKILL is out.
    Killing { lost: bool },
}

impl Rule {
    /// A tree that runs under a lease until `deadline`.
    pub fn new(spans: Spans, kills: bool, deadline: Instant) -> Rule {
        Rule { spans, kills, deadline, stage: Stage::Watching, main_ended: false, hung_up: false }
    }

    /// The lease was renewed. Once the lease counts as lost this changes nothing: the tree was told to end.
    pub fn renewed(&mut self, deadline: Instant) {
        if !self.was_lost() {
            self.deadline = self.deadline.max(deadline);
        }
    }

    /// The lease is gone at the store.
    pub fn lost(&mut self, now: Instant) -> Option<Act> {
        if !self.kills {
            return None;
        }
        match self.stage {
            Stage::Watching => self.end(now, now + self.spans.grace, true),
            // The command itself ended under the lease; only what it left behind is still to end, now without delay.
            Stage::Ending { until, lost } => {
                self.stage = Stage::Ending { until: until.min(now + self.spans.grace), lost };
                self.tick(now)
            }
            Stage::Killing { .. } => None,
        }
    }

    /// Nobody will tell of renewals any more.
    pub fn hung_up(&mut self, now: Instant) -> Option<Act> {
        self.hung_up = true;
        self.lost(now)
    }

    /// The command itself ended; its descendants may still run.
    pub fn main_ended(&mut self) {
        self.main_ended = true;
    }

    /// The run is over: what the command left behind is to end.
    pub fn sweep(&mut self, now: Instant) -> Option<Act> {
        if self.stage != Stage::Watching {
            return None;
        }
        self.end(now, now + self.spans.grace, false)
    }

    /// Time passed.
    pub fn tick(&mut self, now: Instant) -> Option<Act> {
        match self.stage {
            Stage::Watching if self.kills && now >= self.term_at() => self.end(now, Instant::FAR, true),
            Stage::Ending { until, lost } if now >= until.min(self.kill_at()) => {
                self.stage = Stage::Killing { lost };
                Some(Act::Kill)
            }
            _ => None,
        }
    }

    /// When `tick` is due; [`Instant::FAR`] for never.
    pub fn wake(&self) -> Instant {
        match self.stage {
            Stage::Watching if self.kills => self.term_at(),
            Stage::Ending { until, .. } => until.min(self.kill_at()),
            _ => Instant::FAR,
        }
    }

    /// True once the tree was told to end because the lease was lost, or about to be.
    pub fn was_lost(&self) -> bool {
        matches!(self.stage, Stage::Ending { lost: true, .. } | Stage::Killing { lost: true })
    }

    /// True while the tree is being killed.
    pub fn is_killing(&self) -> bool {
        matches!(self.stage, Stage::Killing { .. })
    }

    /// True while the lease is in force and nobody asked the tree to end.
    pub fn is_watching(&self) -> bool {
        self.stage == Stage::Watching
    }

    /// True once nobody tells of renewals any more.
    pub fn is_hung_up(&self) -> bool {
        self.hung_up
    }

    /// True once the lease is over by the clock.
    pub fn is_past_deadline(&self, now: Instant) -> bool {
        now >= self.deadline
    }

    /// True if nothing is left to do, given whether any process of the tree is left.
    pub fn is_over(&self, tree_is_empty: bool) -> bool {
        // With `--on-lost warn` and nobody to report to, the keeper ends with the command.
        self.main_ended && (tree_is_empty || (self.hung_up && !self.kills))
    }

    fn end(&mut self, now: Instant, until: Instant, lost: bool) -> Option<Act> {
        if now >= until.min(self.kill_at()) {
            self.stage = Stage::Killing { lost };
            return Some(Act::Kill);
        }
        self.stage = Stage::Ending { until, lost };
        Some(Act::Term)
    }

    fn term_at(&self) -> Instant {
        self.kill_at().before(self.spans.grace)
    }

    // Nothing of the tree may run when the lease ends: the kill starts a reserve earlier, whatever grace is left.
    fn kill_at(&self) -> Instant {
        self.deadline.before(self.spans.reserve)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(30);

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(1_000_000_000_000) + Duration::from_millis(ms)
    }

    /// ttl 30 s: reserve 3 s, grace 5 s, deadline at 30 s; so TERM at 22 s, KILL at 27 s.
    fn rule() -> Rule {
        Rule::new(Spans::of(TTL, Spans::DEFAULT_GRACE), true, at(30_000))
    }

    #[test]
    fn grace_is_at_most_a_third_of_the_ttl_and_the_reserve_never_below_50_ms() {
        let spans = Spans::of(Duration::from_secs(3), Spans::DEFAULT_GRACE);
        assert_eq!(spans, Spans { grace: Duration::from_secs(1), reserve: Duration::from_millis(300) });
        assert_eq!(Spans::of(Duration::from_millis(400), Duration::ZERO).reserve, Duration::from_millis(50));
    }

    #[test]
    fn an_unrenewed_lease_is_termed_before_and_killed_before_its_end() {
        let mut rule = rule();
        assert_eq!(rule.wake(), at(22_000));
        assert_eq!(rule.tick(at(21_999)), None);
        assert_eq!(rule.tick(at(22_000)), Some(Act::Term));
        assert!(rule.was_lost());
        assert_eq!(rule.wake(), at(27_000));
        assert_eq!(rule.tick(at(26_999)), None);
        assert_eq!(rule.tick(at(27_000)), Some(Act::Kill));
        assert!(rule.is_killing());
        assert_eq!(rule.wake(), Instant::FAR);
    }

    #[test]
    fn a_renewal_moves_both_and_never_back() {
        let mut rule = rule();
        rule.renewed(at(40_000));
        rule.renewed(at(35_000));
        assert_eq!(rule.wake(), at(32_000));
        assert_eq!(rule.tick(at(31_999)), None);
        assert!(!rule.was_lost());
    }

    #[test]
    fn a_renewal_after_term_saves_nobody() {
        let mut rule = rule();
        rule.tick(at(22_000));
        rule.renewed(at(60_000));
        assert_eq!(rule.wake(), at(27_000));
        assert_eq!(rule.tick(at(27_000)), Some(Act::Kill));
    }

    #[test]
    fn loss_by_state_terms_at_once_and_kills_after_the_grace() {
        let mut rule = rule();
        assert_eq!(rule.lost(at(1_000)), Some(Act::Term));
        assert_eq!(rule.wake(), at(6_000));
        assert_eq!(rule.lost(at(2_000)), None);
        assert_eq!(rule.wake(), at(6_000));
        assert_eq!(rule.tick(at(6_000)), Some(Act::Kill));
    }

    #[test]
    fn the_kill_never_waits_for_a_grace_beyond_the_lease() {
        let mut rule = rule();
        assert_eq!(rule.lost(at(21_000)), Some(Act::Term));
        assert_eq!(rule.wake(), at(26_000));
        let mut later = self::rule();
        assert_eq!(later.lost(at(21_900)), Some(Act::Term));
        assert_eq!(later.wake(), at(26_900));
        let mut late = self::rule();
        late.tick(at(22_500));
        assert_eq!(late.hung_up(at(23_000)), None);
        assert_eq!(late.wake(), at(27_000));
    }

    #[test]
    fn a_tick_that_comes_too_late_for_term_kills() {
        let mut rule = rule();
        assert_eq!(rule.tick(at(28_000)), Some(Act::Kill));
        assert!(rule.was_lost());
    }

    #[test]
    fn the_end_of_the_pipe_is_a_loss() {
        let mut rule = rule();
        assert_eq!(rule.hung_up(at(1_000)), Some(Act::Term));
        assert!(rule.was_lost());
    }

    #[test]
    fn warn_never_touches_the_tree_of_a_running_command() {
        let mut rule = Rule::new(Spans::of(TTL, Spans::DEFAULT_GRACE), false, at(30_000));
        assert_eq!(rule.wake(), Instant::FAR);
        assert_eq!(rule.tick(at(31_000)), None);
        assert_eq!(rule.lost(at(31_000)), None);
        assert_eq!(rule.hung_up(at(31_000)), None);
        assert!(!rule.is_over(false));
        rule.main_ended();
        assert!(rule.is_over(false));
    }

    #[test]
    fn a_sweep_is_no_loss_and_is_bounded_by_grace_and_lease() {
        let mut rule = rule();
        rule.main_ended();
        assert!(!rule.is_over(false));
        assert!(rule.is_over(true));
        assert_eq!(rule.sweep(at(20_000)), Some(Act::Term));
        assert_eq!(rule.wake(), at(25_000));
        assert_eq!(rule.sweep(at(20_001)), None);
        assert_eq!(rule.lost(at(20_001)), None);
        assert!(!rule.was_lost());
        assert_eq!(rule.tick(at(25_000)), Some(Act::Kill));
        assert!(!rule.was_lost());
    }

    #[test]
    fn a_sweep_near_the_end_of_the_lease_kills_in_time() {
        let mut rule = rule();
        rule.main_ended();
        rule.sweep(at(21_999));
        rule.renewed(at(20_000));
        assert_eq!(rule.wake(), at(26_999));
        assert_eq!(rule.sweep(at(26_999)), None);
        let mut last = Rule::new(Spans::of(TTL, Spans::DEFAULT_GRACE), true, at(4_000));
        last.main_ended();
        assert_eq!(last.sweep(at(1_000)), Some(Act::Kill));
    }
}
