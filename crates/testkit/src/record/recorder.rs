use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::now;
use crate::check::{Event, Op, Phase};

/// Gathers the lines of all processes in one file.
#[derive(Debug)]
pub struct Recorder(Mutex<Lines>);

#[derive(Debug)]
struct Lines {
    file: BufWriter<File>,
    count: u64,
    /// The first thing that went wrong: the history is not whole.
    failed: Option<io::Error>,
}

impl Recorder {
    /// An empty history in that file.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = BufWriter::new(File::create(path)?);
        Ok(Self(Mutex::new(Lines { file, count: 0, failed: None })))
    }

    /// Writes what has just happened; `complete` adds to the line what it has besides the time.
    pub fn write(&self, process: &str, op: Op, ph: Phase, complete: impl FnOnce(Event) -> Event) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.write(complete(Event::new(now(), process, op, ph)));
    }

    /// Takes up a line of a [`Journal`](super::Journal).
    pub fn take(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match serde_json::from_str(line) {
            Ok(event) => lines.write(event),
            Err(error) => {
                lines.fail(io::Error::new(io::ErrorKind::InvalidData, format!("{line:?}: {error}")))
            }
        }
    }

    /// Writes the last line, which says that nothing is missing.
    ///
    /// # Errors
    /// A line could not be written, or was none. Then there is no last line.
    pub fn finish(self) -> io::Result<u64> {
        let mut lines = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        if lines.failed.is_none() {
            lines.write(Event::new(now(), "recorder", Op::End, Phase::Event));
        }
        let flushed = lines.file.flush();
        lines.failed.map_or(Ok(()), Err).and(flushed).map(|()| lines.count)
    }
}

impl Lines {
    fn write(&mut self, mut event: Event) {
        self.count += 1;
        event.n = self.count;
        let written = serde_json::to_writer(&mut self.file, &event).map_err(io::Error::from);
        if let Err(error) = written.and_then(|()| self.file.write_all(b"\n")) {
            self.fail(error);
        }
    }

    fn fail(&mut self, error: io::Error) {
        self.failed.get_or_insert(error);
    }
}
