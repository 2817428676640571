//! Pairs of samples: baseline and ours in turn, so that what the machine does besides falls on both.
use crate::rows::Aim;

#[derive(Clone, Default)]
pub struct Pairs {
    pub baseline: Vec<f64>,
    pub ours: Vec<f64>,
    /// What else is worth knowing.
    pub note: Option<String>,
}

/// The middle, and the quarters around it.
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Pairs {
    /// Seconds. The first pair warms up; each pair begins with the other one of the two.
    pub fn measure(times: usize, mut baseline: impl FnMut() -> f64, mut ours: impl FnMut() -> f64) -> Self {
        let mut pairs = Self::default();
        for n in 0..=times {
            let (one, other) = if n % 2 == 0 {
                let one = baseline();
                (one, ours())
            } else {
                let other = ours();
                (baseline(), other)
            };
            if n > 0 {
                pairs.push(one, other);
            }
        }
        pairs
    }

    /// Without a baseline.
    pub fn alone(times: usize, ours: impl FnMut() -> f64) -> Self {
        Self::measure(times, || f64::NAN, ours)
    }

    pub fn push(&mut self, baseline: f64, ours: f64) {
        self.baseline.push(baseline);
        self.ours.push(ours);
    }

    pub fn result(&self, aim: Aim) -> Spread {
        let results = self.baseline.iter().zip(&self.ours).map(|(baseline, ours)| aim.result(*baseline, *ours));
        Spread::of(results.collect())
    }
}

impl Spread {
    pub fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        let at = |part: f64| samples[((samples.len() - 1) as f64 * part).round() as usize];
        Self { low: at(0.25), median: at(0.5), high: at(0.75) }
    }
}
