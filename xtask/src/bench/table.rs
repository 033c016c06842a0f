//! One table: goal beside result.

use super::goals::Goals;
use super::measured::Figure;

const HEAD: [&str; 8] = ["bench", "figure", "ratio", "goal", "", "result", "floor", "note"];
/// Columns of numbers.
const RIGHT: [usize; 4] = [2, 3, 5, 6];

pub(super) fn render(figures: &[Figure], goals: &Goals) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(figures.iter().map(|figure| row(figure, goals)));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; HEAD.len()] = std::array::from_fn(width);
    let line = |row: &[String; HEAD.len()]| {
        let cells = row.iter().zip(widths).enumerate().map(|(n, (cell, width))| {
            if RIGHT.contains(&n) { format!("{cell:>width$}") } else { format!("{cell:width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn row(figure: &Figure, goals: &Goals) -> [String; HEAD.len()] {
    let none = || "–".to_owned();
    let goal = goals.of(figure);
    let (verdict, reason) = match goal {
        None => ("", ""),
        Some(goal) if goal.is_met_by(figure.judged()) => ("ok", ""),
        Some(goal) if goal.reason.is_empty() => ("MISSED", "no reason given"),
        Some(goal) => ("MISSED", goal.reason.as_str()),
    };
    let notes: Vec<&str> = [reason, &figure.note].into_iter().filter(|note| !note.is_empty()).collect();
    [
        figure.bench.clone(),
        figure.figure.clone(),
        figure.ratio.map_or_else(none, number),
        goal.map_or_else(none, super::goals::Goal::show),
        verdict.to_owned(),
        quantity(figure.value, &figure.unit),
        figure.floor.map_or_else(none, |floor| quantity(floor, &figure.unit)),
        notes.join("; "),
    ]
}

fn quantity(value: f64, unit: &str) -> String {
    match unit {
        "ns" => nanoseconds(value),
        "" => number(value),
        _ if unit.starts_with('/') => number(value) + unit,
        _ => format!("{} {unit}", number(value)),
    }
}

/// As many decimals as say something.
fn number(value: f64) -> String {
    match value.abs() {
        size if value.fract() == 0.0 && size < 1e6 => format!("{value:.0}"),
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn nanoseconds(value: f64) -> String {
    match value {
        _ if value < 1e3 => format!("{value:.1} ns"),
        _ if value < 1e6 => format!("{:.2} µs", value / 1e3),
        _ if value < 1e9 => format!("{:.2} ms", value / 1e6),
        _ => format!("{:.2} s", value / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::goals::tests::goals;

    #[test]
    fn a_goal_is_held_against_the_ratio_and_a_miss_says_why() {
        let goals = goals("a | p50 | <= 1.3\nb | p50 | <= 1.3 | the server waits\nc | rate | >= 2");
        let figure = |bench: &str, figure: &str, value, floor: Option<f64>| Figure {
            bench: bench.to_owned(),
            figure: figure.to_owned(),
            value,
            unit: "ms".to_owned(),
            floor,
            ratio: floor.map(|floor| value / floor),
            note: String::new(),
        };
        let table = render(
            &[
                figure("a", "p50", 2.4, Some(2.0)),
                figure("b", "p50", 4.0, Some(2.0)),
                figure("c", "rate", 1.0, None),
                figure("d", "p50", 1.0, None),
            ],
            &goals,
        );
        let lines: Vec<String> =
            table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(lines[0], "a p50 1.20 ≤ 1.3 ok 2.40 ms 2 ms");
        assert_eq!(lines[1], "b p50 2 ≤ 1.3 MISSED 4 ms 2 ms the server waits");
        assert_eq!(lines[2], "c rate – ≥ 2 MISSED 1 ms – no reason given");
        assert_eq!(lines[3], "d p50 – – 1 ms –");
    }
}
