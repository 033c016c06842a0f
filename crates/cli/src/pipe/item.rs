//! Items, and what they say about themselves.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use super::args::{Input, PipeArgs};
use super::choice::{Cost, MsgId, Pointer, Target};

/// What an item takes beside its bytes, roughly.
pub(super) const OVERHEAD: usize = 160;

/// One item, until it is settled.
#[derive(Debug)]
pub(super) struct Item {
    /// As it came in, without its end.
    pub(super) data: Bytes,
    /// Which one it was, from 1.
    pub(super) number: u64,
    pub(super) cost: u32,
    /// Items with the same one keep their order.
    pub(super) key: Option<u64>,
    /// By what a stream knows it.
    pub(super) id: Option<Box<str>>,
    /// Its place in the buffer.
    pub(super) place: Option<OwnedSemaphorePermit>,
}

impl Item {
    pub(super) fn bare(number: u64, data: Vec<u8>) -> Self {
        Self { data: data.into(), number, cost: 0, key: None, id: None, place: None }
    }
}

/// Finds out what the flags want to know of each item.
#[derive(Debug)]
pub(super) struct Reader {
    ndjson: bool,
    text: bool,
    cost: Cost,
    key: Option<Pointer>,
    id: Ids,
}

#[derive(Debug)]
enum Ids {
    Unneeded,
    /// Begins like that, and ends with the number.
    Run(String),
    Hash,
    Json(Pointer),
}

impl Reader {
    pub(super) fn new(args: &PipeArgs) -> Self {
        let id = match &args.msg_id {
            _ if !matches!(args.to, Target::Stream { .. }) => Ids::Unneeded,
            MsgId::None => Ids::Run(nuid::next().to_string()),
            MsgId::Hash => Ids::Hash,
            MsgId::Json(pointer) => Ids::Json(pointer.clone()),
        };
        Self {
            ndjson: args.input == Input::Ndjson,
            text: args.to == Target::Stdout,
            cost: args.cost.clone().unwrap_or(Cost::Each(1)),
            key: args.key.clone(),
            id,
        }
    }

    /// Only white space where documents are expected is no item.
    pub(super) fn is_nothing(&self, data: &[u8]) -> bool {
        self.ndjson && data.trim_ascii().is_empty()
    }

    /// Completes the item, or says why it cannot be delivered.
    pub(super) fn read(&self, item: &mut Item) -> Result<(), String> {
        if self.text && str::from_utf8(&item.data).is_err() {
            return Err("is no UTF-8, which stdout's JSON cannot hold".to_owned());
        }
        let document = self.document(&item.data)?;
        item.cost = match &self.cost {
            Cost::Each(units) => *units,
            Cost::Bytes => u32::try_from(item.data.len()).unwrap_or(u32::MAX),
            Cost::Json(pointer) => units(pointer, pointer.find(&document)?)?,
        };
        if let Some(pointer) = &self.key {
            let mut hasher = DefaultHasher::new();
            pointer.find(&document)?.to_string().hash(&mut hasher);
            item.key = Some(hasher.finish());
        }
        item.id = match &self.id {
            Ids::Unneeded => None,
            Ids::Run(run) => Some(format!("{run}.{}", item.number).into()),
            Ids::Hash => {
                let hash = Sha256::digest(&item.data);
                Some(hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
            }
            Ids::Json(pointer) => Some(message_id(pointer, pointer.find(&document)?)?),
        };
        Ok(())
    }

    /// The item as a document, if anything in it is asked for.
    fn document(&self, data: &[u8]) -> Result<Value, String> {
        let asked =
            matches!(self.cost, Cost::Json(_)) || self.key.is_some() || matches!(self.id, Ids::Json(_));
        let no_json = |error: serde_json::Error| format!("is no JSON: {error}");
        if asked {
            return serde_json::from_slice(data).map_err(no_json);
        }
        if self.ndjson {
            let text = str::from_utf8(data).map_err(|_| "is no JSON: is no UTF-8".to_owned())?;
            serde_json::from_str::<IgnoredAny>(text).map_err(no_json)?;
        }
        Ok(Value::Null)
    }
}

/// A part of a unit is a unit.
fn units(pointer: &Pointer, value: &Value) -> Result<u32, String> {
    let number = value.as_f64().filter(|number| (0.0..=f64::from(u32::MAX)).contains(number));
    match number {
        // The range was checked.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Some(number) => Ok(number.ceil() as u32),
        None => Err(format!("{} is no cost: a number from 0 to {} is", pointer.path(), u32::MAX)),
    }
}

fn message_id(pointer: &Pointer, value: &Value) -> Result<Box<str>, String> {
    let id = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    if id.is_empty() || id.contains(['\r', '\n']) {
        return Err(format!("{} is no message id: a number, or text on one line is", pointer.path()));
    }
    Ok(id.into())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: PipeArgs,
    }

    fn read(flags: &str, data: &str) -> Result<Item, String> {
        let line = Line::try_parse_from(["pipe"].into_iter().chain(flags.split_whitespace())).unwrap();
        let mut item = Item::bare(7, data.as_bytes().to_vec());
        Reader::new(&line.args).read(&mut item)?;
        Ok(item)
    }

    #[test]
    fn costs_are_numbers_bytes_or_in_the_item() {
        let cost = |flags: &str, data: &str| read(&format!("--rate 9/s {flags}"), data).map(|item| item.cost);
        assert_eq!(cost("", "four"), Ok(1));
        assert_eq!(cost("--cost 3", "four"), Ok(3));
        assert_eq!(cost("--cost bytes", "four"), Ok(4));
        assert_eq!(cost("--cost json:/ru", r#"{"ru": 2.1}"#), Ok(3));
        assert_eq!(cost("--cost json:/ru", r#"{"ru": 0}"#), Ok(0));
        for data in [r#"{"ru": -1}"#, r#"{"ru": "2"}"#, r#"{"ru": 1e10}"#] {
            assert!(cost("--cost json:/ru", data).unwrap_err().contains("/ru is no cost"), "{data}");
        }
        assert_eq!(cost("--cost json:/ru", "{}"), Err("there is no /ru".to_owned()));
        assert!(cost("--cost json:/ru", "x").unwrap_err().starts_with("is no JSON: "));
    }

    #[test]
    fn the_same_key_is_the_same_whatever_stands_beside_it() {
        let key = |data: &str| read("--key json:/k", data).map(|item| item.key);
        assert_eq!(key(r#"{"k": 1, "x": 2}"#), key(r#"{ "x":3, "k":1 }"#));
        assert_ne!(key(r#"{"k": 1}"#), key(r#"{"k": "1"}"#));
        assert!(key("{}").is_err());
        assert_eq!(read("", "{}").unwrap().key, None);
    }

    #[test]
    fn ids_are_of_the_run_of_the_item_or_in_it() {
        let id = |flags: &str, data: &str| read(&format!("--to stream:S {flags}"), data).map(|item| item.id);
        assert!(id("", "x").unwrap().unwrap().ends_with(".7"));
        assert_ne!(id("", "x"), id("", "x"), "each run has its own");
        assert_eq!(id("--msg-id hash", "x"), id("--msg-id hash", "x"));
        assert_ne!(id("--msg-id hash", "x"), id("--msg-id hash", "y"));
        assert_eq!(id("--msg-id json:/id", r#"{"id": "a"}"#).unwrap().as_deref(), Some("a"));
        assert_eq!(id("--msg-id json:/id", r#"{"id": 5}"#).unwrap().as_deref(), Some("5"));
        for data in [r#"{"id": ""}"#, r#"{"id": "a\nb"}"#, r#"{"id": null}"#] {
            assert!(id("--msg-id json:/id", data).is_err(), "{data}");
        }
        assert_eq!(read("--to nats:x", "x").unwrap().id, None);
    }

    #[test]
    fn documents_are_documents_and_text_is_text() {
        assert!(read("--input ndjson", "{\"a\":1}").is_ok());
        for data in ["{", "1 2", "nonsense"] {
            assert!(read("--input ndjson", data).is_err(), "{data}");
        }
        let mut item = Item::bare(1, vec![0xff]);
        let line = Line::try_parse_from(["pipe"]).unwrap();
        assert!(Reader::new(&line.args).read(&mut item).unwrap_err().contains("UTF-8"));
    }
}
