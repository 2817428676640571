use serde_json::Value;
use std::fmt;

/// A way into a JSON document: `items.0.id`, `"http.server.requests".max`. A segment is a key of an object or the number
/// of an element of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPath {
    /// at least one
    pub segments: Vec<String>,
}

/// What a segment may hold without quotes.
pub(super) fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '$' | '@')
}

impl JsonPath {
    pub fn find<'v>(&self, document: &'v Value) -> Option<&'v Value> {
        self.segments.iter().try_fold(document, |value, segment| match value {
            Value::Object(fields) => fields.get(segment),
            Value::Array(items) if segment.bytes().all(|b| b.is_ascii_digit()) => {
                items.get(segment.parse::<usize>().ok()?)
            }
            _ => None,
        })
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.segments.iter().enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            if !segment.is_empty() && segment.chars().all(plain) {
                f.write_str(segment)?;
            } else {
                f.write_str(&super::quoted(segment))?;
            }
        }
        Ok(())
    }
}

impl std::str::FromStr for JsonPath {
    type Err = String;

    /// The error is one line.
    fn from_str(text: &str) -> Result<Self, String> {
        super::parse::json_path(text).map_err(|mistake| match mistake.hint {
            Some(hint) => format!("`{text}` is no way into a JSON document: {}; {hint}", mistake.problem),
            None => format!("`{text}` is no way into a JSON document: {}", mistake.problem),
        })
    }
}
