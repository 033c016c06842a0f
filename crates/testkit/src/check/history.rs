use std::io::{self, BufRead};

use super::Event;

/// The lines of a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In the order of the file, numbered from one.
    pub events: Vec<Event>,
}

impl History {
    /// Reads one JSON object a line; empty lines do not count.
    ///
    /// # Errors
    /// A line is no event, which the message names; or reading failed.
    pub fn read(source: impl BufRead) -> io::Result<Self> {
        let mut events = Vec::new();
        for (n, line) in (1..).zip(source.lines()) {
            let line = line?;
            if line.trim().is_empty() {
                continue;
            }
            let mut event: Event = serde_json::from_str(&line)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("line {n}: {error}")))?;
            event.n = n;
            events.push(event);
        }
        Ok(Self { events })
    }
}
