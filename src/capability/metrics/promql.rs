//! What a script may ask in its own words. Only the server can read PromQL; here is held what it would cost: how long a query is,
//! how far it looks back, and how often it is evaluated.
use crate::resource::Failure;
use std::time::Duration;

/// Bytes of a query.
pub const MAX_QUERY: usize = 2 << 10;
/// How much of the past one part of it may look at.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Evaluations of a subquery.
const MOST: u32 = 11_000;
/// As often as a server evaluates where it is not told, at the most.
const USUAL: Duration = Duration::from_secs(15);

/// Whether a query stays in bounds.
pub fn bounded(query: &str) -> Result<(), Failure> {
    if query.len() > MAX_QUERY {
        return Err(Failure::invalid(format!("a query has at most {MAX_QUERY} bytes")));
    }
    let (mut rest, mut subqueries) = (query, 0);
    while let Some(at) = rest.find(['\'', '"', '`', '#', '[']) {
        let (mark, behind) = (rest.as_bytes()[at], &rest[at + 1..]);
        rest = match mark {
            b'#' => behind.split_once('\n').map_or("", |(_, next)| next),
            b'[' => {
                // One that is not closed is the server's to refuse.
                let Some((inside, next)) = behind.split_once(']') else { return Ok(()) };
                subqueries += usize::from(looks_back(inside)?);
                next
            }
            quote => behind_text(behind, char::from(quote)),
        };
    }
    if subqueries > 1 {
        return Err(Failure::invalid("a query of a script has at most one subquery (`[10m:1m]`)"));
    }
    Ok(())
}

/// What follows a text in quotes. What they hold is no part of the query.
fn behind_text(text: &str, quote: char) -> &str {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote != '`' => escaped = true,
            c if c == quote => return &text[at + 1..],
            _ => {}
        }
    }
    ""
}

/// `5m`, or `10m:1m` of a subquery; whether it is one.
fn looks_back(inside: &str) -> Result<bool, Failure> {
    let (range, step) = match inside.split_once(':') {
        Some((range, step)) => (range, Some(step.trim())),
        None => (inside, None),
    };
    let range = duration(range)?;
    if range > LONGEST {
        return Err(Failure::invalid(format!(
            "`[{}]`: a query of a script looks back a day at the most",
            inside.trim()
        )));
    }
    let Some(step) = step else { return Ok(false) };
    let step = if step.is_empty() { USUAL } else { duration(step)? };
    if step.is_zero() || range.as_millis() / step.as_millis().max(1) > u128::from(MOST) {
        return Err(Failure::invalid(format!("`[{}]` is more than {MOST} evaluations", inside.trim())));
    }
    Ok(true)
}

/// `1h30m`, `500ms`, or seconds.
fn duration(text: &str) -> Result<Duration, Failure> {
    let text = text.trim();
    let wrong = || {
        let shown: String = text.escape_debug().take(40).collect();
        Failure::invalid(format!(
            "`{shown}` is no length of time that can be read before it is asked: write `5m` or `1h30m`"
        ))
    };
    let (mut rest, mut millis) = (text, 0_u64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];
        let behind = &rest[digits..];
        let years = 31_536_000_000;
        let (unit, next) =
            match units.iter().chain(&[("y", years)]).find_map(|(unit, of)| Some((*of, behind.strip_prefix(unit)?))) {
                Some(found) => found,
                None if behind.is_empty() && rest.len() == text.len() => (1000, ""),
                None => return Err(wrong()),
            };
        millis = millis.saturating_add(number.saturating_mul(unit));
        rest = next;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(Duration::from_millis(millis)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_held_to_what_it_would_cost() {
        for fine in [
            "up",
            "rate(x[5m])",
            "x[1d]",
            "x[ 86400 ]",
            "max_over_time(rate(x[5m])[1h:10s])",
            "x[1d:]",
            "x{a=\"[9y]\",b='[\\'9y]',c=`[9y\\`}",
            "x # [9y]",
            "x offset 1w",
            "x[1h30m500ms]",
            "x[",
        ] {
            bounded(fine).unwrap_or_else(|failure| panic!("{fine}: {failure}"));
        }
        for wrong in [
            "x[2d]",
            "x[1d1ms]",
            "x[25h:1h]",
            "x[86401]",
            "x[9223372036854775807y]",
            "x[99999999999999999999s]",
            "x[1d:1s]",
            "x[1d:0s]",
            "(x[5m:1m])[5m:1m]",
            "x[5m*2]",
            "x[]",
            "x[:]",
            "x{a=\"]\"}[2d]",
            "x{a=`\\`}[2d]",
            "x # '\n + x[2d]",
        ] {
            assert!(bounded(wrong).is_err(), "{wrong}");
        }
        assert!(bounded(&"x".repeat(MAX_QUERY + 1)).is_err());
    }
}
