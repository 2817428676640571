//! Units, and how numbers are shown. Canonical numbers are parts of one, seconds, bytes, and things per second.
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a number measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dimension {
    /// Not known: any unit is taken.
    Any,
    /// A plain number: a status, a count.
    Number,
    /// A part of a whole: 0.01 is `1%`.
    Fraction,
    /// Processors in use: 1.5 is one and a half, or `150%`.
    Processors,
    Time,
    Bytes,
    /// Things per second.
    Rate,
    /// Bytes per second.
    Throughput,
}

impl Dimension {
    /// For error texts: "expected …".
    pub fn describe(self) -> &'static str {
        match self {
            Self::Any => "a number",
            Self::Number => "a number without a unit",
            Self::Fraction => "a part of a whole, such as `1%`",
            Self::Processors => "a number of processors, such as `1.5` or `150%`",
            Self::Time => "a time, such as `300ms`",
            Self::Bytes => "a size, such as `512MiB`",
            Self::Rate => "a rate, such as `50/s`",
            Self::Throughput => "a throughput, such as `10MB/s`",
        }
    }

    pub(super) fn takes(self, unit: Option<Unit>) -> bool {
        match (self, unit) {
            (Self::Any, _) | (Self::Number | Self::Fraction | Self::Processors, None) => true,
            (Self::Processors, Some(unit)) => unit.dimension() == Self::Fraction,
            (dimension, Some(unit)) => unit.dimension() == dimension,
            (_, None) => false,
        }
    }

    /// The unit in which people would say a number of this sort.
    fn unit_for(self, canonical: f64) -> Option<Unit> {
        let largest = |units: &[Unit]| {
            units.iter().copied().find(|u| canonical.abs() >= u.canonical(1.0)).or(units.last().copied())
        };
        match self {
            Self::Any | Self::Number | Self::Processors => None,
            Self::Fraction => Some(Unit::Percent),
            Self::Time => largest(&[Unit::Hours, Unit::Minutes, Unit::Seconds, Unit::Milliseconds]),
            Self::Bytes => largest(&[Unit::Gibibytes, Unit::Mebibytes, Unit::Kibibytes, Unit::Bytes]),
            Self::Rate => Some(Unit::PerSecond),
            Self::Throughput => largest(&[Unit::MegabytesPerSecond, Unit::KilobytesPerSecond, Unit::BytesPerSecond]),
        }
    }
}

macro_rules! units { ($($variant:ident $text:literal $dimension:ident * $factor:literal / $divisor:literal $about:literal,)*) => {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Unit { $($variant),* }
    /// All units, in the order of the documentation.
    pub const UNITS: &[Unit] = &[$(Unit::$variant),*];
    impl Unit {
        pub fn as_str(self) -> &'static str {
            match self { $(Self::$variant => $text),* }
        }
        pub fn dimension(self) -> Dimension {
            match self { $(Self::$variant => Dimension::$dimension),* }
        }
        pub fn about(self) -> &'static str {
            match self { $(Self::$variant => $about),* }
        }
        /// Factor and divisor: `5ms` is 5 / 1000 and not 5 * 0.001, so that it equals what `0.005s` gives.
        fn scale(self) -> (f64, f64) {
            match self { $(Self::$variant => ($factor, $divisor)),* }
        }
    }
}; }
units! {
    Percent "%" Fraction * 1.0 / 100.0 "hundredths",
    Milliseconds "ms" Time * 1.0 / 1000.0 "milliseconds",
    Seconds "s" Time * 1.0 / 1.0 "seconds",
    Minutes "m" Time * 60.0 / 1.0 "minutes",
    Hours "h" Time * 3600.0 / 1.0 "hours",
    Bytes "B" Bytes * 1.0 / 1.0 "bytes",
    Kibibytes "KiB" Bytes * 1024.0 / 1.0 "1,024 bytes",
    Mebibytes "MiB" Bytes * 1048576.0 / 1.0 "1,024 KiB",
    Gibibytes "GiB" Bytes * 1073741824.0 / 1.0 "1,024 MiB",
    Kilobytes "kB" Bytes * 1e3 / 1.0 "1,000 bytes",
    Megabytes "MB" Bytes * 1e6 / 1.0 "1,000 kB",
    Gigabytes "GB" Bytes * 1e9 / 1.0 "1,000 MB",
    PerSecond "/s" Rate * 1.0 / 1.0 "times a second",
    BytesPerSecond "B/s" Throughput * 1.0 / 1.0 "bytes a second",
    KilobytesPerSecond "kB/s" Throughput * 1e3 / 1.0 "1,000 bytes a second",
    MegabytesPerSecond "MB/s" Throughput * 1e6 / 1.0 "1,000 kB a second",
}

impl Unit {
    pub fn parse(text: &str) -> Option<Self> {
        UNITS.iter().copied().find(|u| u.as_str() == text)
    }
    /// `number` of this unit in the canonical one.
    pub fn canonical(self, number: f64) -> f64 {
        let (factor, divisor) = self.scale();
        number * factor / divisor
    }
    /// A canonical number in this unit.
    pub fn of(self, canonical: f64) -> f64 {
        let (factor, divisor) = self.scale();
        canonical * divisor / factor
    }
}

/// A number as it was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantity {
    pub number: f64,
    pub unit: Option<Unit>,
}

impl Quantity {
    pub fn canonical(self) -> f64 {
        self.unit.map_or(self.number, |unit| unit.canonical(self.number))
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.number, self.unit.map_or("", Unit::as_str))
    }
}

/// A canonical number for people: in the unit that the condition speaks, else in one that suits what it measures.
/// Number and unit apart, so that a table can align them.
pub fn scaled(canonical: f64, dimension: Dimension, spoken: Option<Unit>) -> (f64, &'static str) {
    match spoken.or_else(|| dimension.unit_for(canonical)) {
        Some(unit) => (unit.of(canonical), unit.as_str()),
        None => (canonical, ""),
    }
}

/// `0.3 %`, `121 ms`, `51.2/s`.
pub fn show(canonical: f64, dimension: Dimension, spoken: Option<Unit>) -> String {
    let (number, unit) = scaled(canonical, dimension, spoken);
    let gap = if unit.is_empty() || unit == Unit::PerSecond.as_str() { "" } else { " " };
    format!("{}{gap}{unit}", tidy(number))
}

/// Three significant digits, more only before the point.
fn tidy(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let magnitude = number.abs().log10().floor();
    let decimals = (2.0 - magnitude).clamp(0.0, 9.0) as usize;
    let text = format!("{number:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_convert_without_rounding_away_from_what_was_written() {
        for (number, unit, canonical) in [
            (300.0, Unit::Milliseconds, 0.3),
            (1.0, Unit::Percent, 0.01),
            (90.0, Unit::Minutes, 5400.0),
            (512.0, Unit::Mebibytes, 536_870_912.0),
            (1.5, Unit::Gigabytes, 1.5e9),
        ] {
            assert_eq!(unit.canonical(number), canonical);
            assert_eq!(unit.of(canonical), number);
        }
    }

    #[test]
    fn numbers_are_shown_as_people_say_them() {
        let shown = [
            show(0.003, Dimension::Fraction, None),
            show(0.1214, Dimension::Time, None),
            show(93.0, Dimension::Time, None),
            show(1.8, Dimension::Time, Some(Unit::Milliseconds)),
            show(536_870_912.0, Dimension::Bytes, None),
            show(51.26, Dimension::Rate, None),
            show(0.0, Dimension::Time, None),
            show(123_456.0, Dimension::Number, None),
            show(0.000_002, Dimension::Any, None),
            show(-2.5, Dimension::Any, None),
        ];
        let wanted =
            ["0.3 %", "121 ms", "1.55 m", "1800 ms", "512 MiB", "51.3/s", "0 ms", "123456", "0.000002", "-2.5"];
        assert_eq!(shown, wanted);
    }
}
