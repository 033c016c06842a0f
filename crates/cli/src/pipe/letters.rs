//! What becomes of items that cannot be delivered: a file, if there is one, and stderr.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sluicegate_batcher::{DeadLetter, DeadLetterSink, OpError};
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};
use tokio::task::{JoinHandle, spawn_blocking};

use super::halt::{Halt, Trouble};
use super::item::Item;
use super::voice::Voice;
use crate::code::Code;
use crate::error::CliError;

/// Most letters that are written at once.
const AT_ONCE: usize = 256;

/// Where items go that were not delivered. Each of them has its place in the buffer until it is written.
#[derive(Debug)]
pub(super) struct Letters {
    sender: mpsc::UnboundedSender<Message>,
    file: Arc<Mutex<Cabinet>>,
    halt: Arc<Halt>,
    clerk: JoinHandle<Undelivered>,
}

/// How many items were not delivered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Undelivered {
    pub(super) items: u64,
    /// Of those, in the file.
    pub(super) written: u64,
}

#[derive(Debug)]
enum Message {
    Letter {
        item: Item,
        attempts: u32,
        why: String,
    },
    /// One that was written already, or could not be.
    Counted {
        item: Item,
        why: String,
        written: bool,
    },
    Close,
}

impl Letters {
    /// Opens the file, if there is to be one.
    pub(super) fn open(
        path: Option<&Path>,
        delimiter: u8,
        voice: Arc<Voice>,
        halt: Arc<Halt>,
    ) -> Result<Self, CliError> {
        let file = Arc::new(Mutex::new(Cabinet::open(path, delimiter)?));
        let (sender, receiver) = mpsc::unbounded_channel();
        let clerk = tokio::spawn(work(receiver, Arc::clone(&file), voice, Arc::clone(&halt)));
        Ok(Self { sender, file, halt, clerk })
    }

    /// For what the batcher gives up.
    pub(super) fn sink(&self) -> impl DeadLetterSink<Item, Trouble> + use<> {
        let sender = self.sender.clone();
        move |letter: DeadLetter<Item, Trouble>| {
            let (attempts, why) = (letter.attempts(), why(letter.cause(), letter.attempts()));
            // No sink takes an item out of its batch.
            if let Some(item) = letter.into_payload() {
                let _ = sender.send(Message::Letter { item, attempts, why });
            }
        }
    }

    /// For what was never handed to the batcher.
    pub(super) fn refuse(&self, item: Item, why: impl Into<String>) {
        // The clerk lives until it is told to close.
        let _ = self.sender.send(Message::Letter { item, attempts: 0, why: why.into() });
    }

    /// For an item that is too long to be kept.
    pub(super) async fn begin(&self, number: u64) -> Long {
        Long {
            file: Arc::clone(&self.file).lock_owned().await,
            number,
            size: 0,
            head: Vec::new(),
            failed: None,
        }
    }

    /// An item that was too long has ended, or is cut off.
    pub(super) fn counted(&self, long: Long, why: &str) {
        let Long { file, number, size, head, failed } = long;
        if let Some(error) = &failed {
            self.halt.stop(file.error(error));
        }
        let written = file.file.is_some() && failed.is_none();
        let why = format!("{size} bytes, {why}");
        let _ = self.sender.send(Message::Counted { item: Item::bare(number, head), why, written });
    }

    /// Waits until everything is written.
    pub(super) async fn close(self) -> Undelivered {
        let _ = self.sender.send(Message::Close);
        self.clerk.await.unwrap_or_default()
    }
}

fn why(cause: &OpError<Trouble>, attempts: u32) -> String {
    match cause {
        OpError::Failed(trouble) | OpError::Exhausted { last: trouble, .. } => trouble.to_string(),
        OpError::ShutDown if attempts > 0 => "abandoned; it may have been delivered".to_owned(),
        OpError::ShutDown => "abandoned".to_owned(),
        other => other.to_string(),
    }
}

async fn work(
    mut receiver: mpsc::UnboundedReceiver<Message>,
    file: Arc<Mutex<Cabinet>>,
    voice: Arc<Voice>,
    halt: Arc<Halt>,
) -> Undelivered {
    let mut told = Undelivered::default();
    let mut messages = Vec::new();
    let mut open = true;
    while open {
        messages.clear();
        receiver.recv_many(&mut messages, AT_ONCE).await;
        open = !messages.is_empty();
        let mut letters = Vec::new();
        for message in messages.drain(..) {
            let (item, attempts, why) = match message {
                Message::Letter { item, attempts, why } => (item, attempts, why),
                Message::Counted { item, why, written } => {
                    told.items += 1;
                    told.written += u64::from(written);
                    if !halt.is_silent() {
                        voice.undelivered(&item, 0, &why);
                    }
                    continue;
                }
                Message::Close => {
                    open = false;
                    continue;
                }
            };
            told.items += 1;
            if !halt.is_silent() {
                voice.undelivered(&item, attempts, &why);
            }
            letters.push(item);
        }
        let mut file = file.lock().await;
        match file.file(&letters).await {
            Ok(written) => told.written += written,
            Err(error) => halt.stop(file.error(&error)),
        }
    }
    file.lock().await.finish().await;
    told
}

/// The dead-letter file.
#[derive(Debug)]
struct Cabinet {
    path: PathBuf,
    delimiter: u8,
    /// None: there is none, or it could not be written to.
    file: Option<Arc<File>>,
}

impl Cabinet {
    fn open(path: Option<&Path>, delimiter: u8) -> Result<Self, CliError> {
        let mut cabinet = Self { path: path.map(Path::to_owned).unwrap_or_default(), delimiter, file: None };
        if let Some(path) = path {
            let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
            let file = file.map_err(|error| {
                let message = format!("cannot open the dead-letter file {}: {error}", path.display());
                CliError::new(Code::ConfigInvalid, message).help("name a file that can be written")
            })?;
            cabinet.file = Some(Arc::new(file));
        }
        Ok(cabinet)
    }

    /// Writes those items, and tells how many are in the file now.
    async fn file(&mut self, items: &[Item]) -> io::Result<u64> {
        if items.is_empty() || self.file.is_none() {
            return Ok(0);
        }
        let mut bytes = Vec::new();
        for item in items {
            bytes.extend_from_slice(&item.data);
            bytes.push(self.delimiter);
        }
        self.write(bytes).await?;
        Ok(items.len() as u64)
    }

    async fn write(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let writer = Arc::clone(file);
        let written = spawn_blocking(move || (&*writer).write_all(&bytes)).await;
        let written = written.map_err(io::Error::other).flatten();
        if written.is_err() {
            self.file = None;
        }
        written
    }

    /// What is in the file stays there.
    async fn finish(&mut self) {
        if let Some(file) = self.file.take() {
            // What cannot be synchronised, such as a pipe, is as safe as it gets.
            let _ = spawn_blocking(move || file.sync_all()).await;
        }
    }

    fn error(&self, error: &io::Error) -> CliError {
        let path = self.path.display();
        CliError::new(Code::Internal, format!("cannot write to the dead-letter file {path}: {error}"))
            .help("its last item may be incomplete")
    }
}

/// An item that is too long to be kept, on its way into the file.
#[derive(Debug)]
pub(super) struct Long {
    file: OwnedMutexGuard<Cabinet>,
    number: u64,
    size: u64,
    /// Its beginning.
    head: Vec<u8>,
    failed: Option<io::Error>,
}

impl Long {
    /// The next part of it.
    pub(super) async fn write(&mut self, mut data: Vec<u8>, last: bool) {
        self.size += data.len() as u64;
        if self.head.is_empty() {
            self.head = data[..data.len().min(1_024)].to_vec();
        }
        if last {
            data.push(self.file.delimiter);
        }
        if let Err(error) = self.file.write(data).await {
            self.failed = Some(error);
        }
    }
}
