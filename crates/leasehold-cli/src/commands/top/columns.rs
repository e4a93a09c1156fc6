//! Locks as rows of text, and the columns that fit a screen.

use super::model::Row;
use super::past::Rate;
use super::view::Look;
use crate::commands::view;
use crate::say::{humane, plain};
use leasehold::PartyState;
use ratatui::text::Span;

/// How many waiters of a lock some stores tell at most.
const MOST_WAITERS: usize = 1000;

/// A row as texts.
pub struct Cells {
    /// By field.
    texts: [String; FIELDS],
    /// How the row looks.
    pub look: Look,
}

/// How many fields a row has.
const FIELDS: usize = 9;

/// What is known of a lock, in the order of its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Name,
    Who,
    Held,
    Left,
    Wait,
    HandOffs,
    RanOut,
    Claim,
    Token,
}

/// A column that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// What stands in it.
    pub field: Field,
    /// Above it.
    pub title: &'static str,
    /// In cells of the terminal.
    pub width: u16,
}

/// The columns of a fixed width, the most important first.
const FIXED: [Column; 7] = [
    Column { field: Field::Wait, title: "WAIT", width: 5 },
    Column { field: Field::Held, title: "HELD", width: 7 },
    Column { field: Field::Left, title: "LEFT", width: 9 },
    Column { field: Field::HandOffs, title: "HAND-OFF/S", width: 10 },
    Column { field: Field::Token, title: "TOKEN", width: 16 },
    Column { field: Field::RanOut, title: "RAN OUT", width: 7 },
    Column { field: Field::Claim, title: "CLAIM", width: 9 },
];

/// The least that a name has.
const NAME_MIN: u16 = 14;

/// The least that a holder has, on a narrow screen and on one that is not.
const WHO_MIN: [u16; 2] = [18, 30];

/// From this width on a screen is not narrow.
const USUAL: u16 = 80;

impl Cells {
    /// Of a row.
    pub fn new(row: &Row) -> Cells {
        let (holders, waiters) = (&row.lock.holders, &row.lock.waiters);
        let holder = holders.first();
        let dash = || String::from("-");
        let more = if holders.len() > 1 { format!(" +{}", holders.len() - 1) } else { String::new() };
        let texts = [
            plain(row.lock.resource.as_str()),
            holder.map_or_else(dash, |holder| view::who(holder) + &more),
            holder.and_then(|holder| holder.since).map_or_else(dash, humane),
            holder.map_or_else(dash, view::short_left),
            count(waiters.len()),
            short_rate(row.hand_offs),
            if row.ran_out == 0 { dash() } else { row.ran_out.to_string() },
            holder.and_then(|holder| holder.claim).map_or_else(dash, |claim| short_claim(&claim.to_string())),
            holder.and_then(|holder| holder.token).map_or_else(dash, |token| token.to_string()),
        ];
        let is_taken = holder.is_some_and(|holder| holder.state == PartyState::Revoked);
        let look = if is_taken || row.ran_out > 0 {
            Look::Bad
        } else if waiters.is_empty() {
            Look::Plain
        } else {
            Look::Note
        };
        Cells { texts, look }
    }

    /// One field's text.
    pub fn of(&self, field: Field) -> &str {
        &self.texts[field as usize]
    }

    fn width(&self, field: Field) -> u16 {
        u16::try_from(Span::raw(self.of(field)).width()).unwrap_or(u16::MAX)
    }
}

/// What fits: the name always, then the holder, then the others in the order of their weight.
pub fn columns(width: u16, cells: &[Cells]) -> Vec<Column> {
    let mut left = width.saturating_sub(NAME_MIN);
    let who_min = WHO_MIN[usize::from(width >= USUAL)];
    let with_who = left > who_min;
    if with_who {
        left -= who_min + 1;
    }
    let mut fixed = Vec::new();
    for column in FIXED {
        if left > column.width {
            left -= column.width + 1;
            fixed.push(column);
        }
    }
    fixed.sort_by_key(|column| column.field as usize);
    let natural = |field| cells.iter().map(|cells| cells.width(field)).max().unwrap_or(0);
    let both = NAME_MIN.min(width) + left + if with_who { who_min } else { 0 };
    let name = match with_who {
        true => natural(Field::Name)
            .clamp(NAME_MIN, (both / 2).max(both.saturating_sub(natural(Field::Who))).clamp(NAME_MIN, both - who_min)),
        false => both,
    };
    let mut columns = vec![Column { field: Field::Name, title: "RESOURCE", width: name }];
    if with_who {
        columns.push(Column { field: Field::Who, title: "HELD BY", width: both - name });
    }
    columns.extend(fixed);
    columns
}

/// A number of waiters.
pub fn count(waiters: usize) -> String {
    // Stores may tell no more than this.
    if waiters == MOST_WAITERS { format!("≥{waiters}") } else { waiters.to_string() }
}

/// A claim's first and last digits: those of its client, and its own.
fn short_claim(claim: &str) -> String {
    format!("{}…{}", &claim[..4], &claim[claim.len() - 4..])
}

/// A number per second, marked if it may be more.
pub fn short_rate(rate: Rate) -> String {
    match rate {
        Rate { per_second: 0.0, .. } => "0".into(),
        Rate { per_second, is_least: false } => format!("{per_second:.1}"),
        Rate { per_second, is_least: true } => format!("≥{per_second:.1}"),
    }
}
