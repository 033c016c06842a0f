use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `STREAM.NAMES` and `STREAM.LIST`: one page.
#[derive(Serialize)]
pub(crate) struct PageRequest<'a> {
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
}

impl<'a> PageRequest<'a> {
    pub(crate) fn new(offset: u64, subject: Option<&'a str>) -> Self {
        Self { offset, subject }
    }
}

/// A page of names or of whole streams; what there is of the others.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Page {
    pub(crate) total: u64,
    /// Null where there is none.
    streams: Option<Vec<Value>>,
    /// Streams whose servers did not answer in time.
    missing: Option<Vec<String>>,
}

impl Page {
    pub(crate) fn into_parts(self) -> (Vec<Value>, Vec<String>) {
        (self.streams.unwrap_or_default(), self.missing.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_exactly_the_documented_fields() {
        let json = |request: &PageRequest<'_>| serde_json::to_string(request).unwrap();
        assert_eq!(json(&PageRequest::new(0, None)), r#"{"offset":0}"#);
        let filtered = PageRequest::new(1024, Some("*.governor.*"));
        assert_eq!(json(&filtered), r#"{"offset":1024,"subject":"*.governor.*"}"#);
    }

    #[test]
    fn a_page_without_streams_is_empty() {
        for none in [
            r#"{"type":"io.nats.jetstream.api.v1.stream_names_response","total":0,"offset":0,"limit":1024,"streams":null}"#,
            r#"{"total":0,"streams":[]}"#,
            "{}",
        ] {
            let page: Page = serde_json::from_str(none).unwrap();
            assert_eq!(page.into_parts(), (vec![], vec![]), "{none}");
        }
        let page: Page =
            serde_json::from_str(r#"{"total":2,"streams":["GOVERNOR_T"],"missing":["GOVERNOR_U"],"x":1}"#)
                .unwrap();
        assert_eq!(page.total, 2);
        assert_eq!(page.into_parts(), (vec!["GOVERNOR_T".into()], vec!["GOVERNOR_U".to_owned()]));
    }
}
