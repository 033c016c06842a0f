use serde::Serialize;

use super::{Format, Grid, escape, json, ndjson, width};
use crate::error::CliError;

/// A document that has names alone.
#[derive(Debug, Serialize)]
struct Names<'a> {
    r#type: &'static str,
    names: &'a [&'a str],
}

/// Names, one a line.
pub(crate) fn names(format: Format, r#type: &'static str, names: &[&str]) -> Result<String, CliError> {
    match format {
        Format::Json => json(&Names { r#type, names }),
        Format::Ndjson => ndjson(names),
        Format::Table | Format::Tsv => {
            Ok(names.iter().map(|name| escape(name)).collect::<Vec<_>>().join("\n"))
        }
    }
}

/// What a list holds in that format: one document with all of it, each by itself, or rows.
pub(crate) fn list(
    format: Format,
    header: bool,
    whole: &impl Serialize,
    each: &[impl Serialize],
    rows: &Grid<'_>,
) -> Result<String, CliError> {
    match format {
        Format::Json => json(whole),
        Format::Ndjson => ndjson(each),
        Format::Tsv => Ok(rows.tsv(header)),
        Format::Table if rows.is_empty() => Ok(String::new()),
        Format::Table => Ok(rows.table(width())),
    }
}
