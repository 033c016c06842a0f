use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::now;
use crate::check::{Event, Op, Phase};

/// Where a worker process writes what it does: line by line, so that what was written survives it.
#[derive(Clone)]
pub struct Journal {
    process: Arc<str>,
    calls: Arc<AtomicU64>,
    out: Arc<Mutex<dyn Write + Send>>,
}

impl Journal {
    /// A journal of that process, on its standard output.
    pub fn stdout(process: &str) -> Self {
        Self::new(process, io::stdout())
    }

    /// A journal anywhere else.
    pub fn new(process: &str, out: impl Write + Send + 'static) -> Self {
        Self { process: process.into(), calls: Arc::default(), out: Arc::new(Mutex::new(out)) }
    }

    /// A number for a call, which its answer repeats.
    pub fn call(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Writes a line; `complete` adds to it what it has besides the time. A line that nobody takes is lost: then the
    /// recorder is gone, and the process had better go, too.
    pub fn write(&self, op: Op, ph: Phase, complete: impl FnOnce(Event) -> Event) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // The time is taken in here, so that the lines of a process are in the order of their times.
        let event = complete(Event::new(now(), &self.process, op, ph));
        if let Ok(mut line) = serde_json::to_vec(&event) {
            line.push(b'\n');
            // In one piece: less than a pipe takes at once, so that no line is ever cut.
            let _ = out.write_all(&line).and_then(|()| out.flush());
        }
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("process", &self.process).finish_non_exhaustive()
    }
}
