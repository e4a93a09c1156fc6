//! Draws the model: header, rows, pane, keys. Only what fits the screen is made into text.

use super::columns::{Cells, columns, count, short_rate};
use super::model::{Model, Pane};
use crate::args::COLUMNS;
use crate::commands::view;
use crate::say::{humane, plain};
use leasehold::engine::Inspection;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;
use ratatui::widgets::{Clear, Paragraph, Widget, Wrap};
use std::time::Duration;

/// What is shown beside the model.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The store's URL, without a password.
    pub store: String,
    /// The time of day.
    pub clock: String,
    /// Now, on the clock of the looks.
    pub now: Duration,
    /// The time from one look to the next.
    pub every: Duration,
    /// Whether colours are wanted.
    pub colours: bool,
}

/// Draws all.
pub fn draw(buffer: &mut Buffer, model: &mut Model, scene: &Scene) {
    let area = buffer.area;
    if area.is_empty() {
        return;
    }
    let styles = Styles { colours: scene.colours };
    let heads = header(model, scene, area.height);
    let keys = footer(model, area);
    let mut rest = area;
    for (text, style) in &heads {
        put(buffer, take_top(&mut rest, 1), text, styles.of(*style));
    }
    for (text, line) in keys.iter().rev().map(|text| (text, take_bottom(&mut rest, 1))) {
        put(buffer, line, text, styles.of(Look::Keys));
    }
    match model.pane.clone() {
        Pane::None => rows(buffer, rest, model, styles),
        Pane::Help => pane(buffer, rest, &help(), &mut model.scroll),
        Pane::Lock(seen) => {
            let height = if rest.height >= 12 { rest.height / 2 } else { rest.height };
            let below = take_bottom(&mut rest, height);
            rows(buffer, rest, model, styles);
            lock_pane(buffer, below, &seen, (&mut model.scroll, styles));
        }
    }
}

/// What a text is, for its style.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Look {
    Plain,
    Title,
    Columns,
    Keys,
    Note,
    Bad,
    Selected,
    Old,
}

#[derive(Clone, Copy)]
struct Styles {
    colours: bool,
}

impl Styles {
    fn of(self, look: Look) -> Style {
        let colour = |style: Style, colour| if self.colours { style.fg(colour) } else { style };
        let style = Style::new();
        match look {
            Look::Plain => style,
            Look::Title => style.add_modifier(Modifier::BOLD),
            Look::Columns => style.add_modifier(Modifier::BOLD | Modifier::UNDERLINED),
            Look::Keys => colour(style, Color::Cyan),
            Look::Note => colour(style, Color::Yellow),
            Look::Bad => colour(style.add_modifier(Modifier::BOLD), Color::Red),
            Look::Selected => style.add_modifier(Modifier::REVERSED),
            Look::Old => style.add_modifier(Modifier::DIM),
        }
    }
}

fn take_top(rest: &mut Rect, lines: u16) -> Rect {
    let lines = lines.min(rest.height);
    let top = Rect { height: lines, ..*rest };
    *rest = Rect { y: rest.y + lines, height: rest.height - lines, ..*rest };
    top
}

fn take_bottom(rest: &mut Rect, lines: u16) -> Rect {
    let lines = lines.min(rest.height);
    rest.height -= lines;
    Rect { y: rest.y + rest.height, height: lines, ..*rest }
}

/// The first lines: on a low screen only the most important.
fn header(model: &Model, scene: &Scene, height: u16) -> Vec<(String, Look)> {
    let title = (format!("leasehold top  {}  {}", scene.clock, plain(&scene.store)), Look::Title);
    let counts = (counts(model), Look::Plain);
    let (status, is_urgent) = status(model, scene);
    match height {
        10.. => vec![title, counts, status],
        7..10 => vec![title, if is_urgent { status } else { counts }],
        _ => vec![if is_urgent { status } else { counts }],
    }
}

fn counts(model: &Model) -> String {
    let Some((when, round_trip)) = model.health.last else { return "nothing was seen yet".into() };
    let (held, waiting) = model.totals();
    let (rate, ran_out) = model.past_of_all();
    let mut text = format!("{held} held · {waiting} waiting · {} hand-offs/s", short_rate(rate));
    if ran_out > 0 {
        text += &format!(" · {ran_out} ran out");
    }
    text + &format!(" · round trip {} · look {}", fine(round_trip), fine(when.told - when.asked))
}

/// The line on how it goes, and whether it matters more than the counts.
fn status(model: &Model, scene: &Scene) -> ((String, Look), bool) {
    let age = |at: Duration| humane(scene.now.saturating_sub(at));
    let seen = model.health.last.map(|(when, _)| when.told);
    if let Some((since, why)) = &model.health.down {
        let old = seen.map_or(String::new(), |at| format!(" — shown is what was seen {} ago", age(at)));
        return ((format!("store down since {}: {}{old}", age(*since), plain(why)), Look::Bad), true);
    }
    let Some(at) = seen else { return (("asking the store for the first time …".into(), Look::Note), true) };
    if model.is_paused {
        return ((format!("paused — shown is what was seen {} ago; p goes on", age(at)), Look::Note), true);
    }
    let took = model.health.last.map_or(Duration::ZERO, |(when, _)| when.told - when.asked);
    // The looker leaves the store ten times longer alone than a look took.
    if scene.now.saturating_sub(at) > scene.every.max(took * 10) * 2 + Duration::from_secs(2) {
        return ((format!("the store takes its time — shown is what was seen {} ago", age(at)), Look::Note), true);
    }
    let order = if model.reverse { ", reversed" } else { "" };
    let mut text = format!("sorted by {}{order}", model.sort.name());
    if !model.filter.is_empty() {
        text += &format!(" · {} match {:?}", model.count(), model.filter);
    }
    ((text, Look::Plain), false)
}

/// The last lines: the keys that do something now.
fn footer(model: &Model, area: Rect) -> Vec<String> {
    if model.is_typing {
        return vec![format!(
            "/{}▏ Enter keeps · Esc clears",
            tail(&plain(&model.filter), usize::from(area.width).saturating_sub(28).max(4))
        )];
    }
    let pause = if model.is_paused { "p go on" } else { "p pause" };
    let words: Vec<&str> = match model.pane {
        Pane::None => {
            vec![
                "q quit",
                "? help",
                "↑↓ select",
                "/ filter",
                "s sort",
                "r reverse",
                "⏎ inspect",
                pause,
                "PgUp PgDn page",
                "Esc back",
            ]
        }
        _ => vec!["Esc close", "q quit", "↑↓ scroll", pause, "PgUp PgDn page"],
    };
    let mut lines = vec![String::new()];
    for word in words {
        let line = lines.last_mut().expect("there is a line from the start");
        let gap = if line.is_empty() { "" } else { " · " };
        if Span::raw(line.as_str()).width() + Span::raw(gap).width() + Span::raw(word).width() <= usize::from(area.width) {
            *line += gap;
            *line += word;
        } else {
            lines.push(word.into());
        }
    }
    // A low screen has better use for its lines.
    lines.truncate(usize::from(area.height / 6).max(1));
    lines
}

fn rows(buffer: &mut Buffer, mut area: Rect, model: &mut Model, styles: Styles) {
    let is_old = model.health.down.is_some();
    let is_empty = model.health.last.is_some() && model.count() == 0;
    let nothing = if model.filter.is_empty() { "no lock is held or waited for" } else { "no lock matches the filter" };
    // Two lines show more as two locks than as a heading and one.
    let heading = if area.height > 2 { take_top(&mut area, 1) } else { Rect::ZERO };
    let (visible, selected) = model.visible(usize::from(area.height));
    let cells: Vec<Cells> = visible.iter().map(|row| Cells::new(row)).collect();
    let columns = columns(area.width, &cells);
    if !heading.is_empty() {
        let titles: Vec<(u16, &str)> = columns.iter().map(|column| (column.width, column.title)).collect();
        line(buffer, heading, &titles, styles.of(Look::Columns));
    }
    if is_empty {
        put(buffer, Rect { height: area.height.min(1), ..area }, nothing, styles.of(Look::Plain));
    }
    for (at, cells) in cells.iter().enumerate() {
        let here = Rect { y: area.y + at as u16, height: 1, ..area };
        let base = if is_old { Look::Old } else { cells.look };
        let style = styles.of(base).patch(if at == selected { styles.of(Look::Selected) } else { Style::new() });
        let texts: Vec<(u16, &str)> = columns.iter().map(|column| (column.width, cells.of(column.field))).collect();
        line(buffer, here, &texts, style);
    }
}

fn line(buffer: &mut Buffer, area: Rect, cells: &[(u16, &str)], style: Style) {
    buffer.set_style(area, style);
    let mut x = area.x;
    for &(width, text) in cells {
        put(buffer, Rect { x, width: width.min(area.right() - x), ..area }, text, style);
        x = x.saturating_add(width + 1).min(area.right());
    }
}

/// Puts one line; what does not fit ends in `…`.
fn put(buffer: &mut Buffer, area: Rect, text: &str, style: Style) {
    if area.is_empty() {
        return;
    }
    let width = usize::from(area.width);
    // A name may be longer than the screen, and its width is measured over all of it.
    if Span::raw(text).width() <= width {
        buffer.set_stringn(area.x, area.y, text, width, style);
    } else {
        let (x, y) = buffer.set_stringn(area.x, area.y, text, width - 1, style);
        buffer.set_stringn(x, y, "…", 1, style);
    }
}

fn lock_pane(buffer: &mut Buffer, mut area: Rect, seen: &Inspection, (scroll, styles): (&mut usize, Styles)) {
    let title =
        format!("{} — {} held, {} waiting ", plain(seen.resource.as_str()), seen.holders.len(), count(seen.waiters.len()));
    let head = take_top(&mut area, 1);
    buffer.set_style(head, styles.of(Look::Title));
    put(buffer, head, &title, styles.of(Look::Columns));
    pane(buffer, area, &view::inspect(seen), scroll);
}

fn pane(buffer: &mut Buffer, area: Rect, text: &str, scroll: &mut usize) {
    if area.is_empty() {
        return;
    }
    let width = usize::from(area.width);
    let lines: usize = text.lines().map(|line| Span::raw(line).width().div_ceil(width).max(1)).sum();
    *scroll = (*scroll).min(lines.saturating_sub(usize::from(area.height.min(3))));
    Clear.render(area, buffer);
    let from = u16::try_from(*scroll).unwrap_or(u16::MAX);
    Paragraph::new(text).wrap(Wrap { trim: false }).scroll((from, 0)).render(area, buffer);
}

fn help() -> String {
    format!(
        "Nothing here changes a lock.\n\n\
         q            quit, as Ctrl-C does, and Esc where there is nothing to go back from\n\
         ↑ ↓ k j      select a lock; also PgUp, PgDn, Home, End\n\
         /            show only what has a text in its name or holder, or a name that matches a pattern with * and ?\n\
         s r          sort by name, age, waiters or hand-offs; the other way round\n\
         Enter        inspect the selected lock: who holds it, who waits, first in line first\n\
         p            pause: the store is not asked meanwhile\n\
         Ctrl-L       draw everything anew\n\
         Ctrl-Z       stop, until the shell's `fg`\n\n{COLUMNS}\n\n\
         round trip   of one small question; look: how long the whole list took\n"
    )
}

/// A time that is short, to a tenth of a millisecond.
fn fine(span: Duration) -> String {
    if span < Duration::from_millis(10) { format!("{:.1}ms", span.as_secs_f64() * 1000.0) } else { humane(span) }
}

/// The last characters of a text.
fn tail(text: &str, width: usize) -> String {
    let skip = text.chars().count().saturating_sub(width);
    text.chars().skip(skip).collect()
}

#[cfg(test)]
mod tests {
    use super::super::model;
    use super::super::past::When;
    use super::*;
    use leasehold::{About, ClaimId, Party, ResourceName, Token};
    use ratatui::crossterm::event::{KeyCode, KeyEvent};

    fn lock(name: &str, waiters: usize) -> Inspection {
        let mut lock = Inspection::free(ResourceName::new(name).unwrap());
        let mut party = Party::default();
        party.claim = Some(ClaimId::new(0xabcd << 48, 0x1234));
        party.token = Token::new(0, 1_764_000_000_000_042);
        party.since = Some(Duration::from_secs(75));
        party.lease_left = Some(Duration::from_secs(20));
        party.about = Some(About { host: "h\u{1b}[31m".into(), pid: 7, program: "p".into(), label: Some("l\n".into()) });
        lock.holders.push(party.clone());
        lock.waiters = vec![party; waiters];
        lock
    }

    fn model(all: Vec<Inspection>) -> Model {
        let mut model = Model::new(Duration::from_secs(1));
        model.absorb(model::Look { when: When::default(), round_trip: Duration::from_micros(250), all });
        model
    }

    fn scene() -> Scene {
        let (store, clock) = ("redis://h:1/0".into(), "12:00:00 UTC".into());
        Scene { store, clock, now: Duration::from_secs(1), every: Duration::from_secs(1), colours: true }
    }

    fn drawn(model: &mut Model, (width, height): (u16, u16), scene: &Scene) -> Buffer {
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        draw(&mut buffer, model, scene);
        buffer
    }

    fn text(buffer: &Buffer) -> Vec<String> {
        let width = usize::from(buffer.area.width);
        let lines = buffer.content().chunks(width).map(|cells| cells.iter().map(|cell| cell.symbol()).collect::<String>());
        lines.map(|line| line.trim_end().to_string()).collect()
    }

    #[test]
    fn a_wide_screen_shows_all_columns() {
        let lines = text(&drawn(&mut model(vec![lock("order:1", 2)]), (150, 12), &scene()));
        assert_eq!(lines[0], "leasehold top  12:00:00 UTC  redis://h:1/0");
        assert_eq!(lines[1], "1 held · 2 waiting · 0 hand-offs/s · round trip 0.2ms · look 0.0ms");
        assert_eq!(lines[2], "sorted by name");
        let words = |line: &str| line.split_whitespace().map(str::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(words(&lines[3]), "RESOURCE HELD BY HELD LEFT WAIT HAND-OFF/S RAN OUT CLAIM TOKEN");
        assert_eq!(words(&lines[4]), r#"order:1 p pid 7 on h\u{1b}[31m "l\n" 1m 15s 20s 2 0 - abcd…1234 1764000000000042"#);
        assert!(lines[10].starts_with("q quit · ? help · ↑↓ select · / filter") || lines[11].starts_with("q quit"), "{lines:?}");
    }

    #[test]
    fn every_size_is_drawn_in_every_mode() {
        let names = ["a", &"鎖".repeat(100), "é\u{301}\u{200d}👩‍👩‍👧:\u{202e}x", &"x".repeat(512)];
        let locks = || names.iter().map(|name| lock(name, 3)).collect::<Vec<_>>();
        for width in (0..45).chain([80, 81, 120, 200, 512]) {
            for height in [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 14, 24, 60] {
                for keys in ["", "/鎖", "?", "\nj", "j"] {
                    let mut model = model(locks());
                    for key in keys.chars() {
                        let _ = model.press(KeyEvent::from(if key == '\n' { KeyCode::Enter } else { KeyCode::Char(key) }));
                    }
                    let _ = drawn(&mut model, (width, height), &scene());
                    model.fail(Duration::ZERO, "refused\u{1b}c".into());
                    let _ = drawn(&mut model, (width, height), &scene());
                }
            }
        }
    }

    #[test]
    fn nothing_that_a_stranger_wrote_is_a_control_character_on_the_screen() {
        let mut model = model(vec![lock("a\u{202e}b", 1)]);
        let _ = model.press(KeyEvent::from(KeyCode::Enter));
        let buffer = drawn(&mut model, (120, 30), &scene());
        let is_odd = |c: char| c.is_control() || c == '\u{202e}';
        assert!(!buffer.content().iter().any(|cell| cell.symbol().contains(is_odd)));
        let all = text(&buffer).join("\n");
        assert!(all.contains(r"a\u{202e}b") && all.contains(r"h\u{1b}[31m"), "{all}");
    }

    #[test]
    fn a_store_that_is_down_is_told_in_red_and_without_colours_in_bold() {
        let mut model = model(vec![lock("a", 0)]);
        model.fail(Duration::from_millis(500), "connection refused".into());
        for (size, line) in [((80, 24), 2), ((80, 8), 1), ((80, 5), 0)] {
            let scene = Scene { now: Duration::from_secs(13), ..scene() };
            let buffer = drawn(&mut model, size, &scene);
            let expected = "store down since 12s: connection refused — shown is what was seen 13s ago";
            assert_eq!(text(&buffer)[line as usize], expected);
            assert_eq!(buffer[(0, line)].fg, Color::Red);
            let plain = drawn(&mut model, size, &Scene { colours: false, ..scene });
            assert!(plain.content().iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
            assert!(plain[(0, line)].modifier.contains(Modifier::BOLD));
        }
    }

    #[test]
    fn the_inspected_lock_shows_all_who_wait() {
        let mut model = model(vec![lock("a", 3)]);
        let _ = model.press(KeyEvent::from(KeyCode::Enter));
        let all = text(&drawn(&mut model, (140, 24), &scene())).join("\n");
        assert!(all.contains("a — 1 held, 3 waiting"), "{all}");
        assert_eq!((all.matches("holds  p pid 7").count(), all.matches("waits  p pid 7").count()), (1, 3), "{all}");
    }

    #[test]
    fn a_rate_that_may_be_higher_is_marked() {
        let mut model = Model::new(Duration::from_secs(1));
        for at in 0..4 {
            let mut all = vec![lock("a", 0)];
            all[0].holders[0].claim = Some(ClaimId::new(1, at));
            let at = Duration::from_secs(at);
            model.absorb(model::Look { when: When { asked: at, told: at }, round_trip: Duration::ZERO, all });
        }
        let lines = text(&drawn(&mut model, (120, 24), &scene()));
        assert!(lines[1].contains(" · ≥1.0 hand-offs/s"), "{lines:?}");
        assert!(lines.iter().any(|line| line.starts_with("a ") && line.contains(" ≥1.0 ")), "{lines:?}");
    }

    #[test]
    fn keys_stand_on_the_last_line_whatever_the_size() {
        for size in [(20, 5), (80, 24), (200, 60)] {
            let lines = text(&drawn(&mut model(vec![lock("a", 0)]), size, &scene()));
            assert!(lines.iter().rev().take(4).any(|line| line.starts_with("q quit")), "{lines:?}");
        }
    }

    #[test]
    fn ten_thousand_locks_cost_no_more_text_than_the_screen_shows() {
        let mut model = model((0..10_000).map(|at| lock(&format!("l{at}"), 0)).collect());
        assert_eq!(model.visible(20).0.len(), 20);
        let lines = text(&drawn(&mut model, (100, 24), &scene()));
        assert!(lines[1].starts_with("10000 held"), "{lines:?}");
    }
}
