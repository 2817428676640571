//! Moments of the journal, as people and machines read them.
use jiff::{Timestamp, tz::TimeZone};

pub fn of(at: i64) -> Timestamp {
    Timestamp::from_millisecond(at).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// `2026-03-01 14:02:11`, where the operator is.
pub fn local(at: i64) -> String {
    of(at).to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// `14:02:11`, where the operator is.
pub fn time_of_day(at: i64) -> String {
    of(at).to_zoned(TimeZone::system()).strftime("%H:%M:%S").to_string()
}

/// Milliseconds since 1970-01-01 UTC.
pub fn now() -> i64 {
    Timestamp::now().as_millisecond()
}
