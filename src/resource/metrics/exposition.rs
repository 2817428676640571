//! The text format of Prometheus, read strictly: label values with escapes, exponents, `NaN` and `+Inf`, time stamps.
//! A line that is not understood makes the page unreadable, as it does for Prometheus itself.
use super::query::{Matcher, Selector};
use std::borrow::Cow;
use winnow::{
    Parser,
    combinator::{alt, delimited, opt, preceded, separated, terminated},
    error::EmptyError,
    token::{one_of, take_till, take_while},
};

type Read<T> = Result<T, EmptyError>;

/// One series of a page. Its labels may be in any order.
struct Series<'t> {
    name: &'t str,
    labels: Vec<(&'t str, Cow<'t, str>)>,
    value: f64,
}

/// What a selector finds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// The sum of all that match. None without one, or when it is not a number.
    pub value: Option<f64>,
    /// Nothing matches yet, but there are series of this name that have all of the labels: a counter that was never
    /// counted up does not appear.
    pub unborn: bool,
}

/// The number of the first line that is not understood.
pub fn check(text: &str) -> Result<(), usize> {
    text.lines().enumerate().try_for_each(|(i, line)| match line_of(line) {
        Ok(_) => Ok(()),
        Err(_) => Err(i + 1),
    })
}

/// The page has been checked.
pub fn sum(text: &str, selector: &Selector) -> Found {
    let named = text.lines().filter(|line| line.trim_start().starts_with(&selector.name));
    let series = named.filter_map(|line| line_of(line).ok().flatten()).filter(|s| s.name == selector.name);
    let (mut total, mut matching, mut known) = (0.0, false, false);
    for series in series {
        known |= selector.matchers.iter().all(|m| series.labels.iter().any(|(label, _)| *label == m.label));
        if selector.matchers.iter().all(|m| (m.value == label(&series, &m.label)) == m.equal) {
            total += series.value;
            matching = true;
        }
    }
    Found { value: Some(total).filter(|t| matching && t.is_finite()), unborn: known && !matching }
}

fn label<'s>(series: &'s Series<'_>, name: &str) -> &'s str {
    series.labels.iter().find(|(label, _)| *label == name).map_or("", |(_, value)| value)
}

/// `NAME{LABEL="VALUE",LABEL!="VALUE"}`, whole.
pub fn selector(text: &str) -> Option<Selector> {
    let matcher = (label_name, blank, alt(("!=", "=")), blank, quoted).map(
        |(label, _, operator, _, value): (&str, _, &str, _, Cow<'_, str>)| Matcher {
            label: label.to_owned(),
            equal: operator == "=",
            value: value.into_owned(),
        },
    );
    let mut rule = (terminated(metric_name, blank), opt(set(matcher)));
    let (name, matchers) = rule.parse(text).ok()?;
    Some(Selector { name: name.to_owned(), matchers: matchers.unwrap_or_default() })
}

/// Comments and empty lines are no series.
fn line_of(line: &str) -> Read<Option<Series<'_>>> {
    let line = line.trim_matches([' ', '\t', '\r']);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    series.parse(line).map(Some).map_err(|_| EmptyError)
}

fn series<'t>(input: &mut &'t str) -> Read<Series<'t>> {
    let pair = (label_name, delimited(blank, '=', blank), quoted).map(|(name, _, value)| (name, value));
    let (name, labels) = (terminated(metric_name, blank), opt(terminated(set(pair), blank))).parse_next(input)?;
    let word = || take_till(1.., [' ', '\t']);
    let value = word().verify_map(|text: &str| text.parse().ok()).parse_next(input)?;
    let stamp = preceded(blank, word().verify_map(|text: &str| text.parse::<i64>().ok()));
    opt(stamp).parse_next(input)?;
    Ok(Series { name, labels: labels.unwrap_or_default(), value })
}

/// A comma may follow the last one.
fn set<'t, T>(item: impl Parser<&'t str, T, EmptyError>) -> impl Parser<&'t str, Vec<T>, EmptyError> {
    let items = separated(0.., terminated(item, blank), (',', blank));
    delimited(('{', blank), items, (opt(','), blank, '}'))
}

fn metric_name<'t>(input: &mut &'t str) -> Read<&'t str> {
    let first = one_of(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | ':'));
    let rest = take_while(0.., |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'));
    (first, rest).take().parse_next(input)
}

fn label_name<'t>(input: &mut &'t str) -> Read<&'t str> {
    let first = one_of(|c: char| c.is_ascii_alphabetic() || c == '_');
    let rest = take_while(0.., |c: char| c.is_ascii_alphanumeric() || c == '_');
    (first, rest).take().parse_next(input)
}

fn quoted<'t>(input: &mut &'t str) -> Read<Cow<'t, str>> {
    '"'.parse_next(input)?;
    let mut value: Cow<'t, str> = take_till(0.., ['"', '\\']).map(Cow::Borrowed).parse_next(input)?;
    loop {
        match one_of(['"', '\\']).parse_next(input)? {
            '"' => return Ok(value),
            _ => {
                let escaped = one_of(['"', '\\', 'n']).parse_next(input)?;
                let rest: &str = take_till(0.., ['"', '\\']).parse_next(input)?;
                let text = value.to_mut();
                text.push(if escaped == 'n' { '\n' } else { escaped });
                text.push_str(rest);
            }
        }
    }
}

fn blank(input: &mut &str) -> Read<()> {
    take_while(0.., [' ', '\t']).void().parse_next(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"# HELP http_requests_total Requests, by "code" {and} path
# TYPE http_requests_total counter
http_requests_total{code="200",path="/a,b}"} 1.5e3 1543182234000
http_requests_total{ path = "/say \"hi\"\\" , code = "500", } 7
http_requests_total{code="503"} 3
http_requests_total_of_another{code="500"} 1000
	up 1  
shop:ratio:5m .25
temperature{room=""} -4
broken NaN
full +Inf
multi{text="a\nb"} 1

last 2"#;

    fn find(text: &str) -> Option<f64> {
        sum(PAGE, &selector(text).unwrap()).value
    }

    #[test]
    fn selectors_sum_what_matches() {
        assert_eq!(check(PAGE), Ok(()));
        for (text, wanted) in [
            ("http_requests_total", Some(1510.0)),
            (r#"http_requests_total{code="500"}"#, Some(7.0)),
            (r#"http_requests_total{code!="200"}"#, Some(10.0)),
            (r#"http_requests_total{code!="200",code!="503"}"#, Some(7.0)),
            (r#"http_requests_total{path="/a,b}"}"#, Some(1500.0)),
            (r#"http_requests_total{path="/say \"hi\"\\"}"#, Some(7.0)),
            (r#"http_requests_total{path=""}"#, Some(3.0)),
            (r#"http_requests_total{path!=""}"#, Some(1507.0)),
            (r#"multi{text="a\nb"}"#, Some(1.0)),
            ("up", Some(1.0)),
            ("up{}", Some(1.0)),
            ("shop:ratio:5m", Some(0.25)),
            ("temperature", Some(-4.0)),
            ("last", Some(2.0)),
            ("broken", None),
            ("full", None),
            ("gone", None),
            (r#"up{code="500"}"#, None),
        ] {
            assert_eq!(find(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_counter_that_never_counted_is_told_from_a_wrong_label() {
        let unborn = |text: &str| sum(PAGE, &selector(text).unwrap()).unborn;
        assert!(unborn(r#"http_requests_total{code="504"}"#));
        assert!(!unborn(r#"http_requests_total{code="500"}"#), "it is there");
        assert!(!unborn(r#"http_requests_total{cod="504"}"#), "no series has this label");
        assert!(!unborn(r#"http_requests{code="504"}"#), "there is no such metric");
        assert!(!unborn("gone"));
    }

    #[test]
    fn lines_that_are_none_are_found() {
        for line in [
            "<html>",
            "up",
            "up one",
            "up 1 2 3",
            "up 1 soon",
            "up{code=500} 1",
            r#"up{code="500} 1"#,
            r#"up{code="5\q"} 1"#,
            r#"up{code="5",,} 1"#,
            r#"up{5="a"} 1"#,
            r#"up{code="5"}"#,
            "5up 1",
            "{\"requests\": 1}",
        ] {
            assert_eq!(check(&format!("# fine\nup 1\n{line}\n")), Err(3), "{line}");
        }
    }
}
