//! Reading stdin so that it can be stopped: what was read is never lost, what was not read stays where it is.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::mpsc;

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// The bytes of stdin.
#[derive(Debug)]
pub(super) struct Source {
    chunks: mpsc::Receiver<io::Result<Vec<u8>>>,
}

/// Ends reading.
#[derive(Clone, Debug)]
pub(super) struct Stop(Arc<Mutex<Option<PipeWriter>>>);

impl Stop {
    /// Nothing more is read; what was read can still be fetched.
    pub(super) fn stop(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Source {
    /// Starts to read.
    pub(super) fn start() -> io::Result<(Self, Stop)> {
        let (woken, wake) = io::pipe()?;
        let (sender, chunks) = mpsc::channel(1);
        thread::Builder::new().name("stdin".to_owned()).spawn(move || read(&sender, &woken))?;
        Ok((Self { chunks }, Stop(Arc::new(Mutex::new(Some(wake))))))
    }

    /// The next bytes; none: there are no more, or reading was stopped.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost.
    pub(super) async fn next(&mut self) -> Option<io::Result<Vec<u8>>> {
        self.chunks.recv().await
    }
}

/// Reads only when there is something to read, so that a stop never finds a read half done.
fn read(sender: &mpsc::Sender<io::Result<Vec<u8>>>, woken: &PipeReader) {
    let stdin = io::stdin();
    let mut buffer = vec![0; CHUNK];
    loop {
        let mut watched =
            [PollFd::new(woken, PollFlags::IN), PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN)];
        match poll(&mut watched, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => {
                let _ = sender.blocking_send(Err(error.into()));
                return;
            }
        }
        if !watched[0].revents().is_empty() {
            return;
        }
        let read = match rustix::io::read(&stdin, &mut buffer) {
            Ok(0) => return,
            Ok(read) => Ok(buffer[..read].to_vec()),
            Err(Errno::INTR | Errno::AGAIN) => continue,
            Err(error) => Err(error.into()),
        };
        let over = read.is_err();
        if sender.blocking_send(read).is_err() || over {
            return;
        }
    }
}
