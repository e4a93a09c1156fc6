//! Tables, for the terminal and for the documents alike.

use crate::contenders::Kind;
use crate::groups::Figure;
use crate::sections::Section;
use crate::stats::{Spread, percentile, spread};
use crate::suite::Measured;

/// A table in Markdown whose columns line up.
pub fn render(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(|column| width(column).max(3)).collect();
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        let cells = widths.iter().enumerate().map(|(column, width)| {
            let cell = row.get(column).map_or("", String::as_str);
            let pad = " ".repeat(width - cell.chars().count());
            if column == 0 { format!("{cell}{pad}") } else { format!("{pad}{cell}") }
        });
        text += &format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "));
        if at == 0 {
            let rules = widths.iter().enumerate().map(|(column, width)| match column {
                0 => "-".repeat(*width),
                _ => format!("{}:", "-".repeat(width - 1)),
            });
            text += &format!("| {} |\n", rules.collect::<Vec<_>>().join(" | "));
        }
    }
    text
}

/// `1.23 (0.98–1.40)`
pub fn ratio(values: &[f64]) -> String {
    match spread(values) {
        Some(Spread { median, least, most }) => format!("{median:.2} ({least:.2}–{most:.2})"),
        None => "–".into(),
    }
}

/// The median of `values`, with as many digits as it is worth.
pub fn median(values: &[f64]) -> String {
    spread(values).map_or("–".into(), |spread| short(spread.median))
}

/// Three digits, thousands apart.
pub fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1_000.0 => {
            let digits = format!("{value:.0}");
            let head = digits.len() % 3;
            let groups = digits.as_bytes()[head..].chunks(3).map(|group| String::from_utf8_lossy(group).into_owned());
            let head = Some(digits[..head].to_owned()).filter(|head| !head.is_empty());
            head.into_iter().chain(groups).collect::<Vec<_>>().join(" ")
        }
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Nanoseconds as a time.
pub fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if !ns.is_finite() => "–".into(),
        ns if ns < 1e6 => format!("{} µs", short(ns / 1e3)),
        ns if ns < 1e9 => format!("{} ms", short(ns / 1e6)),
        ns => format!("{} s", short(ns / 1e9)),
    }
}

/// The name of a group and its table.
pub fn group(measured: &Measured) -> String {
    let group = &measured.group;
    let mut header = vec!["contender".to_owned(), group.figure.name().into(), format!("× {}", group.base())];
    let mut columns =
        vec!["wait p50", "p99", "max", "client CPU s/10k", "server CPU s/10k", "requests/cycle", "server reads/cycle"];
    if group.shape.one_key {
        columns.extend(["Jain", "starved"]);
    }
    if group.figure == Figure::Gap {
        columns.insert(0, "p99 of it");
    }
    header.extend(columns.into_iter().map(str::to_owned));
    let mut rows = vec![header];
    rows.extend(group.members.iter().map(|kind| row(measured, *kind)));
    format!("\n{}\n{}", group.name, render(&rows))
}

/// The name of a section, what it did, and its table.
pub fn section(section: &Section) -> String {
    format!("\n{}: {}\n{}", section.name, section.about, render(&section.rows))
}

fn row(measured: &Measured, kind: Kind) -> Vec<String> {
    let group = &measured.group;
    let figure = group.figure;
    let values = measured.figures(kind, |outcome| figure.of(outcome));
    let times =
        |part: f64| spread(&measured.figures(kind, |outcome| outcome.wait(part))).map_or("–".into(), |s| time(s.median));
    let main = match figure {
        Figure::Gap => spread(&values).map_or("–".into(), |spread| time(spread.median)),
        _ => median(&values),
    };
    let mut row = vec![kind.name().to_owned(), main];
    row.push(match kind == group.base() {
        true => "1".into(),
        false => ratio(&measured.ratios(kind, group.base(), |outcome| figure.of(outcome))),
    });
    if figure == Figure::Gap {
        row.push(time(percentile(&measured.pooled(kind, |outcome| &outcome.gaps), 0.99) as f64));
    }
    row.extend([times(0.5), times(0.99), times(1.0)]);
    row.push(median(&measured.figures(kind, |outcome| outcome.client_cpu)));
    row.push(median(&measured.figures(kind, |outcome| outcome.server_cpu)));
    row.push(median(&measured.figures(kind, |outcome| outcome.requests)));
    row.push(median(&measured.figures(kind, |outcome| outcome.reads)));
    if group.shape.one_key {
        row.push(median(&measured.figures(kind, |outcome| outcome.jain)));
        row.push(spread(&measured.figures(kind, |outcome| outcome.starved as f64)).map_or("–".into(), |s| time(s.median)));
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_times_a_unit() {
        assert_eq!([12_345.0, 123.4, 12.34, 1.234, 0.0123, 0.0].map(short), ["12 345", "123", "12.3", "1.23", "0.012", "0.00"]);
        assert_eq!(short(123_456.0), "123 456");
        assert_eq!([500.0, 1.5e6, 2e9].map(time), ["0.50 µs", "1.50 ms", "2.00 s"]);
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".to_owned(), "b".into()], vec!["long name".into(), "1".into()]];
        assert_eq!(render(&rows), "| a         |   b |\n| --------- | --: |\n| long name |   1 |\n");
    }
}
