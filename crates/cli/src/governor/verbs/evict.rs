use serde::Serialize;
use sluicegate_core::{HeldLease, LeaseId};

use crate::Failure;
use crate::code::Code;
use crate::confirm::confirm;
use crate::cx::Cx;
use crate::error::CliError;
use crate::governor::args::EvictArgs;
use crate::governor::documents::{LEASE, LeaseDocument, lease_row};
use crate::governor::{bind, refused};
use crate::output::{self, Format, Grid, age};

/// `sluicegate.v1.governor_evict`
#[derive(Debug, Serialize)]
struct Document {
    r#type: &'static str,
    name: String,
    evicted: Vec<LeaseDocument>,
    not_held: Vec<u64>,
}

pub(crate) async fn evict(cx: &Cx<'_>, args: &EvictArgs) -> Result<(), Failure> {
    let governor = bind(cx, "evict", &args.name).await?;
    let view = governor.view().await.map_err(|error| refused("evict", &args.name, &error))?;
    let wanted: Vec<LeaseId> = match &args.holder {
        Some(glob) => {
            let matching = view.holders.iter().filter(|lease| matches(glob, &lease.holder.to_string()));
            matching.map(|lease| lease.id).collect()
        }
        None => args.ids.iter().copied().map(LeaseId).collect(),
    };
    if wanted.is_empty() {
        return Err(CliError::new(Code::NotFound, format!("governor {}: no holder matches", args.name))
            .help(format!("see who holds it: sluicegate governor view {}", args.name))
            .into());
    }
    let named = wanted
        .iter()
        .map(|id| view.holders.iter().find(|lease| lease.id == *id).map_or_else(|| id.to_string(), who));
    confirm(&format!("evict from {}: {}", args.name, named.collect::<Vec<_>>().join(", ")), cx.output.force)?;
    let (mut evicted, mut not_held) = (Vec::new(), Vec::new());
    for id in wanted {
        match governor.evict(id).await.map_err(|error| refused("evict", &args.name, &error))? {
            Some(lease) => evicted.push(lease),
            None => not_held.push(id.0),
        }
    }
    cx.flush(&governor).await;
    let text = match cx.format() {
        Format::Json | Format::Ndjson => output::json(&Document {
            r#type: "sluicegate.v1.governor_evict",
            name: args.name.clone(),
            evicted: evicted.iter().map(|lease| LeaseDocument::of(lease, &view)).collect(),
            not_held: not_held.clone(),
        })?,
        format => {
            let grid = Grid::new(&LEASE, evicted.iter().map(|lease| lease_row(lease, &view)).collect());
            match format {
                Format::Table if evicted.is_empty() => String::new(),
                Format::Table => grid.table(output::width()),
                _ => grid.tsv(cx.output.header),
            }
        }
    };
    output::print_lines(&text)?;
    if not_held.is_empty() || args.holder.is_some() {
        return Ok(());
    }
    let ids: Vec<_> = not_held.iter().map(u64::to_string).collect();
    let code = if evicted.is_empty() { Code::NotFound } else { Code::Partial };
    Err(CliError::new(code, format!("governor {}: not held: {}", args.name, ids.join(", "))).into())
}

/// A lease in a few words.
pub(super) fn who(lease: &HeldLease) -> String {
    format!("{} {} ({})", lease.id, lease.holder, age(lease.age))
}

/// Whether the text is as the pattern says, in which `*` is any text and `?` any character.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // Where the last `*` stands, and how much of the text it takes.
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_are_any_text_and_question_marks_any_character() {
        for (pattern, text, expected) in [
            ("root@web07 *", "root@web07 4411", true),
            ("root@web07 *", "root@web08 4411", false),
            ("*@web??*", "root@web07 4411", true),
            ("*", "", true),
            ("?", "", false),
            ("", "", true),
            ("", "a", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
            ("web07", "root@web07 1", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
