//! The grammar, a function per rule. What may follow is always decided by the next characters, so nothing is tried twice
//! and every mistake has one place.
use super::{
    Comparison, Condition, Dimension, JsonPath, MAX_COMPARISONS, MAX_LENGTH, Mistake, Operator, Quantity, Subject,
    UNITS, Unit, Value, Words, json,
};
use crate::diagnostic::nearest;
use std::ops::Range;
use winnow::{
    Parser,
    error::ParserError,
    stream::{AsChar, LocatingSlice, Location, Stream},
    token::{one_of, take_while},
};

type Input<'i> = LocatingSlice<&'i str>;
type Parsed<T> = Result<T, Wrong>;

/// Characters of a number. More of them are no measurement.
const MAX_DIGITS: usize = 40;

/// A mistake that does not know its text yet.
#[derive(Debug)]
pub struct Wrong {
    pub at: Range<usize>,
    pub problem: String,
    pub hint: Option<String>,
    pub unknown: Option<String>,
}

impl Wrong {
    fn new(at: Range<usize>, problem: impl Into<String>) -> Self {
        Self { at, problem: problem.into(), hint: None, unknown: None }
    }
    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
    fn meant(self, word: Option<&str>) -> Self {
        match word {
            Some(word) => self.hint(format!("did you mean `{word}`?")),
            None => self,
        }
    }
}

impl<'i> ParserError<Input<'i>> for Wrong {
    type Inner = Self;

    fn from_input(input: &Input<'i>) -> Self {
        Self::new(token(input), "this is not understood")
    }
    fn into_inner(self) -> Result<Self, Self> {
        Ok(self)
    }
}

pub fn condition(text: &str, words: &Words) -> Result<Condition, Mistake> {
    read(text, |input| comparisons(input, words))
}

pub fn json_path(text: &str) -> Result<JsonPath, Mistake> {
    read(text, |input| {
        let path = path(input)?;
        match input.is_empty() {
            true => Ok(path),
            false => Err(Wrong::new(token(input), "expected `.` or the end of the path")),
        }
    })
}

fn read<'i, T>(text: &'i str, rule: impl FnOnce(&mut Input<'i>) -> Parsed<T>) -> Result<T, Mistake> {
    let result = if text.len() > MAX_LENGTH {
        Err(Wrong::new(0..0, format!("longer than {MAX_LENGTH} bytes")))
    } else {
        rule(&mut LocatingSlice::new(text))
    };
    result.map_err(|wrong| Mistake::new(text, wrong))
}

/// condition = comparison, { "and", comparison } ;
fn comparisons(input: &mut Input<'_>, words: &Words) -> Parsed<Condition> {
    let mut comparisons = vec![comparison(input, words)?];
    loop {
        space(input)?;
        if input.is_empty() {
            return Ok(Condition { comparisons });
        }
        and(input)?;
        if comparisons.len() == MAX_COMPARISONS {
            return Err(Wrong::new(token(input), format!("more than {MAX_COMPARISONS} comparisons")));
        }
        comparisons.push(comparison(input, words)?);
    }
}

fn and(input: &mut Input<'_>) -> Parsed<()> {
    let at = token(input);
    match peek_token(input) {
        "and" => {
            take(input, "and".len());
            Ok(())
        }
        other => {
            let wrong = Wrong::new(at, "expected `and` or the end of the condition");
            Err(match other {
                "&&" | "&" | "," | ";" => wrong.hint("comparisons are joined by `and`"),
                "or" | "||" | "|" => wrong.hint("there is no `or`: all comparisons of a condition must hold"),
                "+" | "-" | "*" | "/" => wrong.hint("there is no arithmetic but `1.2 * baseline + 20ms`"),
                word => wrong.meant(nearest(word, ["and"])),
            })
        }
    }
}

/// comparison = subject, operator, value ;
fn comparison(input: &mut Input<'_>, words: &Words) -> Parsed<Comparison> {
    let (subject, dimension) = subject(input, words)?;
    let operator = operator(input, &subject)?;
    let value = value(input, &subject, operator, dimension, words)?;
    Ok(Comparison { subject, operator, value })
}

/// subject = name | "body" | "header", header name | "json", path ;
fn subject(input: &mut Input<'_>, words: &Words) -> Parsed<(Subject, Dimension)> {
    space(input)?;
    let at = token(input);
    let expected = || format!("expected what to compare: {}", words.subjects().join(", "));
    if !input.chars().next().is_some_and(|c| c.is_ascii_alphabetic()) {
        return Err(Wrong::new(
            at,
            if words.subjects().is_empty() { "expected a name".to_owned() } else { expected() },
        ));
    }
    let (name, at) = take_while(1.., is_name).with_span().parse_next(input)?;
    if input.starts_with(char::is_alphanumeric) {
        return Err(Wrong::new(token(input), "a name is made of ASCII letters, digits, `-`, `_` and `.`"));
    }
    match name {
        "body" | "header" | "json" if !words.answers() => {
            Err(Wrong::new(at, format!("`{name}` is a part of an answer to a request, there is none here")))
        }
        "body" => Ok((Subject::Body, Dimension::Any)),
        "header" => {
            space(input)?;
            let at = token(input);
            let name: &str = take_while(0.., is_header).parse_next(input)?;
            match name {
                "" => Err(Wrong::new(at, "expected the name of a header, such as `x-frame-options`")),
                name => Ok((Subject::Header(name.to_ascii_lowercase()), Dimension::Any)),
            }
        }
        "json" => {
            space(input)?;
            Ok((Subject::Json(path(input)?), Dimension::Number))
        }
        "and" | "contains" | "baseline" => Err(Wrong::new(at, expected())),
        name => match words.dimension(name) {
            Some(dimension) => Ok((Subject::Name(name.to_owned()), dimension)),
            None => Err(unknown(name, at, words)),
        },
    }
}

fn unknown(name: &str, at: Range<usize>, words: &Words) -> Wrong {
    let known = words.subjects();
    let problem = match known.as_slice() {
        [] => format!("there is no `{name}`"),
        known => format!("there is no `{name}` here, there is: {}", known.join(", ")),
    };
    let wrong = Wrong { unknown: Some(name.to_owned()), ..Wrong::new(at, problem) };
    match name.split_once('.') {
        Some((part @ ("json" | "header"), rest)) if words.answers() => wrong.hint(format!("write `{part} {rest}`")),
        _ => wrong.meant(nearest(name, known)),
    }
}

/// path = segment, { ".", segment } ;
fn path(input: &mut Input<'_>) -> Parsed<JsonPath> {
    let mut segments = Vec::new();
    loop {
        let at = token(input);
        let segment = if input.starts_with('"') {
            quoted(input)?
        } else {
            take_while(0.., json::plain).parse_next(input).map(str::to_owned)?
        };
        if segment.is_empty() {
            return Err(Wrong::new(at, "expected a way into the JSON, such as `items.0.id`"));
        }
        segments.push(segment);
        if input.starts_with('[') {
            return Err(Wrong::new(token(input), "expected `.` or the end of the path").hint("write `items.0.id`"));
        }
        if !input.starts_with('.') {
            return Ok(JsonPath { segments });
        }
        take(input, 1);
    }
}

/// operator = "<" | "<=" | ">" | ">=" | "=" | "!=" | "contains" ;
fn operator(input: &mut Input<'_>, subject: &Subject) -> Parsed<Operator> {
    use Operator::{AtLeast, AtMost, Contains, Equal, Less, More, NotEqual};
    let takes: &[Operator] = match subject {
        Subject::Name(_) => &[Less, AtMost, More, AtLeast, Equal, NotEqual],
        Subject::Body | Subject::Header(_) => &[Equal, NotEqual, Contains],
        Subject::Json(_) => Operator::ALL,
    };
    let list = || takes.iter().map(|o| o.as_str()).collect::<Vec<_>>().join(" ");
    space(input)?;
    let at = token(input);
    let text = peek_token(input);
    match Operator::ALL.iter().copied().find(|o| o.as_str() == text) {
        Some(operator) if takes.contains(&operator) => {
            take(input, text.len());
            Ok(operator)
        }
        Some(operator) => {
            Err(Wrong::new(at, format!("`{subject}` cannot be compared by `{operator}`, only by {}", list())))
        }
        None => {
            let wrong = Wrong::new(at, format!("expected an operator: {}", list()));
            Err(match text {
                "==" | "is" | "equals" => wrong.hint("write `=`"),
                "=<" | "≤" => wrong.hint("write `<=`"),
                "=>" | "≥" => wrong.hint("write `>=`"),
                "<>" | "≠" | "!" | "not" => wrong.hint("write `!=`"),
                "~" | "=~" | "matches" => wrong.hint("there are no patterns, only `contains`"),
                word => wrong.meant(nearest(word, takes.iter().map(|o| o.as_str()).filter(|o| o.len() > 2))),
            })
        }
    }
}

/// value = limit | text ; which of them is decided by the subject.
fn value(
    input: &mut Input<'_>,
    subject: &Subject,
    operator: Operator,
    dimension: Dimension,
    words: &Words,
) -> Parsed<Value> {
    space(input)?;
    let is_number = input.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    match subject {
        Subject::Name(name) => limit(input, name, dimension, words),
        Subject::Json(_) if operator != Operator::Contains && is_number => {
            quantity(input, &subject.to_string(), dimension).map(Value::Quantity)
        }
        Subject::Json(_) if !matches!(operator, Operator::Equal | Operator::NotEqual | Operator::Contains) => {
            Err(Wrong::new(token(input), "expected a number"))
        }
        Subject::Json(_) | Subject::Body | Subject::Header(_) => text(input).map(Value::Text),
    }
}

/// limit = quantity | [ number, "*" ], "baseline", [ ( "+" | "-" ), quantity ] ;
fn limit(input: &mut Input<'_>, name: &str, dimension: Dimension, words: &Words) -> Parsed<Value> {
    let at = token(input);
    let expected = || match words.baseline() {
        true => format!("expected {}, or `baseline`", dimension.describe()),
        false => format!("expected {}", dimension.describe()),
    };
    if input.starts_with(|c: char| c.is_ascii_alphabetic()) {
        let (word, at) = take_while(1.., is_name).with_span().parse_next(input)?;
        return match word {
            "baseline" => baseline(input, name, at, 1.0, dimension, words),
            word => {
                Err(Wrong::new(at, expected())
                    .meant(nearest(word, ["baseline"].into_iter().filter(|_| words.baseline()))))
            }
        };
    }
    if !input.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        let wrong = Wrong::new(at.clone(), expected());
        return Err(if input.starts_with('.') { wrong.hint("write `0.5`") } else { wrong });
    }
    // Whether it is a limit or a factor shows after it, so its unit is looked at last.
    let start = input.checkpoint();
    let (factor, _) = number(input)?;
    space(input)?;
    if words.baseline() && peek_token(input) == "baseline" {
        return Err(Wrong::new(token(input), "expected `*` before `baseline`"));
    }
    if !input.starts_with('*') {
        input.reset(&start);
        return quantity(input, name, dimension).map(Value::Quantity);
    }
    take(input, 1);
    space(input)?;
    let at = token(input);
    match peek_token(input) {
        "baseline" => {
            take(input, "baseline".len());
            baseline(input, name, at, factor, dimension, words)
        }
        other => Err(Wrong::new(at, "expected `baseline`").meant(nearest(other, ["baseline"]))),
    }
}

/// What follows the word `baseline`.
fn baseline(
    input: &mut Input<'_>,
    name: &str,
    at: Range<usize>,
    factor: f64,
    dimension: Dimension,
    words: &Words,
) -> Parsed<Value> {
    if !words.baseline() {
        return Err(Wrong::new(at, format!("`{name}` has no baseline, only metrics have")));
    }
    space(input)?;
    if input.starts_with('*') {
        return Err(Wrong::new(token(input), "the factor stands before `baseline`").hint("write `1.2 * baseline`"));
    }
    let sign = match input.chars().next() {
        Some('+') => 1.0,
        Some('-') => -1.0,
        _ => return Ok(Value::Baseline { factor, offset: None }),
    };
    take(input, 1);
    space(input)?;
    if !input.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(Wrong::new(token(input), format!("expected {}", dimension.describe())));
    }
    let offset = quantity(input, name, dimension)?;
    Ok(Value::Baseline { factor, offset: Some(Quantity { number: sign * offset.number, ..offset }) })
}

/// quantity = number, [ unit ] ; without a space between them.
fn quantity(input: &mut Input<'_>, name: &str, dimension: Dimension) -> Parsed<Quantity> {
    let (number, number_at) = number(input)?;
    let (text, at) =
        take_while(0.., |c: char| c.is_ascii_alphanumeric() || matches!(c, '%' | '/')).with_span().parse_next(input)?;
    let unit = match text {
        "" => None,
        text => Some(Unit::parse(text).ok_or_else(|| unknown_unit(text, at.clone(), dimension))?),
    };
    if unit.is_none() && at_distant_unit(input)? {
        return Err(Wrong::new(token(input), "a unit follows its number without a space"));
    }
    if !dimension.takes(unit) {
        let at = if unit.is_some() { at } else { number_at };
        return Err(Wrong::new(at, format!("`{name}` is {}", dimension.describe())));
    }
    // `errors < 1` was most likely meant as `1%`, and would always hold.
    if dimension == Dimension::Fraction && unit.is_none() && number.abs() >= 1.0 {
        return Err(Wrong::new(number_at, format!("`{name}` is {}", dimension.describe()))
            .hint(format!("write `{number}%` or `{}%`", number * 100.0)));
    }
    Ok(Quantity { number, unit })
}

/// Whether a unit follows after a space. Stands before it then, else where it was.
fn at_distant_unit(input: &mut Input<'_>) -> Parsed<bool> {
    let start = input.checkpoint();
    space(input)?;
    let found = Unit::parse(peek_token(input)).is_some();
    if !found {
        input.reset(&start);
    }
    Ok(found)
}

fn unknown_unit(text: &str, at: Range<usize>, dimension: Dimension) -> Wrong {
    let known: Vec<&str> = UNITS.iter().filter(|u| dimension.takes(Some(**u))).map(|u| u.as_str()).collect();
    if known.is_empty() {
        return Wrong::new(at, "a number without a unit belongs here");
    }
    let spelled = match text {
        "sec" | "secs" | "second" | "seconds" => Some("s"),
        "msec" | "millis" | "milliseconds" => Some("ms"),
        "min" | "mins" | "minute" | "minutes" => Some("m"),
        "percent" | "pct" => Some("%"),
        text => known.iter().copied().find(|unit| unit.eq_ignore_ascii_case(text)),
    };
    Wrong::new(at, format!("there is no unit `{text}` here, there is: {}", known.join(" ")))
        .meant(spelled.filter(|unit| known.contains(unit)))
}

/// number = [ "-" ], digit, { digit }, [ ".", digit, { digit } ] ;
fn number(input: &mut Input<'_>) -> Parsed<(f64, Range<usize>)> {
    let digits = || take_while(1.., AsChar::is_dec_digit);
    let start = input.current_token_start();
    let rule = (winnow::combinator::opt(one_of('-')), digits(), winnow::combinator::opt(('.', digits())));
    let text: &str =
        rule.take().parse_next(input).map_err(|_: Wrong| Wrong::new(start..start + 1, "expected a number"))?;
    let at = start..start + text.len();
    if text.len() > MAX_DIGITS {
        return Err(Wrong::new(at, format!("a number has at most {MAX_DIGITS} characters")));
    }
    match text.parse() {
        Ok(number) => Ok((number, at)),
        Err(_) => Err(Wrong::new(at, "expected a number")),
    }
}

/// text = bare word | '"', { character | '\"' | '\\' }, '"' ;
fn text(input: &mut Input<'_>) -> Parsed<String> {
    if input.starts_with('"') {
        return quoted(input);
    }
    let start = input.current_token_start();
    let word: &str = take_while(0.., is_bare_char).parse_next(input)?;
    let at = start..start + word.len();
    if word.is_empty() {
        return Err(Wrong::new(token(input), "expected a text, such as `ready` or `\"two words\"`"));
    }
    if !is_bare(word, &Subject::Body) {
        return Err(Wrong::new(at, "this text must be quoted").hint(format!("write `\"{word}\"`")));
    }
    let rest = token(input);
    if !rest.is_empty() && !input.starts_with(char::is_whitespace) {
        return Err(Wrong::new(start..rest.end, "a text with such characters must be quoted"));
    }
    Ok(word.to_owned())
}

fn quoted(input: &mut Input<'_>) -> Parsed<String> {
    let start = input.current_token_start();
    let mut text = String::new();
    let mut characters = input.char_indices().skip(1);
    while let Some((offset, character)) = characters.next() {
        match character {
            '"' => {
                take(input, offset + 1);
                return Ok(text);
            }
            '\\' => match characters.next() {
                Some((_, escaped @ ('"' | '\\'))) => text.push(escaped),
                _ => {
                    let at = start + offset..start + offset + 1;
                    return Err(Wrong::new(at, "a backslash stands before `\"` or another backslash only"));
                }
            },
            character if character.is_control() => {
                let at = start + offset..start + offset + 1;
                return Err(Wrong::new(at, "a text holds no control characters"));
            }
            character => text.push(character),
        }
    }
    Err(Wrong::new(start..start + input.len(), "this quote is not closed"))
}

/// Whether a text can stand without quotes and still be read as the same text.
pub fn is_bare(text: &str, subject: &Subject) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '_') || subject.is_text() && c.is_ascii_digit();
    text.starts_with(first) && text.chars().all(is_bare_char) && !matches!(text, "and" | "baseline")
}

fn is_bare_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '/' | ':' | ';' | '=' | '+' | '@' | '%' | '~' | '-')
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

fn is_header(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}

fn is_symbol(c: char) -> bool {
    matches!(c, '<' | '>' | '=' | '!' | '~' | '&' | '|' | '≤' | '≥' | '≠')
}

fn space(input: &mut Input<'_>) -> Parsed<()> {
    take_while(0.., |c: char| c.is_ascii_whitespace()).void().parse_next(input)
}

fn take(input: &mut Input<'_>, bytes: usize) {
    input.next_slice(bytes);
}

/// The next characters that belong together: a word, a run of operator signs, or a single character.
fn peek_token<'i>(input: &Input<'i>) -> &'i str {
    let text: &'i str = input.as_ref();
    let run = |belongs: fn(char) -> bool| &text[..text.find(|c| !belongs(c)).unwrap_or(text.len())];
    match text.chars().next() {
        None => "",
        Some(c) if is_name(c) && c != '-' => run(is_name),
        Some(c) if is_symbol(c) => run(is_symbol),
        Some(c) => &text[..c.len_utf8()],
    }
}

fn token(input: &Input<'_>) -> Range<usize> {
    let start = input.current_token_start();
    start..start + peek_token(input).len()
}
