//! From stdin into the batcher.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::Semaphore;

use super::control::{Control, Over};
use super::item::{Item, OVERHEAD, Reader};
use super::lanes::Lanes;
use super::letters::{Letters, Long};
use super::source::Source;
use super::split::{Piece, Splitter};
use super::voice::Meter;
use crate::code::Code;
use crate::error::CliError;

/// Why an item that was read is not delivered although nothing is wrong with it.
const NOT_SENT: &str = "read and not sent any more";

pub(super) struct Pump<'a> {
    pub(super) source: Source,
    pub(super) splitter: Splitter,
    pub(super) reader: Reader,
    pub(super) lanes: Lanes,
    pub(super) letters: &'a Letters,
    /// Room for items that are not settled, in bytes.
    pub(super) room: Arc<Semaphore>,
    /// All of it.
    pub(super) all_room: usize,
    pub(super) meter: Arc<Meter>,
    /// What a too long item is longer than.
    pub(super) limit: String,
    pub(super) long: Option<Long>,
}

impl Pump<'_> {
    /// Reads until there is no more, or reading was stopped. Every item that was read is with the batcher then, or
    /// was refused.
    pub(super) async fn run(mut self, control: &mut Control) -> Result<(), Over> {
        let read = self.read(control).await;
        if read.is_err() {
            self.give_up(control).await;
        }
        read
    }

    async fn read(&mut self, control: &mut Control) -> Result<(), Over> {
        while let Some(chunk) = control.during(self.source.next()).await? {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    let message = format!("cannot read stdin: {error}");
                    control.halt.stop(CliError::new(Code::Internal, message));
                    return Err(Over::Halted);
                }
            };
            self.meter.bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            let mut rest = &chunk[..];
            while !rest.is_empty() {
                let Some(piece) = self.splitter.next(&mut rest) else { continue };
                let taken = self.take(piece, control).await;
                if taken.is_err() {
                    self.refuse_all(rest).await;
                    taken?;
                }
            }
        }
        match self.splitter.end() {
            Some(piece) if control.asked.is_some() => {
                self.refuse(piece, "interrupted in the middle of it").await
            }
            Some(piece) => self.take(piece, control).await?,
            None => {}
        }
        Ok(())
    }

    async fn take(&mut self, piece: Piece, control: &mut Control) -> Result<(), Over> {
        let (number, data) = match piece {
            Piece::Whole { number, data } => (number, data),
            part @ Piece::Part { .. } => {
                let limit = self.limit.clone();
                self.refuse(part, &limit).await;
                return Ok(());
            }
        };
        if self.reader.is_nothing(&data) {
            return Ok(());
        }
        self.meter.items.fetch_add(1, Ordering::Relaxed);
        let mut item = Item::bare(number, data);
        let size = (item.data.len() + OVERHEAD).min(self.all_room);
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let place = match Arc::clone(&self.room).try_acquire_many_owned(size) {
            Ok(place) => Some(place),
            Err(_) => {
                // Whoever fills the buffer need not wait for company.
                control.batcher.flush();
                match control.during(Arc::clone(&self.room).acquire_many_owned(size)).await {
                    // Never closed.
                    Ok(place) => place.ok(),
                    Err(over) => {
                        self.letters.refuse(item, NOT_SENT);
                        return Err(over);
                    }
                }
            }
        };
        item.place = place;
        let refused = match self.reader.read(&mut item) {
            Ok(()) => self.lanes.send(item).err(),
            Err(why) => Some((item, why)),
        };
        if let Some((item, why)) = refused {
            self.letters.refuse(item, why);
        }
        Ok(())
    }

    /// An item, or a part of one, that is not sent.
    async fn refuse(&mut self, piece: Piece, why: &str) {
        let (number, data, last) = match piece {
            Piece::Whole { number, data } => {
                if !self.reader.is_nothing(&data) {
                    self.meter.items.fetch_add(1, Ordering::Relaxed);
                    self.letters.refuse(Item::bare(number, data), why);
                }
                return;
            }
            Piece::Part { number, data, last } => (number, data, last),
        };
        let mut long = match self.long.take() {
            Some(long) => long,
            None => {
                self.meter.items.fetch_add(1, Ordering::Relaxed);
                self.letters.begin(number).await
            }
        };
        long.write(data, last).await;
        if last {
            self.letters.counted(long, why);
        } else {
            self.long = Some(long);
        }
    }

    /// What is left of a chunk.
    async fn refuse_all(&mut self, mut rest: &[u8]) {
        while !rest.is_empty() {
            if let Some(piece) = self.splitter.next(&mut rest) {
                self.refuse(piece, NOT_SENT).await;
            }
        }
    }

    /// Tells of everything that was read and is not sent.
    async fn give_up(&mut self, control: &Control) {
        control.stop.stop();
        while let Some(chunk) = self.source.next().await {
            let Ok(chunk) = chunk else { break };
            self.meter.bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            self.refuse_all(&chunk).await;
        }
        if let Some(piece) = self.splitter.end() {
            self.refuse(piece, NOT_SENT).await;
        }
    }
}
