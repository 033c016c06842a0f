//! What figures are held against: `benches/goals.txt` of each crate.

use std::fs;
use std::path::Path;

use super::measured::Figure;
use crate::shell::{Doing, Failure, Outcome};

/// All goals of all crates.
#[derive(Debug, Default)]
pub(super) struct Goals(Vec<Goal>);

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Goal {
    bench: String,
    figure: String,
    bound: Bound,
    /// Why it is missed, where it is.
    pub(super) reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Goals {
    pub(super) fn read(root: &Path) -> Outcome<Self> {
        let mut goals = Self::default();
        let crates = root.join("crates");
        for entry in fs::read_dir(&crates).doing(crates.display())? {
            let path = entry.doing(crates.display())?.path().join("benches/goals.txt");
            if path.is_file() {
                let text = fs::read_to_string(&path).doing(path.display())?;
                goals
                    .add(&text)
                    .map_err(|line| Failure::new(format!("{}: not a goal: {line}", path.display())))?;
            }
        }
        Ok(goals)
    }

    /// `bench | figure | <= 1.3 | reason`; `#` begins a comment.
    fn add(&mut self, text: &str) -> Result<(), String> {
        for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            let goal = parse(line).ok_or_else(|| line.to_owned())?;
            self.0.push(goal);
        }
        Ok(())
    }

    pub(super) fn of(&self, figure: &Figure) -> Option<&Goal> {
        self.0.iter().find(|goal| goal.bench == figure.bench && goal.figure == figure.figure)
    }

    /// Goals that none of the figures is for.
    pub(super) fn without(&self, figures: &[Figure]) -> Vec<String> {
        let missing =
            self.0.iter().filter(|goal| !figures.iter().any(|figure| self.of(figure) == Some(goal)));
        missing.map(|goal| format!("{} {}", goal.bench, goal.figure)).collect()
    }
}

impl Goal {
    pub(super) fn is_met_by(&self, value: f64) -> bool {
        match self.bound {
            Bound::AtMost(bound) => value <= bound,
            Bound::AtLeast(bound) => value >= bound,
        }
    }

    pub(super) fn show(&self) -> String {
        match self.bound {
            Bound::AtMost(bound) => format!("≤ {bound}"),
            Bound::AtLeast(bound) => format!("≥ {bound}"),
        }
    }
}

fn parse(line: &str) -> Option<Goal> {
    let mut fields = line.splitn(4, '|').map(str::trim);
    let (bench, figure, bound) = (fields.next()?, fields.next()?, fields.next()?);
    let (direction, value) = bound.split_once(' ')?;
    let value = value.trim().parse().ok()?;
    let bound = match direction {
        "<=" => Bound::AtMost(value),
        ">=" => Bound::AtLeast(value),
        _ => return None,
    };
    let reason = fields.next().unwrap_or_default().to_owned();
    Some(Goal { bench: bench.to_owned(), figure: figure.to_owned(), bound, reason })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::bench) fn goals(text: &str) -> Goals {
        let mut goals = Goals::default();
        goals.add(text).expect("goals");
        goals
    }

    #[test]
    fn a_goal_names_bench_figure_and_bound() {
        let goals = goals("# comment\n\na/b | p50 | <= 1.3\na/b | Jain | >= 0.9 | two | of them\n");
        let figure = |name: &str, value| Figure {
            bench: "a/b".to_owned(),
            figure: name.to_owned(),
            value,
            ..Figure::default()
        };
        let jain = goals.of(&figure("Jain", 0.0)).unwrap();
        assert_eq!((jain.show().as_str(), jain.reason.as_str()), ("≥ 0.9", "two | of them"));
        assert!(jain.is_met_by(0.9) && !jain.is_met_by(0.89) && !jain.is_met_by(f64::NAN));
        let p50 = goals.of(&figure("p50", 0.0)).unwrap();
        assert!(p50.is_met_by(1.3) && !p50.is_met_by(1.31) && !p50.is_met_by(f64::NAN));
        assert_eq!(goals.of(&figure("p99", 0.0)), None);
        assert_eq!(goals.without(&[figure("p50", 1.0)]), ["a/b Jain"]);
    }

    #[test]
    fn what_is_no_goal_is_refused() {
        for line in ["a/b | p50", "a/b | p50 | < 3", "a/b | p50 | <= three"] {
            assert_eq!(Goals::default().add(line), Err(line.to_owned()));
        }
    }
}
