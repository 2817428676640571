//! Lengths of time and sizes, as people write them: `10m`, `1h30m`, `500ms`, `64MiB`.
use std::time::Duration;

/// Longer than anything that is meant seriously; keeps every later sum from overflowing.
pub const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// One or more numbers with a unit each: `w`, `d`, `h`, `m`, `s`, `ms`. The error is a fragment for people.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "a length of time is a number with a unit: `500ms`, `30s`, `10m`, `1h30m`, `14d`".to_owned();
    let mut rest = text.trim();
    if rest.is_empty() || rest.len() > 64 {
        return Err(wrong());
    }
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let millis: u64 = match &rest[..letters] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            _ => return Err(wrong()),
        };
        rest = rest[letters..].trim_start();
        let part = number.checked_mul(millis).map(Duration::from_millis);
        sum = part.and_then(|p| sum.checked_add(p)).filter(|s| *s <= LONGEST).ok_or("longer than a hundred years")?;
    }
    Ok(sum)
}

/// `1h30m`, `500ms`: the shortest form that `duration` reads back.
pub fn show_duration(time: Duration) -> String {
    let mut millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if millis >= size {
            out.push_str(&format!("{}{unit}", millis / size));
            millis %= size;
        }
    }
    out
}

/// `4096`, `64 KiB`, `512MB`.
pub fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || "a size is a number with a unit: `64KiB`, `512MiB`, `2GB`".to_owned();
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit: u64 = match text[digits..].trim_start() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).filter(|n| *n <= i64::MAX as u64).ok_or_else(|| "larger than any disk".to_owned())
}

/// `3.1 MB`
pub fn show_bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["KB", "MB", "GB", "TB"] {
        if value < 1_000.0 {
            break;
        }
        value /= 1_000.0;
        unit = next;
    }
    if unit == "B" || value >= 10.0 { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_understood() {
        assert_eq!(duration("10m").unwrap(), Duration::from_secs(600));
        assert_eq!(duration("1h30m").unwrap(), Duration::from_secs(5400));
        assert_eq!(duration("1h 500ms").unwrap(), Duration::from_millis(3_600_500));
        assert_eq!(duration("14d").unwrap(), Duration::from_secs(14 * 86_400));
        for wrong in ["", "10", "m", "10 x", "-1s", "1.5h", "10m5", "99999999999999999999s", "200000w", "1m\u{660}s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(bytes("64 KiB").unwrap(), 65_536);
        assert_eq!(bytes("1MB").unwrap(), 1_000_000);
        for wrong in ["", "MB", "1 mb", "1.5GB", "-1", "99999999999TiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_shown_can_be_read_back() {
        for text in ["500ms", "30s", "10m", "1h30m", "14d", "0s", "1d1h1m1s1ms"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
        assert_eq!(show_bytes(3_100_000), "3.1 MB");
        assert_eq!(show_bytes(32_000), "32 KB");
        assert_eq!(show_bytes(12), "12 B");
    }
}
