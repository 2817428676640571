//! Whether the body of an operation's entry can be read, without making anything of it: by far the most entries are of operations,
//! and an audit needs no more of them.
use super::skim;
use crate::failure::Failure;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use std::{borrow::Cow, fmt};

/// Whether it can be read as an entry of this kind for certain; otherwise it has to be read in earnest.
pub fn reads_as(kind: &[u8], body: &[u8]) -> bool {
    if skim::reads_as(kind, body) {
        return true;
    }
    match kind {
        b"intent" => is::<Intent<'_>>(kind, body, |entry| &entry.entry),
        b"outcome" => is::<Outcome<'_>>(kind, body, |entry| &entry.entry),
        b"observed" => is::<Observed<'_>>(kind, body, |entry| &entry.entry),
        _ => false,
    }
}

fn is<'b, T: Deserialize<'b>>(kind: &[u8], body: &'b [u8], name: impl Fn(&T) -> &str) -> bool {
    serde_json::from_slice::<T>(body).is_ok_and(|entry| name(&entry).as_bytes() == kind)
}

// The fields of `Entry` and `Request`, with `Sound` for what may be anything.

#[derive(Deserialize)]
#[allow(dead_code, reason = "that they are there is what is asked")]
struct Intent<'b> {
    #[serde(borrow)]
    entry: Cow<'b, str>,
    #[serde(borrow)]
    operation: Cow<'b, str>,
    #[serde(borrow)]
    class: Cow<'b, str>,
    #[serde(borrow)]
    label: Cow<'b, str>,
    #[serde(borrow)]
    resource: Cow<'b, str>,
    changes: Vec<String>,
    #[serde(default)]
    disturbs: bool,
    request: Sound,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "that they are there is what is asked")]
struct Outcome<'b> {
    #[serde(borrow)]
    entry: Cow<'b, str>,
    result: Result<Sound, Failure>,
    millis: u64,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "that they are there is what is asked")]
struct Observed<'b> {
    #[serde(borrow)]
    entry: Cow<'b, str>,
    #[serde(borrow)]
    operation: Cow<'b, str>,
    #[serde(borrow)]
    class: Cow<'b, str>,
    #[serde(borrow)]
    label: Cow<'b, str>,
    #[serde(borrow)]
    resource: Cow<'b, str>,
    changes: Vec<String>,
    #[serde(default)]
    disturbs: bool,
    request: Sound,
    result: Result<Sound, Failure>,
    millis: u64,
}

/// Any value that `serde_json::Value` could be, numbers in their bounds included.
struct Sound;

impl<'de> Deserialize<'de> for Sound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Sound {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(Self)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(Self)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(Self)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(Self)
    }
    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(Self)
    }
    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(Self)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(Self)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self, A::Error> {
        while fields.next_entry::<Self, Self>()?.is_some() {}
        Ok(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Entry;
    use serde_json::Value;
    use std::ops::Range;

    /// Neither way says of anything that it can be read which cannot be.
    #[test]
    fn what_reads_at_a_glance_reads_in_earnest() {
        let asked = r#""operation":"tool.run","class":"once","label":"t","resource":"tool:t","changes":["tree:app"]"#;
        let values = [
            "null",
            "true",
            "fals",
            "{}",
            "[]",
            "[1,]",
            "[1 ,2]",
            "{\"a\":1,}",
            "{\"a\"}",
            "{1:2}",
            "0",
            "-0",
            "01",
            "-",
            "1.",
            "1.5",
            ".5",
            "1e5",
            "1e999",
            "18446744073709551616",
            "1234567890123456789012345678901234567890",
            "\"\"",
            "\"\u{fc}\"",
            "\"\\n\\\"\"",
            "\"\\x\"",
            "\"\\u0041\"",
            "\"\\ud800\"",
            "\"\t\"",
            "\"\n",
            "\"\u{7f}\"",
            "{\"a\":{\"b\":[[],{}]}}",
            "",
            "nulll",
            "]",
        ];
        let deep = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let values = values.map(str::to_owned).into_iter().chain([30, 60, 70, 126, 127, 128, 500].map(deep));
        let (mut skimmed, mut read, mut parted) = (0, 0, 0);
        for value in values {
            for body in [
                format!(r#"{{"entry":"intent",{asked},"request":{value}}}"#),
                format!(r#"{{"entry":"intent",{asked},"disturbs":true,"request":{value}}}"#),
                format!(r#"{{"entry":"intent",{asked},"disturbs":false,"request":{value}}}"#),
                format!(r#"{{"entry":"intent",{asked},"request":{value}}} "#),
                format!(r#"{{"entry":"intent",{asked},"request":{value}}}}}"#),
                format!(r#"{{"entry":"outcome","result":{{"Ok":{value}}},"millis":7}}"#),
                format!(r#"{{"entry":"outcome","result":{{"Ok":{value}}},"millis":-7}}"#),
                format!(r#"{{"entry":"outcome","result":{{"Ok":{value}}},"millis":18446744073709551616}}"#),
                format!(r#"{{"entry":"outcome","result":{{"Err":{value}}},"millis":7}}"#),
                format!(r#"{{"entry":"observed",{asked},"request":{value},"result":{{"Ok":{value}}},"millis":7}}"#),
                format!(r#"{{"entry":"observed",{asked},"result":{{"Ok":{value}}},"request":{value},"millis":7}}"#),
                format!(r#"{{"entry":"observed",{asked},"request":null,"result":{{"Ok":1,"Ok":{value}}},"millis":7}}"#),
            ] {
                if let Some(parts) = skim::observed(&body) {
                    let read = Entry::read(&body);
                    let Ok(Entry::Observed { request, result: Ok(answer), .. }) = read else {
                        panic!("{body}: {read:?}")
                    };
                    let value = |part: &Range<usize>| serde_json::from_str::<Value>(&body[part.clone()]).unwrap();
                    assert_eq!([&body[parts.operation], &body[parts.label]], [request.operation, request.label]);
                    assert_eq!((value(&parts.request), value(&parts.answer)), (request.request, answer), "{body}");
                    parted += 1;
                }
                for kind in ["intent", "outcome", "observed"] {
                    let there = serde_json::from_str::<Entry>(&body).is_ok() && body.contains(&format!(":\"{kind}\""));
                    for (glance, count) in
                        [(skim::reads_as as fn(&[u8], &[u8]) -> bool, &mut skimmed), (reads_as, &mut read)]
                    {
                        let reads = glance(kind.as_bytes(), body.as_bytes());
                        assert!(!reads || there, "{kind}: {body}");
                        *count += u32::from(reads);
                    }
                }
            }
        }
        assert!(!reads_as(b"outcome", b"{\"entry\":\"outcome\",\"result\":{\"Ok\":\"\xff\"},\"millis\":7}"));
        assert!(skimmed > 50 && read > skimmed && parted > 10, "{skimmed} {read} {parted}");
    }
}
