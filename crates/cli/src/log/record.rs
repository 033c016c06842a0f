//! Log records: one line each, as logfmt or JSON.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::output::escape;

/// `level=info msg="slot acquired" governor=nightly`, or the same as an object.
#[derive(Debug)]
pub(super) struct Records {
    pub(super) json: bool,
}

impl<S, N> FormatEvent<S, N> for Records
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        let head = [("level", Value::String(level)), ("msg", Value::String(fields.message))];
        let all = head.into_iter().chain(fields.others);
        if self.json {
            let object: Map<String, Value> = all.map(|(name, value)| (name.to_owned(), value)).collect();
            return writeln!(writer, "{}", Value::Object(object));
        }
        let pairs: Vec<_> = all.map(|(name, value)| format!("{name}={}", logfmt(&value))).collect();
        writeln!(writer, "{}", pairs.join(" "))
    }
}

#[derive(Debug, Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => self.others.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, Value::String(escape(&format!("{value:?}"))));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, Value::String(escape(value)));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }
}

/// The value, in quotes where it could be taken for more than one.
fn logfmt(value: &Value) -> String {
    let Value::String(text) = value else { return value.to_string() };
    let plain =
        !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '=' | '\\'));
    if plain { text.clone() } else { Value::String(text.clone()).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_where_they_have_to_be() {
        for (value, text) in [
            (Value::from("nightly"), "nightly"),
            (Value::from("slot acquired"), "\"slot acquired\""),
            (Value::from(""), "\"\""),
            (Value::from("a=\"b\""), "\"a=\\\"b\\\"\""),
            (Value::from(63.2), "63.2"),
            (Value::from(7u64), "7"),
        ] {
            assert_eq!(logfmt(&value), text);
        }
    }
}
