use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use tempfile::TempDir;

use super::ServerError;

const PREFIX: &str = "sluicegate-testkit-";
const LOCK: &str = "in-use";
/// A directory younger than this may be about to be locked by its owner.
const SETTLED: Duration = Duration::from_secs(60);

/// Where a server keeps its configuration, log and store; removed when dropped. A process that was killed
/// cannot remove its own, so the next one does: the lock inside is let go by the system.
#[derive(Debug)]
pub(super) struct WorkDir {
    dir: TempDir,
    _lock: File,
}

impl WorkDir {
    pub(super) fn create() -> Result<Self, ServerError> {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        let failed = |error| ServerError::io("cannot make a directory for the server", error);
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir().map_err(failed)?;
        let lock = File::create(dir.path().join(LOCK)).map_err(failed)?;
        lock.lock().map_err(failed)?;
        Ok(Self { dir, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }
}

/// Removes what killed test processes left behind.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with(PREFIX) && is_settled(&path) && is_abandoned(&path)
        {
            // Another process may be doing the same.
            let _ = fs::remove_dir_all(path);
        }
    }
}

fn is_settled(dir: &Path) -> bool {
    let modified = fs::metadata(dir.join(LOCK)).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > SETTLED))
}

/// Whether the process that locked it has ended.
pub(super) fn is_abandoned(dir: &Path) -> bool {
    File::open(dir.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok())
}
