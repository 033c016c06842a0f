//! From bytes to items.

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// An item.
    Whole { number: u64, data: Vec<u8> },
    /// A part of an item that is too long to be kept.
    Part { number: u64, data: Vec<u8>, last: bool },
}

/// Finds items in chunks of bytes. Keeps no more than the largest item, whatever comes.
#[derive(Debug)]
pub(super) struct Splitter {
    delimiter: u8,
    max: usize,
    held: Vec<u8>,
    /// Of the item that is being read, from 1.
    number: u64,
    /// That item is too long, and its beginning has been handed out.
    too_long: bool,
}

impl Splitter {
    pub(super) fn new(delimiter: u8, max: usize) -> Self {
        Self { delimiter, max, held: Vec::new(), number: 1, too_long: false }
    }

    /// The next piece that ends in this chunk, or of which enough is known, with the chunk cut behind it.
    pub(super) fn next(&mut self, chunk: &mut &[u8]) -> Option<Piece> {
        if chunk.is_empty() {
            return None;
        }
        let end = chunk.iter().position(|byte| *byte == self.delimiter);
        let (head, rest) = chunk.split_at(end.unwrap_or(chunk.len()));
        *chunk = rest.get(1..).unwrap_or_default();
        let mut data = std::mem::take(&mut self.held);
        data.extend_from_slice(head);
        let too_long = self.too_long || data.len() > self.max;
        let number = self.number;
        if end.is_some() {
            self.number += 1;
            self.too_long = false;
            return Some(if too_long {
                Piece::Part { number, data, last: true }
            } else {
                Piece::Whole { number, data }
            });
        }
        self.too_long = too_long;
        if too_long {
            return Some(Piece::Part { number, data, last: false });
        }
        self.held = data;
        None
    }

    /// What stands behind the last delimiter, if anything does.
    pub(super) fn end(&mut self) -> Option<Piece> {
        let (number, data) = (self.number, std::mem::take(&mut self.held));
        if std::mem::take(&mut self.too_long) {
            Some(Piece::Part { number, data, last: true })
        } else if data.is_empty() {
            None
        } else {
            Some(Piece::Whole { number, data })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Items as numbers and bytes, those that are too long put together again.
    fn split(chunks: &[&[u8]], max: usize) -> Vec<(u64, Vec<u8>, bool)> {
        let mut splitter = Splitter::new(b'\n', max);
        let mut pieces = Vec::new();
        for mut chunk in chunks.iter().copied() {
            while !chunk.is_empty() {
                pieces.extend(splitter.next(&mut chunk));
                assert!(splitter.held.len() <= max);
            }
        }
        pieces.extend(splitter.end());
        let mut items: Vec<(u64, Vec<u8>, bool)> = Vec::new();
        let mut open = false;
        for piece in pieces {
            match piece {
                Piece::Whole { number, data } => items.push((number, data, false)),
                Piece::Part { data, last, .. } if open => {
                    items.last_mut().unwrap().1.extend(data);
                    open = !last;
                }
                Piece::Part { number, data, last } => {
                    items.push((number, data, true));
                    open = !last;
                }
            }
        }
        assert!(!open, "a part is the last one");
        items
    }

    #[test]
    fn items_are_the_same_however_the_bytes_come() {
        let text = b"one\n\ntwo\r\nthirteen bytes\nlast";
        let expected: Vec<_> = [&b"one"[..], b"", b"two\r", b"thirteen bytes", b"last"]
            .iter()
            .zip(1..)
            .map(|(data, number)| (number, data.to_vec(), data.len() > 8))
            .collect();
        for size in 1..=text.len() {
            let chunks: Vec<_> = text.chunks(size).collect();
            assert_eq!(split(&chunks, 8), expected, "chunks of {size}");
        }
        assert_eq!(split(&[], 8), []);
        assert_eq!(split(&[b"\n"], 8), [(1, vec![], false)]);
    }
}
