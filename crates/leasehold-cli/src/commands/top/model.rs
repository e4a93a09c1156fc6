//! What is shown and what the keys do to it: rows, filter, sort, selection. Pure: knows neither a terminal nor a store.

use super::past::{Past, Rate, When};
use crate::commands::list::matches;
use crate::commands::view;
use leasehold::engine::Inspection;
use leasehold::{Party, ResourceName};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::cmp::Ordering;
use std::ops::Range;
use std::time::Duration;

/// The longest filter, in characters.
const FILTER_MAX: usize = 200;

/// One look at the store that succeeded.
#[derive(Debug)]
pub struct Look {
    /// When it was.
    pub when: When,
    /// How long the store took to answer one small question.
    pub round_trip: Duration,
    /// What it showed.
    pub all: Vec<Inspection>,
}

/// A lock.
#[derive(Debug)]
pub struct Row {
    /// As it was seen.
    pub lock: Inspection,
    /// Changes of its holder or token that were seen per second.
    pub hand_offs: Rate,
    /// How often its lease is believed to have run out.
    pub ran_out: u32,
}

/// What rows are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// The name, from the first to the last.
    Name,
    /// How long it is held, the longest first.
    Age,
    /// How many wait, the most first.
    Waiters,
    /// How often it changes hands, the most first.
    HandOffs,
}

/// What lies over or beside the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pane {
    /// Nothing.
    None,
    /// The help.
    Help,
    /// One lock, as it was last seen; it stays when the lock is free.
    Lock(Inspection),
}

/// What a key asks of others than the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing.
    Stay,
    /// To end.
    Quit,
    /// To stop, as a job of a shell.
    Suspend,
    /// To draw everything anew.
    Repaint,
    /// To look no more, or again.
    Pause(bool),
}

/// How the store does.
#[derive(Debug, Default)]
pub struct Health {
    /// The last look that succeeded, and its round trip.
    pub last: Option<(When, Duration)>,
    /// Since when looks do not succeed, and why.
    pub down: Option<(Duration, String)>,
}

/// Everything that is shown.
#[derive(Debug)]
pub struct Model {
    rows: Vec<Row>,
    shown: Vec<usize>,
    past: Past,
    chosen: Option<ResourceName>,
    cursor: usize,
    offset: usize,
    /// How many rows fit the screen.
    page: usize,
    /// How the store does.
    pub health: Health,
    /// What rows are sorted by.
    pub sort: Sort,
    /// True if they are sorted the other way round.
    pub reverse: bool,
    /// What rows must match; empty if nothing.
    pub filter: String,
    /// True while the filter is typed.
    pub is_typing: bool,
    /// True if nobody looks.
    pub is_paused: bool,
    /// What lies over or beside the rows.
    pub pane: Pane,
    /// The pane's first line that is shown.
    pub scroll: usize,
}

impl Model {
    /// Nothing yet, for looks that are this far apart.
    pub fn new(every: Duration) -> Model {
        Model {
            rows: Vec::new(),
            shown: Vec::new(),
            past: Past::new(every),
            chosen: None,
            cursor: 0,
            offset: 0,
            page: 1,
            health: Health::default(),
            sort: Sort::Name,
            reverse: false,
            filter: String::new(),
            is_typing: false,
            is_paused: false,
            pane: Pane::None,
            scroll: 0,
        }
    }

    /// Takes what a look showed.
    pub fn absorb(&mut self, look: Look) {
        self.past.absorb(look.when, &look.all);
        self.health = Health { last: Some((look.when, look.round_trip)), down: None };
        if let Pane::Lock(seen) = &mut self.pane {
            let free = || Inspection::free(seen.resource.clone());
            *seen = look.all.iter().find(|lock| lock.resource == seen.resource).cloned().unwrap_or_else(free);
        }
        let row = |lock: Inspection| {
            let (hand_offs, ran_out) = self.past.of(&lock.resource, look.when.told);
            Row { lock, hand_offs, ran_out }
        };
        self.rows = look.all.into_iter().map(row).collect();
        self.arrange();
    }

    /// Takes that a look, begun at `asked`, did not succeed. What was seen before stays.
    pub fn fail(&mut self, asked: Duration, why: String) {
        let since = self.health.down.as_ref().map_or(asked, |(since, _)| *since);
        self.health.down = Some((since, why));
    }

    /// How many locks are held, and how many wait, in all.
    pub fn totals(&self) -> (usize, usize) {
        let held = self.rows.iter().filter(|row| !row.lock.holders.is_empty()).count();
        (held, self.rows.iter().map(|row| row.lock.waiters.len()).sum())
    }

    /// Hand-offs per second and leases run out, over all locks.
    pub fn past_of_all(&self) -> (Rate, u64) {
        self.past.of_all(self.health.last.map_or(Duration::ZERO, |(when, _)| when.told))
    }

    /// How many rows match the filter.
    pub fn count(&self) -> usize {
        self.shown.len()
    }

    /// The rows that fit `height` lines with the selected one among them, and which of them that is.
    pub fn visible(&mut self, height: usize) -> (Vec<&Row>, usize) {
        if height == 0 {
            return (Vec::new(), 0);
        }
        let range = self.fit(height);
        let selected = self.cursor - range.start;
        (self.shown[range].iter().map(|&at| &self.rows[at]).collect(), selected)
    }

    /// Does what a key says.
    pub fn press(&mut self, key: KeyEvent) -> Act {
        if key.kind == KeyEventKind::Release {
            return Act::Stay;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return self.press_control(key.code);
        }
        match (self.is_typing, key.code) {
            (true, code) => self.type_filter(code),
            (false, KeyCode::Char('q')) => return Act::Quit,
            (false, KeyCode::Esc) => return self.escape(),
            (false, KeyCode::Char('p')) => {
                self.is_paused = !self.is_paused;
                return Act::Pause(self.is_paused);
            }
            (false, code) => self.browse(code),
        }
        Act::Stay
    }

    fn press_control(&mut self, code: KeyCode) -> Act {
        match code {
            KeyCode::Char('c') => return Act::Quit,
            KeyCode::Char('z') => return Act::Suspend,
            KeyCode::Char('l') => return Act::Repaint,
            KeyCode::Char('u') if self.is_typing => {
                self.filter.clear();
                self.arrange();
            }
            _ => {}
        }
        Act::Stay
    }

    /// Leaves what was entered last: a pane, the filter, in the end the program.
    fn escape(&mut self) -> Act {
        if self.pane != Pane::None {
            self.pane = Pane::None;
        } else if !self.filter.is_empty() {
            self.filter.clear();
            self.arrange();
        } else {
            return Act::Quit;
        }
        Act::Stay
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(typed) if !typed.is_control() && self.filter.chars().count() < FILTER_MAX => self.filter.push(typed),
            KeyCode::Up | KeyCode::Down | KeyCode::PageUp | KeyCode::PageDown => return self.browse(code),
            _ => return,
        }
        self.arrange();
    }

    fn browse(&mut self, code: KeyCode) {
        let page = isize::try_from(self.page.max(2) - 1).unwrap_or(isize::MAX);
        match code {
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::PageUp => self.step(-page),
            KeyCode::PageDown => self.step(page),
            KeyCode::Home | KeyCode::Char('g') => self.step(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.step(isize::MAX),
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char('s') => self.sort_by(self.sort.next(), false),
            KeyCode::Char('r') => self.sort_by(self.sort, !self.reverse),
            KeyCode::Char('?') if self.pane == Pane::Help => self.pane = Pane::None,
            KeyCode::Char('?') => self.open(Pane::Help),
            KeyCode::Enter if self.pane != Pane::None => self.pane = Pane::None,
            KeyCode::Enter => {
                if let Some(&at) = self.shown.get(self.cursor) {
                    self.open(Pane::Lock(self.rows[at].lock.clone()));
                }
            }
            _ => {}
        }
    }

    fn open(&mut self, pane: Pane) {
        self.pane = pane;
        self.scroll = 0;
    }

    fn sort_by(&mut self, sort: Sort, reverse: bool) {
        (self.sort, self.reverse) = (sort, reverse);
        self.arrange();
    }

    /// Moves the pane if there is one, else the selection, which from then on sticks to its lock.
    fn step(&mut self, by: isize) {
        if self.pane != Pane::None {
            self.scroll = self.scroll.saturating_add_signed(by);
            return;
        }
        self.cursor = self.cursor.saturating_add_signed(by).min(self.shown.len().saturating_sub(1));
        let chosen = self.shown.get(self.cursor).map(|&at| self.rows[at].lock.resource.clone());
        // At the top it is the place that is selected: whatever comes first stays in sight.
        self.chosen = chosen.filter(|_| self.cursor > 0);
    }

    /// Filters and sorts anew; the selection stays with its lock, else with its place.
    fn arrange(&mut self) {
        let wanted = Wanted::new(&self.filter);
        let mut shown: Vec<usize> = (0..self.rows.len()).filter(|&at| wanted.matches(&self.rows[at].lock)).collect();
        shown.sort_by(|&a, &b| {
            let (a, b) = (&self.rows[a], &self.rows[b]);
            let order = self.sort.compare(a, b);
            if self.reverse { order.reverse() } else { order }.then_with(|| a.lock.resource.cmp(&b.lock.resource))
        });
        self.shown = shown;
        let place = match &self.chosen {
            None => 0,
            Some(name) => self.shown.iter().position(|&at| self.rows[at].lock.resource == *name).unwrap_or(self.cursor),
        };
        self.cursor = place.min(self.shown.len().saturating_sub(1));
    }

    fn fit(&mut self, height: usize) -> Range<usize> {
        self.page = height;
        let last = self.shown.len().saturating_sub(height);
        self.offset = self.offset.min(last).min(self.cursor).max((self.cursor + 1).saturating_sub(height));
        self.offset..(self.offset + height).min(self.shown.len()).max(self.offset)
    }
}

impl Sort {
    /// Its name on the screen.
    pub fn name(self) -> &'static str {
        match self {
            Sort::Name => "name",
            Sort::Age => "age",
            Sort::Waiters => "waiters",
            Sort::HandOffs => "hand-offs",
        }
    }

    fn next(self) -> Sort {
        match self {
            Sort::Name => Sort::Age,
            Sort::Age => Sort::Waiters,
            Sort::Waiters => Sort::HandOffs,
            Sort::HandOffs => Sort::Name,
        }
    }

    fn compare(self, a: &Row, b: &Row) -> Ordering {
        let age = |row: &Row| row.lock.holders.iter().filter_map(|holder| holder.since).max();
        match self {
            Sort::Name => a.lock.resource.cmp(&b.lock.resource),
            Sort::Age => age(b).cmp(&age(a)),
            Sort::Waiters => b.lock.waiters.len().cmp(&a.lock.waiters.len()),
            Sort::HandOffs => b.hand_offs.per_second.total_cmp(&a.hand_offs.per_second),
        }
    }
}

/// A filter: with `*` or `?` the pattern of `list`, else a text that stands in the name or in the holder.
struct Wanted<'f> {
    pattern: Option<&'f str>,
    text: String,
}

impl Wanted<'_> {
    fn new(filter: &str) -> Wanted<'_> {
        Wanted { pattern: filter.contains(['*', '?']).then_some(filter), text: filter.to_lowercase() }
    }

    fn matches(&self, lock: &Inspection) -> bool {
        if let Some(pattern) = self.pattern {
            return matches(pattern, lock.resource.as_str());
        }
        let is_in = |text: &str| text.to_lowercase().contains(&self.text);
        let holder = |party: &Party| is_in(&view::who(party));
        self.text.is_empty() || is_in(lock.resource.as_str()) || lock.holders.iter().any(holder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leasehold::{About, ClaimId};

    fn lock(name: &str, age: u64, waiters: usize) -> Inspection {
        let mut holder = Party::default();
        holder.claim = Some(ClaimId::new(1, age));
        holder.since = Some(Duration::from_secs(age));
        holder.about = Some(About { host: "Host-7".into(), pid: 7, program: "p".into(), label: None });
        let mut lock = Inspection::free(ResourceName::new(name).unwrap());
        lock.holders.push(holder);
        lock.waiters = vec![Party::default(); waiters];
        lock
    }

    fn look(seconds: u64, all: Vec<Inspection>) -> Look {
        let at = Duration::from_secs(seconds);
        Look { when: When { asked: at, told: at }, round_trip: Duration::from_millis(1), all }
    }

    fn model() -> Model {
        let mut model = Model::new(Duration::from_secs(1));
        model.absorb(look(0, vec![lock("a:1", 5, 0), lock("a:2", 50, 2), lock("b:1", 7, 1)]));
        model
    }

    fn names(model: &mut Model) -> Vec<String> {
        model.visible(100).0.iter().map(|row| row.lock.resource.to_string()).collect()
    }

    fn selected(model: &mut Model) -> String {
        let (rows, at) = model.visible(100);
        rows[at].lock.resource.to_string()
    }

    fn press(model: &mut Model, keys: &str) {
        for key in keys.chars() {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                '\u{8}' => KeyCode::Backspace,
                key => KeyCode::Char(key),
            };
            assert_eq!(model.press(KeyEvent::from(code)), Act::Stay, "{key:?}");
        }
    }

    #[test]
    fn rows_are_sorted_by_name_age_waiters_and_hand_offs() {
        let mut model = model();
        model.absorb(look(1, vec![lock("a:1", 5, 0), lock("a:2", 50, 2), lock("b:1", 1, 1)]));
        let mut orders = Vec::new();
        for _ in 0..5 {
            orders.push((model.sort.name(), names(&mut model).join(" ")));
            press(&mut model, "s");
        }
        let expected =
            [("name", "a:1 a:2 b:1"), ("age", "a:2 a:1 b:1"), ("waiters", "a:2 b:1 a:1"), ("hand-offs", "b:1 a:1 a:2")];
        assert_eq!(orders[..4], expected.map(|(sort, order)| (sort, order.to_string())));
        assert_eq!(orders[4].0, "name");
        model.sort = Sort::Name;
        press(&mut model, "r");
        assert_eq!(names(&mut model), ["b:1", "a:2", "a:1"]);
    }

    #[test]
    fn the_filter_is_a_text_in_name_or_holder_or_a_pattern_of_the_name() {
        let mut model = model();
        for (filter, expected) in [
            ("A:", vec!["a:1", "a:2"]),
            ("host-7", vec!["a:1", "a:2", "b:1"]),
            ("*:1", vec!["a:1", "b:1"]),
            ("a?2", vec!["a:2"]),
            ("zz", vec![]),
        ] {
            press(&mut model, &format!("/{filter}"));
            assert_eq!(names(&mut model), expected, "{filter}");
            press(&mut model, "\u{1b}");
            assert_eq!(names(&mut model).len(), 3);
        }
        press(&mut model, "/a:2x\u{8}\n");
        assert_eq!((names(&mut model), model.is_typing), (vec!["a:2".to_string()], false));
        press(&mut model, "\u{1b}");
        assert_eq!(model.press(KeyEvent::from(KeyCode::Esc)), Act::Quit);
    }

    #[test]
    fn letters_are_text_while_the_filter_is_typed_and_ctrl_c_still_quits() {
        let mut model = model();
        press(&mut model, "/qsrp?j");
        assert_eq!((model.filter.as_str(), model.is_paused), ("qsrp?j", false));
        assert_eq!(model.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Act::Quit);
    }

    #[test]
    fn the_selection_stays_with_its_lock_and_at_the_top_with_its_place() {
        let mut model = model();
        press(&mut model, "s");
        assert_eq!(selected(&mut model), "a:2");
        press(&mut model, "j");
        assert_eq!(selected(&mut model), "b:1");
        press(&mut model, "ss");
        assert_eq!(selected(&mut model), "b:1");
        press(&mut model, "s");
        assert_eq!((model.sort, selected(&mut model).as_str()), (Sort::Name, "b:1"));
        model.absorb(look(1, vec![lock("a:1", 5, 0)]));
        assert_eq!(selected(&mut model), "a:1");
        model.absorb(look(2, vec![]));
        assert_eq!(model.visible(10).0.len(), 0);
        press(&mut model, "jk\n");
        assert_eq!(model.pane, Pane::None);
    }

    #[test]
    fn the_selected_row_is_always_in_sight() {
        let mut model = Model::new(Duration::from_secs(1));
        model.absorb(look(0, (0..100).map(|at| lock(&format!("l{at:03}"), at, 0)).collect()));
        for (keys, height) in [
            (vec![KeyCode::End], 5),
            (vec![KeyCode::PageUp; 3], 5),
            (vec![], 1),
            (vec![], 50),
            (vec![KeyCode::PageDown], 0),
            (vec![KeyCode::Home], 3),
        ] {
            for key in keys {
                let _ = model.press(KeyEvent::from(key));
            }
            let (rows, at) = model.visible(height);
            assert!(rows.len() <= height && (height == 0 || at < rows.len()), "{height}: {at} of {}", rows.len());
        }
    }

    #[test]
    fn a_pane_shows_its_lock_even_when_that_is_free() {
        let mut model = model();
        press(&mut model, "j\n");
        assert!(matches!(&model.pane, Pane::Lock(seen) if seen.waiters.len() == 2));
        model.absorb(look(1, vec![lock("a:1", 6, 0)]));
        assert_eq!(model.pane, Pane::Lock(Inspection::free(ResourceName::new("a:2").unwrap())));
        press(&mut model, "\u{1b}");
        assert_eq!(model.pane, Pane::None);
    }

    #[test]
    fn the_store_is_down_since_the_first_look_that_did_not_succeed() {
        let mut model = model();
        model.fail(Duration::from_secs(3), "x".into());
        model.fail(Duration::from_secs(4), "y".into());
        assert_eq!(model.health.down, Some((Duration::from_secs(3), "y".into())));
        assert_eq!((names(&mut model).len(), model.totals()), (3, (3, 3)));
        model.absorb(look(5, vec![]));
        assert_eq!(model.health.down, None);
    }

    #[test]
    fn a_pause_is_asked_for_and_ended() {
        let mut model = model();
        assert_eq!(model.press(KeyEvent::from(KeyCode::Char('p'))), Act::Pause(true));
        assert_eq!(model.press(KeyEvent::from(KeyCode::Char('p'))), Act::Pause(false));
    }
}
