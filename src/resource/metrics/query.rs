//! How one number is found on a page of the product, as the site says it.
use super::exposition::{self, Found};
use crate::condition::{Dimension, JsonPath, UNITS, Unit};
use serde_json::Value;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// `json:items.0.total`
    Json(JsonPath),
    /// `prometheus:http_requests_total{code="500"}`; the sum of all that match
    Prometheus(Selector),
    /// Change of one query divided by the change of another between two samples a second apart: an error rate from two
    /// counters. `ratio:ERRORS / ALL`, each `json:…` or `prometheus:…`.
    Ratio(Box<Query>, Box<Query>),
    /// `json:latency.p95 as ms`: the page has it in this unit.
    In(Box<Query>, Unit),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    pub name: String,
    pub matchers: Vec<Matcher>,
}

/// A label that is not there has the empty text as its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher {
    pub label: String,
    pub equal: bool,
    pub value: String,
}

impl Query {
    /// Reads the text of the site. The error is for people: what is wrong, and what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (rest, unit) = match text.rsplit_once(" as ") {
            Some((rest, unit)) if !unit.contains(['"', '}', '/']) || Unit::parse(unit.trim()).is_some() => {
                let units = || UNITS.iter().map(|u| u.as_str()).collect::<Vec<_>>().join(" ");
                let unit = unit.trim();
                let known =
                    Unit::parse(unit).ok_or_else(|| format!("there is no unit `{unit}`, there is: {}", units()))?;
                (rest.trim_end(), Some(known))
            }
            _ => (text, None),
        };
        let query = match rest.strip_prefix("ratio:") {
            Some(ratio) => Self::ratio(ratio)?,
            None => Self::leaf(rest)?,
        };
        Ok(match unit {
            Some(unit) => Self::In(Box::new(query), unit),
            None => query,
        })
    }

    fn ratio(text: &str) -> Result<Self, String> {
        // A slash may also stand inside a quoted label, so every place is tried; only one of them leaves two queries.
        let mut first = None;
        for (at, slash) in text.match_indices(" / ") {
            match (Self::leaf(&text[..at]), Self::leaf(&text[at + slash.len()..])) {
                (Ok(above), Ok(below)) => return Ok(Self::Ratio(Box::new(above), Box::new(below))),
                (Err(mistake), _) | (_, Err(mistake)) => first = first.or(Some(mistake)),
            }
        }
        Err(first.unwrap_or_else(|| "expected `ratio:ERRORS / ALL`, each `json:…` or `prometheus:…`".to_owned()))
    }

    fn leaf(text: &str) -> Result<Self, String> {
        let text = text.trim();
        match text.split_once(':') {
            Some(("json", path)) => path.trim().parse().map(Self::Json),
            Some(("prometheus", selector)) => Selector::parse(selector.trim()).map(Self::Prometheus),
            Some(("ratio", _)) => Err("a ratio is made of `json:…` or `prometheus:…`, not of ratios".to_owned()),
            _ => Err("expected `json:PATH`, `prometheus:NAME{LABEL=\"VALUE\"}` or `ratio:ERRORS / ALL`".to_owned()),
        }
    }

    /// What its number measures, as far as that is known.
    pub fn dimension(&self) -> Dimension {
        match self {
            Self::Json(_) | Self::Prometheus(_) => Dimension::Any,
            Self::Ratio(..) => Dimension::Fraction,
            Self::In(_, unit) => unit.dimension(),
        }
    }

    /// The queries that a single look at the page answers.
    pub fn leaves(&self) -> Vec<&Query> {
        match self {
            Self::Json(_) | Self::Prometheus(_) => vec![self],
            Self::Ratio(above, below) => vec![above, below],
            Self::In(query, _) => query.leaves(),
        }
    }

    pub fn is_ratio(&self) -> bool {
        match self {
            Self::Ratio(..) => true,
            Self::In(query, _) => query.is_ratio(),
            Self::Json(_) | Self::Prometheus(_) => false,
        }
    }
}

impl Selector {
    pub fn parse(text: &str) -> Result<Self, String> {
        exposition::selector(text).ok_or_else(|| {
            format!(
                "`{text}` is no selector: expected `NAME` or `NAME{{LABEL=\"VALUE\",LABEL!=\"VALUE\"}}`, no patterns"
            )
        })
    }
}

/// A page as it was once.
pub enum Page {
    Json(Value),
    Prometheus(String),
}

impl Page {
    pub fn find(&self, query: &Query) -> Found {
        let value = match (self, query) {
            (Self::Json(document), Query::Json(path)) => path.find(document).and_then(Value::as_f64),
            (Self::Prometheus(text), Query::Prometheus(selector)) => return exposition::sum(text, selector),
            _ => None,
        };
        Found { value, unborn: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_of_the_site_are_read() {
        let json = |path: &str| Query::Json(path.parse().unwrap());
        let series = |selector: &str| Query::Prometheus(Selector::parse(selector).unwrap());
        let ratio = |above, below| Query::Ratio(Box::new(above), Box::new(below));
        for (text, wanted) in [
            ("json:items.0.total", json("items.0.total")),
            (" json: \"a.b\".c ", json("\"a.b\".c")),
            ("prometheus:up", series("up")),
            ("ratio:json:errors / json:requests", ratio(json("errors"), json("requests"))),
            (
                r#"ratio:prometheus:e{path="/a / b"} / prometheus:r{path!="/a / b", x="",}"#,
                ratio(series(r#"e{path="/a / b"}"#), series(r#"r{path!="/a / b",x=""}"#)),
            ),
            ("json:p95 as ms", Query::In(Box::new(json("p95")), Unit::Milliseconds)),
            ("json:sent as MB/s", Query::In(Box::new(json("sent")), Unit::MegabytesPerSecond)),
            (r#"prometheus:e{said="as if"}"#, series(r#"e{said="as if"}"#)),
            ("ratio:json:sum / json:count as s", Query::In(Box::new(ratio(json("sum"), json("count"))), Unit::Seconds)),
        ] {
            assert_eq!(Query::parse(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn queries_that_are_none_say_what_was_expected() {
        let mut said = String::new();
        for text in [
            "",
            "up",
            "yaml:a",
            "json:",
            "json:items[0]",
            "json:a b",
            "prometheus:",
            "prometheus:up{",
            "prometheus:up{code=~\"5..\"}",
            "prometheus:up{code=500}",
            "prometheus:rate(up[1m])",
            "ratio:json:a",
            "ratio:json:a/json:b",
            "ratio:json:a / up",
            "ratio:ratio:json:a / json:b / json:c",
            "json:p95 as parsecs",
        ] {
            said.push_str(&format!("{text}\n  {}\n", Query::parse(text).unwrap_err().replace('\n', "\n  ")));
        }
        expect_test::expect![[r#"

              expected `json:PATH`, `prometheus:NAME{LABEL="VALUE"}` or `ratio:ERRORS / ALL`
            up
              expected `json:PATH`, `prometheus:NAME{LABEL="VALUE"}` or `ratio:ERRORS / ALL`
            yaml:a
              expected `json:PATH`, `prometheus:NAME{LABEL="VALUE"}` or `ratio:ERRORS / ALL`
            json:
              `` is no way into a JSON document: expected a way into the JSON, such as `items.0.id`
            json:items[0]
              `items[0]` is no way into a JSON document: expected `.` or the end of the path; write `items.0.id`
            json:a b
              `a b` is no way into a JSON document: expected `.` or the end of the path
            prometheus:
              `` is no selector: expected `NAME` or `NAME{LABEL="VALUE",LABEL!="VALUE"}`, no patterns
            prometheus:up{
              `up{` is no selector: expected `NAME` or `NAME{LABEL="VALUE",LABEL!="VALUE"}`, no patterns
            prometheus:up{code=~"5.."}
              `up{code=~"5.."}` is no selector: expected `NAME` or `NAME{LABEL="VALUE",LABEL!="VALUE"}`, no patterns
            prometheus:up{code=500}
              `up{code=500}` is no selector: expected `NAME` or `NAME{LABEL="VALUE",LABEL!="VALUE"}`, no patterns
            prometheus:rate(up[1m])
              `rate(up[1m])` is no selector: expected `NAME` or `NAME{LABEL="VALUE",LABEL!="VALUE"}`, no patterns
            ratio:json:a
              expected `ratio:ERRORS / ALL`, each `json:…` or `prometheus:…`
            ratio:json:a/json:b
              expected `ratio:ERRORS / ALL`, each `json:…` or `prometheus:…`
            ratio:json:a / up
              expected `json:PATH`, `prometheus:NAME{LABEL="VALUE"}` or `ratio:ERRORS / ALL`
            ratio:ratio:json:a / json:b / json:c
              a ratio is made of `json:…` or `prometheus:…`, not of ratios
            json:p95 as parsecs
              there is no unit `parsecs`, there is: % ms s m h B KiB MiB GiB kB MB GB /s B/s kB/s MB/s
        "#]]
        .assert_eq(&said);
    }
}
