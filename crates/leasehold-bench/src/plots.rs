//! The figures as pictures: bars for ratios, lines for the tails of waits.

use crate::Fault;
use crate::contenders::Kind;
use crate::groups::Figure;
use crate::stats::{percentile, spread};
use crate::suite::{Measured, Results};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::Path;

const SIZE: (u32, u32) = (1_000, 520);
const GREY: RGBColor = RGBColor(110, 110, 110);

/// One colour for each contender, in all pictures; all are told apart on white and on black.
fn colour(kind: Kind) -> RGBColor {
    match kind {
        Kind::Ours => RGBColor(0, 114, 178),
        Kind::OursAlone => RGBColor(86, 180, 233),
        Kind::Bare => RGBColor(140, 140, 140),
        Kind::Poll10 => RGBColor(204, 121, 167),
        Kind::Poll1 => RGBColor(170, 68, 153),
        Kind::Rslock => RGBColor(213, 94, 0),
        Kind::Rslock1 => RGBColor(230, 159, 0),
        Kind::Blpop => RGBColor(0, 158, 115),
        Kind::Fifo => RGBColor(120, 190, 120),
        Kind::Observed | Kind::Raw | Kind::Nothing => RGBColor(80, 80, 80),
    }
}

/// Draws everything into `folder`; returns the names of the pictures, each with what it shows.
///
/// # Errors
/// Those of the file system.
pub fn draw(results: &Results, folder: &Path) -> Result<Vec<(String, String)>, Fault> {
    std::fs::create_dir_all(folder)?;
    let of = |figure: Figure| results.groups.iter().filter(move |measured| measured.group.figure == figure).collect::<Vec<_>>();
    let mut drawn = Vec::new();
    for (file, figure, what) in [
        ("uncontended.svg", Figure::Cycles, "Uncontended cycles per second, × bare"),
        ("hand-offs.svg", Figure::HandOffs, "Hand-offs per second of one lock, × the BLPOP floor"),
    ] {
        // What metrics cost is a table: there is nothing to see of a few percent.
        let groups: Vec<_> = of(figure).into_iter().filter(|measured| !measured.group.name.starts_with("observed")).collect();
        if !groups.is_empty() {
            bars(&folder.join(file), what, &groups)?;
            drawn.push((file.to_owned(), what.to_owned()));
        }
    }
    for measured in of(Figure::Gap) {
        let placement = measured.group.shape.placement;
        let (file, what) = (format!("latency-{placement}.svg"), format!("From a release to the next grant, {placement}"));
        tails(&folder.join(&file), &what, measured, |kind| measured.pooled(kind, |outcome| &outcome.gaps))?;
        drawn.push((file, what));
    }
    if let Some(measured) = of(Figure::HandOffs).into_iter().find(|measured| measured.group.shape.processes > 1) {
        let (file, what) = ("waits.svg", "Waits of 4 processes of 16 tasks each for one lock");
        tails(&folder.join(file), what, measured, |kind| measured.pooled(kind, |outcome| &outcome.waits))?;
        drawn.push((file.to_owned(), what.to_owned()));
    }
    Ok(drawn)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn picture<'a>(path: &'a Path, title: &str) -> Result<Area<'a>, Fault> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    Ok(area.titled(title, ("sans-serif", 22))?)
}

/// The names of contenders beside their colours, on the right of `area`.
fn legend(area: &Area<'_>, kinds: &[Kind]) -> Result<(), Fault> {
    for (at, kind) in kinds.iter().enumerate() {
        let y = 20 + 24 * at as i32;
        area.draw(&Rectangle::new([(10, y), (24, y + 14)], colour(*kind).filled()))?;
        area.draw(&Text::new(kind.name(), (32, y), ("sans-serif", 15)))?;
    }
    Ok(())
}

/// Every contender of any of `groups`, in a fixed order.
fn kinds(groups: &[&Measured]) -> Vec<Kind> {
    Kind::ALL.into_iter().filter(|kind| groups.iter().any(|measured| measured.outcomes.contains_key(kind))).collect()
}

/// A cluster of bars for each group: medians, their spread as a line.
fn bars(path: &Path, title: &str, groups: &[&Measured]) -> Result<(), Fault> {
    let area = picture(path, title)?;
    let (left, right) = area.split_horizontally(SIZE.0 - 170);
    let kinds = kinds(groups);
    legend(&right, &kinds)?;
    let figure = groups[0].group.figure;
    // Rates of hand-offs are three powers of ten apart.
    let (least, most) = if figure == Figure::Cycles { (0.1, 5.0) } else { (0.001, 100.0) };
    let mut chart = ChartBuilder::on(&left)
        .margin(10)
        .x_label_area_size(34)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..groups.len() as f64, (least..most).log_scale())?;
    let name = |at: &f64| groups.get(at.floor() as usize).map_or(String::new(), |measured| short_name(&measured.group.name));
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(groups.len() * 2 + 1)
        .x_label_formatter(&|at| if (at.fract() - 0.5).abs() < 0.01 { name(at) } else { String::new() })
        .y_label_formatter(&|ratio| format!("{ratio} ×"))
        .label_style(("sans-serif", 14))
        .draw()?;
    chart.draw_series([PathElement::new([(0.0, 1.0), (groups.len() as f64, 1.0)], GREY.stroke_width(1))])?;
    let width = 0.86 / kinds.len() as f64;
    for (at, measured) in groups.iter().enumerate() {
        for (place, kind) in kinds.iter().enumerate() {
            let ratios = match *kind == measured.group.base() {
                true => vec![1.0],
                false => measured.ratios(*kind, measured.group.base(), |outcome| figure.of(outcome)),
            };
            let Some(seen) = spread(&ratios) else { continue };
            let from = at as f64 + 0.07 + place as f64 * width;
            let clip = |ratio: f64| ratio.clamp(least, most);
            let bar = [(from, least), (from + width * 0.9, clip(seen.median))];
            chart.draw_series([Rectangle::new(bar, colour(*kind).filled())])?;
            let middle = from + width * 0.45;
            chart.draw_series([PathElement::new([(middle, clip(seen.least)), (middle, clip(seen.most))], BLACK)])?;
        }
    }
    area.present()?;
    Ok(())
}

/// `uncontended/cross/16-tasks` is `cross, 16 tasks`.
fn short_name(name: &str) -> String {
    name.split('/').skip(1).collect::<Vec<_>>().join(", ").replace('-', " ")
}

/// The parts of all values that are drawn, from half of them to all but one in ten thousand.
const NINES: f64 = 4.0;

/// A line for each contender: how long so great a part of all takes at most.
fn tails(path: &Path, title: &str, measured: &Measured, values: impl Fn(Kind) -> Vec<u64>) -> Result<(), Fault> {
    let area = picture(path, title)?;
    let (left, right) = area.split_horizontally(SIZE.0 - 170);
    let kinds = kinds(&[measured]);
    legend(&right, &kinds)?;
    let all: Vec<(Kind, Vec<u64>)> = kinds.iter().map(|kind| (*kind, values(*kind))).collect();
    let most = all.iter().filter_map(|(_, values)| values.last()).max().copied().unwrap_or(1_000_000) as f64 / 1e3;
    let mut chart = ChartBuilder::on(&left)
        .margin(10)
        .x_label_area_size(34)
        .y_label_area_size(74)
        .build_cartesian_2d(0.3..NINES, (10.0..most.max(100.0) * 1.2).log_scale())?;
    chart
        .configure_mesh()
        .x_labels(5)
        .x_label_formatter(&|nines| if nines.fract() < 0.01 { part(*nines) } else { String::new() })
        .y_label_formatter(&|us| crate::table::time(us * 1e3))
        .label_style(("sans-serif", 14))
        .draw()?;
    for (kind, values) in &all {
        // A tail is drawn only as far as there are values that make it up.
        let last = (values.len() as f64).log10().min(NINES);
        let at = |nines: f64| (nines, percentile(values, 1.0 - 10f64.powf(-nines)) as f64 / 1e3);
        let line: Vec<(f64, f64)> = (0..=200).map(|step| 0.3 + (last - 0.3) * f64::from(step) / 200.0).map(at).collect();
        if values.len() > 2 {
            chart.draw_series([PathElement::new(line, colour(*kind).stroke_width(2))])?;
        }
    }
    area.present()?;
    Ok(())
}

/// `2` nines are 99 %.
fn part(nines: f64) -> String {
    let part = 100.0 - 10f64.powf(2.0 - nines);
    format!("{} %", (part * 1e4).round() / 1e4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nines_are_named_by_their_part() {
        assert_eq!([1.0, 2.0, 3.0, 4.0].map(part), ["90 %", "99 %", "99.9 %", "99.99 %"]);
        assert_eq!(short_name("one-key/cross/4x16-tasks"), "cross, 4x16 tasks");
    }
}
