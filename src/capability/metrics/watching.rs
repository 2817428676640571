//! What a watch has seen so far, and what follows from it. Knows no clock.
use crate::condition::{Evaluation, Outcome};

/// So many samples in a row that do not hold end a watch.
pub const ROW: u32 = 3;

#[derive(Default)]
pub struct Watching {
    samples: u64,
    held: u64,
    failed: u64,
    row: u32,
    last_failed: Option<Evaluation>,
    /// why the last sample without data had none
    silence: Option<String>,
}

#[derive(Debug, PartialEq)]
pub enum Ruled {
    Passed,
    Failed(Evaluation, String),
    Inconclusive(String),
}

impl Watching {
    /// A sample. One that waited for its data in vain, for several seconds, counts as several.
    pub fn see(&mut self, evaluation: Evaluation, silence: Option<String>, seconds: u64) {
        match evaluation.outcome() {
            Outcome::Held => {
                self.samples += 1;
                self.held += 1;
                self.row = 0;
            }
            Outcome::Failed => {
                self.samples += 1;
                self.failed += 1;
                self.row += 1;
                self.last_failed = Some(evaluation);
            }
            // Neither good nor bad: it does not break a row.
            Outcome::NoData => {
                self.samples += seconds.max(1);
                self.silence = Some(silence.unwrap_or_else(|| evaluation.explain()));
            }
        }
    }

    /// Nothing that may still come can save it.
    pub fn is_over(&self) -> bool {
        self.row >= ROW
    }

    /// The last samples that had data did not hold, and it is not decided yet what that means.
    pub fn is_open(&self) -> bool {
        self.row > 0 && !self.is_over()
    }

    pub fn counts(&self) -> String {
        let without = self.samples - self.held - self.failed;
        let missing = if without == 0 { String::new() } else { format!(", {without} had no data") };
        format!("held in {} of {} samples{missing}", self.held, self.samples)
    }

    pub fn ruled(self) -> Ruled {
        let counts = self.counts();
        let silence = self.silence.map(|why| format!(": {why}")).unwrap_or_default();
        let with_data = self.held + self.failed;
        match self.last_failed {
            Some(last) if self.row >= ROW => {
                let why = format!("{}, {} samples in a row; {counts}", last.explain(), self.row);
                Ruled::Failed(last, why)
            }
            _ if with_data * 2 < self.samples || with_data == 0 => Ruled::Inconclusive(format!("{counts}{silence}")),
            Some(last) if self.failed > self.held => {
                let why = format!("{}; {counts}", last.explain());
                Ruled::Failed(last, why)
            }
            Some(last) if self.row > 0 => Ruled::Inconclusive(format!(
                "at the end {}, and then there was no data{silence}; {counts}",
                last.explain()
            )),
            _ => Ruled::Passed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condition::{Condition, Lookup, Seen, Subject, Words};

    struct X(Option<f64>);
    impl Lookup for X {
        fn see(&self, _: &Subject) -> Seen {
            self.0.map_or(Seen::NoData, Seen::Number)
        }
    }

    /// `+` held, `-` did not, `.` had no data, a digit waited for so many seconds in vain. Stops where a watch would.
    fn watch(samples: &str) -> (Watching, usize) {
        let condition = Condition::parse("x < 1", &Words::any()).unwrap();
        let mut watching = Watching::default();
        for (i, sample) in samples.chars().enumerate() {
            let (value, seconds) = match sample {
                '+' => (Some(0.0), 0),
                '-' => (Some(7.0), 0),
                '.' => (None, 0),
                digit => (None, digit.to_digit(10).unwrap().into()),
            };
            watching.see(condition.evaluate(&X(value)), None, seconds);
            if watching.is_over() {
                return (watching, i + 1);
            }
        }
        (watching, samples.len())
    }

    #[test]
    fn a_watch_is_decided_by_rows_majorities_and_data() {
        for (samples, wanted) in [
            ("++++++", "passed"),
            ("++-+--+++", "passed"),
            ("-+-+", "passed"),
            ("+.+.", "passed"),
            ("+-.-+", "passed"),
            ("---+++", "failed after 3"),
            ("++--.-++", "failed after 6"),
            ("+.-.-.-", "failed after 7"),
            ("--+--+--+", "failed after 9"),
            ("-", "failed after 1"),
            ("--", "failed after 2"),
            ("", "inconclusive"),
            ("....", "inconclusive"),
            ("+..", "inconclusive"),
            ("-..", "inconclusive"),
            ("++++5", "inconclusive"),
            ("+++++5", "passed"),
            ("+++-..", "inconclusive"),
            ("+++--", "open, inconclusive"),
            ("+++-", "open, inconclusive"),
        ] {
            let (watching, after) = watch(samples);
            let open = watching.is_open() && wanted.contains("open");
            let ruled = match watching.ruled() {
                Ruled::Passed => "passed".to_owned(),
                Ruled::Failed(..) => format!("failed after {after}"),
                Ruled::Inconclusive(_) => "inconclusive".to_owned(),
            };
            assert_eq!(format!("{}{ruled}", if open { "open, " } else { "" }), wanted, "{samples}");
        }
    }

    #[test]
    fn the_reason_is_one_line() {
        let said = |samples: &str| match watch(samples).0.ruled() {
            Ruled::Failed(_, why) | Ruled::Inconclusive(why) => why,
            Ruled::Passed => panic!("passed"),
        };
        assert_eq!(said("+---"), "x was 7 (must be < 1), 3 samples in a row; held in 1 of 4 samples");
        assert_eq!(said("--+--+-"), "x was 7 (must be < 1); held in 2 of 7 samples");
        assert_eq!(said("+9"), "held in 1 of 10 samples, 9 had no data: x: no data");
    }
}
