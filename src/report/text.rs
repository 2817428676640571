//! How facts are written for people, wherever they read them. What comes from a script or a product is hostile until it
//! has been through `line`.
use crate::{
    condition::Unit,
    journal::Place,
    plain::hidden,
    resource::{FailureKind, Reading},
};
use console::measure_text_width;
use jiff::Timestamp;

/// At most `max` characters in one line that a terminal or a page shows as they are: no control characters, nothing that
/// turns the direction of writing, nothing invisible.
pub fn line(text: &str, max: usize) -> String {
    let mut line = String::new();
    let mut length = 0;
    for c in text.trim().chars() {
        let c = match c {
            c if c.is_whitespace() && line.ends_with(' ') => continue,
            c if c.is_whitespace() => ' ',
            c if hidden(c) => '\u{fffd}',
            c => c,
        };
        if length == max {
            line.pop();
            line.push('…');
            break;
        }
        line.push(c);
        length += 1;
    }
    line
}

/// As `line`, with the spaces that it has.
pub fn spaced(text: &str, max: usize) -> String {
    text.trim_end().chars().take(max).map(|c| if hidden(c) { '\u{fffd}' } else { c }).collect()
}

/// `40 ms`, `0.3 s`, `8 s`, `4 m 02 s`, `1 h 04 m`, `2 d 03 h`.
pub fn duration(millis: u64) -> String {
    if millis < 100 {
        return format!("{millis} ms");
    }
    if millis < 950 {
        return format!("{}.{} s", (millis + 50) / 1000, (millis + 50) / 100 % 10);
    }
    let seconds = millis.saturating_add(500) / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {:02} m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// An estimate is no finer than a second.
pub fn estimate(seconds: u64) -> String {
    if seconds == 0 { "0 s".to_owned() } else { duration(seconds.saturating_mul(1000)) }
}

/// `180 MB`, `2.1 GB`.
pub fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["bytes", "kB", "MB", "GB", "TB", "PB", "EB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for next in units {
        // What would be written as 1000 of a unit is 1 of the next.
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    if unit == "bytes" || value >= 9.95 { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") }
}

/// `2 113 402`
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    if digits.len() < 5 {
        return digits;
    }
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 row`, `3 rows`
pub fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// Three significant digits, or all that stand before the point.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "no number".to_owned();
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let value = value.abs();
    if (1000.0..1e15).contains(&value) {
        return format!("{sign}{}", count(value.round() as u64));
    }
    let before = if value < 1e-9 { 0.0 } else { value.log10().floor() };
    let decimals = (2.0 - before).clamp(0.0, 9.0) as usize;
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{sign}{text}")
}

/// A number and its unit: `7.1 %`, `121 ms`, `51.2/s`, `200`.
pub fn measured(value: f64, unit: &str) -> String {
    let gap = if unit.is_empty() || unit.starts_with('/') { "" } else { " " };
    format!("{}{gap}{}", number(value), line(unit, 16))
}

/// A number in parts of one, seconds, bytes or things per second, written in a unit that people speak.
pub fn canonical(value: f64, unit: &str) -> String {
    match Unit::parse(unit) {
        Some(known) => measured(known.of(value), unit),
        None => number(value),
    }
}

/// `error-rate 7.1 % (must be < 1%)`
pub fn reading(reading: &Reading) -> String {
    match demand(&line(&reading.must, 80)).as_str() {
        "" => plain_reading(reading),
        must => format!("{} (must {must})", plain_reading(reading)),
    }
}

/// `error-rate 7.1 %`
pub fn plain_reading(reading: &Reading) -> String {
    format!("{} {}", line(&reading.name, 80), measured(reading.value, &reading.unit))
}

/// After "must": `be < 1%`, `be 200`, `contain ready`.
fn demand(must: &str) -> String {
    match (must.strip_prefix("= "), must.strip_prefix("contains ")) {
        (Some(value), _) => format!("be {value}"),
        (_, Some(text)) => format!("contain {text}"),
        _ if must.is_empty() => String::new(),
        _ => format!("be {must}"),
    }
}

/// Broken between words, or within one that is too long for a line.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut room = width;
    for word in text.split(' ') {
        let length = measure_text_width(word);
        if length < room && room < width {
            let Some(line) = lines.last_mut() else { continue };
            line.push(' ');
            line.push_str(word);
            room -= length + 1;
            continue;
        }
        if room < width {
            lines.push(String::new());
            room = width;
        }
        for c in word.chars() {
            let length = measure_text_width(c.encode_utf8(&mut [0; 4]));
            if length > room {
                lines.push(String::new());
                room = width;
            }
            if let Some(line) = lines.last_mut() {
                line.push(c);
            }
            room -= length.min(room);
        }
    }
    lines
}

pub fn kind(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::TimedOut => "timed out",
        FailureKind::NotFound => "not found",
        kind => kind.as_str(),
    }
}

/// `database:orders` as people say it.
pub fn resource(id: &str) -> String {
    line(&id.replacen(':', " ", 1), 120)
}

/// `upgrade/install`; a second look after a rollback says so.
pub fn place(place: &Place) -> String {
    let title = line(&place.title(), 140);
    if place.rolled_back && place.phase == "verify" { format!("{title} (rolled back)") } else { title }
}

/// `2026-03-01 14:02:11 UTC`
pub fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// `14:02:11`, in UTC
pub fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_people_say_them() {
        let durations = [0, 99, 100, 320, 949, 950, 8_400, 59_499, 59_500, 242_000, 3_599_999, 3_840_000, 183_600_000];
        assert_eq!(
            durations.map(duration),
            [
                "0 ms", "99 ms", "0.1 s", "0.3 s", "0.9 s", "1 s", "8 s", "59 s", "1 m 00 s", "4 m 02 s", "1 h 00 m",
                "1 h 04 m", "2 d 03 h"
            ]
        );
        assert_eq!(duration(u64::MAX), "213503982334 d 14 h");
        let sizes = [0, 999, 1000, 9_940, 9_960, 180_000_000, 999_600_000, 2_100_000_000, u64::MAX];
        assert_eq!(
            sizes.map(bytes),
            ["0 bytes", "999 bytes", "1.0 kB", "9.9 kB", "10 kB", "180 MB", "1.0 GB", "2.1 GB", "18 EB"]
        );
        assert_eq!([7, 9_999, 10_000, 2_113_402].map(count), ["7", "9999", "10 000", "2 113 402"]);
        let numbers = [0.0, 0.002, 0.071_43, 1.0, 1.2, 118.4, 999.96, 1_234_567.8, -3.25, 1e-12, f64::NAN, 1e18];
        assert_eq!(
            numbers.map(number),
            [
                "0",
                "0.002",
                "0.0714",
                "1",
                "1.2",
                "118",
                "1000",
                "1 234 568",
                "-3.25",
                "0",
                "no number",
                "1000000000000000000"
            ]
        );
        assert_eq!([measured(7.14, "%"), measured(51.2, "/s"), measured(200.0, "")], ["7.14 %", "51.2/s", "200"]);
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrapped("one two three", 8), ["one two", "three"]);
        assert_eq!(wrapped("incomprehensible", 8), ["incompre", "hensible"]);
        assert_eq!(wrapped("東京 東京", 5), ["東京", "東京"]);
        assert_eq!(wrapped("", 5), [""]);
    }

    #[test]
    fn hostile_text_becomes_one_harmless_line() {
        assert_eq!(line("  two\r\n\n  lines\t", 80), "two lines");
        assert_eq!(
            line("\u{1b}[2J\u{1b}]0;owned\u{7}x\u{9b}31m", 80),
            "\u{fffd}[2J\u{fffd}]0;owned\u{fffd}x\u{fffd}31m"
        );
        assert_eq!(
            line("safe\u{202e}exe.cod\u{200b}\u{e0041}\u{feff}", 80),
            "safe\u{fffd}exe.cod\u{fffd}\u{fffd}\u{fffd}"
        );
        assert_eq!(line("Grüße 東京 🚀", 80), "Grüße 東京 🚀");
        assert_eq!(line("12345", 5), "12345");
        assert_eq!(line("123456", 5), "1234…");
        assert_eq!(line("", 5), "");
    }
}
