//! Whether a series of samples lies higher than another one did. Samples that are taken one second after the other resemble
//! each other, and a test that takes them for independent finds differences where there are none: with a correlation of 0.9 from one to
//! the next, Mann and Whitney's at 5 % is wrong every third time. So each series is cut into batches that are long
//! against the time over which it remembers, and the medians of those are compared.
//!
//! - Batches, 20 at the most: Schmeiser, "Batch Size Effects in the Analysis of Simulation Output", Operations Research 30 (1982).
//! - How long a series remembers: the sum of its autocorrelations over Geyer's initial positive sequence, "Practical Markov Chain Monte
//!   Carlo", Statistical Science 7 (1992), and not less than the first of them says, without the bias that it has in short series
//!   (Marriott and Pope, Biometrika 41, 1954). Of ranks, so that single outliers say nothing.
//! - The test: Mann and Whitney (1947) in its exact distribution, ties and all. The effect: Cliff's delta (1993).

use super::facts::median;

/// Batches that a series needs: from six and six the exact test can reach one in nine hundred.
pub const FEWEST: usize = 6;
const MOST: usize = 20;
/// A batch is so many times as long as the series remembers.
const LONG: f64 = 3.0;
/// Of this probability by chance a difference is believed.
pub const BELIEVED: f64 = 0.01;

/// Samples that a series needs that remembers so many.
pub fn needed(memory: f64) -> u64 {
    (FEWEST as f64 * (LONG * memory).ceil()) as u64
}

/// Medians of batches, in the order of time; fewer than are needed where it remembers for too long.
pub fn batches(series: &[f64], memory: f64) -> Vec<f64> {
    let long = (LONG * memory).ceil().max(1.0) as usize;
    let count = (series.len() / long).min(MOST);
    if count == 0 {
        return Vec::new();
    }
    let long = series.len() / count;
    // What is left over is at the beginning, as far from what matters as it can be.
    series[series.len() - count * long..].chunks_exact(long).filter_map(|batch| median(batch.to_vec())).collect()
}

/// Samples that say as much as one independent one would.
pub fn memory(series: &[f64]) -> f64 {
    let ranks = ranks(series);
    let n = ranks.len() as f64;
    let middle = (n + 1.0) / 2.0;
    let off: Vec<f64> = ranks.iter().map(|rank| rank - middle).collect();
    let spread: f64 = off.iter().map(|x| x * x).sum();
    // What never changes remembers nothing that could mislead.
    if spread == 0.0 {
        return 1.0;
    }
    let correlation = |lag: usize| off.iter().zip(&off[lag..]).map(|(a, b)| a * b).sum::<f64>() / spread;
    if off.len() < 4 {
        return n;
    }
    let first = correlation(1);
    let first = (first + (1.0 + 4.0 * first) / n).clamp(0.0, 0.999);
    let mut sum = -1.0;
    for pair in 0..off.len() / 2 {
        let both = correlation(2 * pair) + correlation(2 * pair + 1);
        if both <= 0.0 {
            break;
        }
        sum += 2.0 * both;
    }
    sum.max((1.0 + first) / (1.0 - first)).clamp(1.0, n)
}

/// Equal ones share the middle of their places.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let (mut ranks, mut before) = (vec![0.0; values.len()], 0.0);
    for equal in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let many = equal.len() as f64;
        for at in equal {
            ranks[*at] = before + (many + 1.0) / 2.0;
        }
        before += many;
    }
    ranks
}

/// What a comparison of batches says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// From -1, all of now lie lower, to 1, all lie higher.
    pub delta: f64,
    /// That they would lie as high by chance.
    pub chance: f64,
}

/// Whether those of now lie higher than those from before.
pub fn higher(before: &[f64], now: &[f64]) -> Shift {
    let all: Vec<f64> = now.iter().chain(before).copied().collect();
    // Twice the ranks are whole numbers, also of ties.
    let doubled: Vec<usize> = ranks(&all).into_iter().map(|rank| (2.0 * rank) as usize).collect();
    let seen: usize = doubled[..now.len()].iter().sum();
    // In how many ways so many of all can have such a sum.
    let most: usize = doubled.iter().sum();
    let mut ways = vec![vec![0.0; most + 1]; now.len() + 1];
    ways[0][0] = 1.0;
    let mut reached = 0;
    for (taken, rank) in doubled.iter().enumerate() {
        reached += rank;
        for many in (1..=now.len().min(taken + 1)).rev() {
            for sum in (*rank..=reached).rev() {
                ways[many][sum] += ways[many - 1][sum - rank];
            }
        }
    }
    let last = &ways[now.len()];
    let chance = last[seen..].iter().sum::<f64>() / last.iter().sum::<f64>();
    let pairs = (now.len() * before.len()) as f64;
    let wins = seen as f64 / 2.0 - (now.len() * (now.len() + 1)) as f64 / 2.0;
    Shift { delta: 2.0 * wins / pairs - 1.0, chance }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::{
        ChaCha8Rng,
        rand_core::{Rng, SeedableRng},
    };

    /// Times of answers, of which each resembles the one before: an autoregressive series of the first order, made skew.
    struct Product(ChaCha8Rng);

    impl Product {
        fn new() -> Self {
            Self(ChaCha8Rng::seed_from_u64(7))
        }
        fn even(&mut self) -> f64 {
            (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
        }
        fn normal(&mut self) -> f64 {
            let (radius, angle) = (self.even().max(f64::MIN_POSITIVE), self.even());
            (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
        }
        /// `alike` from -1 to 1; `slower` in standard deviations.
        fn series(&mut self, samples: usize, alike: f64, slower: f64) -> Vec<f64> {
            let fresh = (1.0 - alike * alike).sqrt();
            let mut state = self.normal();
            let mut next = || {
                state = alike * state + fresh * self.normal();
                (state + slower).exp()
            };
            (0..samples).map(|_| next()).collect()
        }
    }

    fn compared(before: &[f64], now: &[f64]) -> Option<Shift> {
        let [before, now] = [before, now].map(|series| batches(series, memory(series)));
        (before.len() >= FEWEST && now.len() >= FEWEST).then(|| higher(&before, &now))
    }

    /// As it is mostly done, with all samples taken for independent.
    fn plain(before: &[f64], now: &[f64]) -> bool {
        let (n, m) = (before.len() as f64, now.len() as f64);
        let all: Vec<f64> = now.iter().chain(before).copied().collect();
        let wins = ranks(&all)[..now.len()].iter().sum::<f64>() - m * (m + 1.0) / 2.0;
        (wins - n * m / 2.0) / (n * m * (n + m + 1.0) / 12.0).sqrt() > 1.645
    }

    /// Of so many runs, at 5 %: false alarms, false alarms of the plain test, and how many could not be decided.
    fn alarms(alike: f64, slower: f64, samples: usize) -> (f64, f64, f64) {
        const RUNS: usize = 200;
        let mut product = Product::new();
        let (mut found, mut wrong, mut open) = (0.0, 0.0, 0.0);
        for _ in 0..RUNS {
            let before = product.series(samples, alike, 0.0);
            let now = product.series(samples, alike, slower);
            wrong += f64::from(u8::from(plain(&before, &now)));
            match compared(&before, &now) {
                Some(shift) => found += f64::from(u8::from(shift.chance < 0.05)),
                None => open += 1.0,
            }
        }
        let decided = (RUNS as f64 - open).max(1.0);
        (found / decided, wrong / RUNS as f64, open / RUNS as f64)
    }

    #[test]
    fn what_has_not_changed_raises_no_more_alarms_than_it_may() {
        for (alike, samples) in [(0.0, 60), (0.3, 150), (0.6, 240), (0.8, 400), (0.9, 700)] {
            let (found, plain, open) = alarms(alike, 0.0, samples);
            assert!(found <= 0.1, "{alike}: {found} of those that were decided");
            assert!(open <= 0.4, "{alike}: {open} are open");
            assert!(alike < 0.8 || plain > 0.25, "{alike}: the plain test is no worse, {plain}");
            assert!(alike > 0.0 || plain < 0.08, "{alike}: the plain test is wrong, {plain}");
        }
    }

    #[test]
    fn what_has_become_worse_is_found() {
        for (alike, slower, samples, wanted) in [
            (0.0, 1.0, 60, 0.9),
            (0.3, 1.0, 150, 0.9),
            (0.6, 1.0, 300, 0.9),
            (0.9, 2.0, 700, 0.9),
            (0.0, -1.0, 60, 0.0),
        ] {
            let (found, ..) = alarms(alike, slower, samples);
            assert!(found >= wanted && (wanted > 0.0 || found == 0.0), "{alike} {slower}: {found}");
        }
    }

    #[test]
    fn too_few_and_too_similar_samples_say_nothing() {
        let mut product = Product::new();
        for _ in 0..50 {
            // A wandering series, as a gauge that only ever grows.
            let [before, now] = [0, 1].map(|_| product.series(120, 0.99, 0.0));
            assert_eq!(compared(&before, &now), None);
        }
        let few = product.series(17, 0.0, 0.0);
        assert_eq!(compared(&few, &few), None);
        assert_eq!(batches(&[], memory(&[])), [0.0; 0]);
        assert_eq!(batches(&[1.0], memory(&[1.0])), [0.0; 0]);
    }

    #[test]
    fn the_exact_distribution_is_that_of_the_tables() {
        let [low, high] = [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [11.0, 12.0, 13.0, 14.0, 15.0, 16.0]];
        // One of 12! / (6! 6!) ways.
        assert_eq!(higher(&low, &high), Shift { delta: 1.0, chance: 1.0 / 924.0 });
        assert_eq!(higher(&high, &low), Shift { delta: -1.0, chance: 1.0 });
        // All alike: nothing can be said.
        assert_eq!(higher(&[1.0; 6], &[1.0; 6]), Shift { delta: 0.0, chance: 1.0 });
        // Seven of the 36 pairs are the other way round: 0.0465 in the tables.
        let shift = higher(&[1.0, 2.0, 3.0, 4.0, 6.5, 12.0], &[6.0, 7.0, 8.0, 9.0, 10.0, 11.0]);
        assert!((shift.delta - 22.0 / 36.0).abs() < 1e-12 && (shift.chance - 43.0 / 924.0).abs() < 1e-12, "{shift:?}");
    }

    #[test]
    fn single_outliers_are_no_shift() {
        let mut product = Product::new();
        let before = product.series(120, 0.0, 0.0);
        let mut now = before.clone();
        for at in (0..now.len()).step_by(12) {
            now[at] = 1e9;
        }
        assert!(compared(&before, &now).unwrap().chance > BELIEVED);
    }
}
