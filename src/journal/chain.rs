//! The journal as a chain: the hash of each entry covers that of the entry before it, so that none can be altered, removed, put in
//! or moved without every later hash being another one. `docs/journal.md` says it to those who write a reader of their own.
use sha2::{Digest, Sha256};

pub type Hash = [u8; 32];

/// What the first entry follows.
pub fn genesis() -> Hash {
    Sha256::digest(b"bkot journal 1").into()
}

/// What stands in the columns of one entry, in their order. Texts as bytes: in a damaged file they may be anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns<'a> {
    pub id: i64,
    pub run: i64,
    pub at: i64,
    pub phase: &'a [u8],
    pub rolled_back: i64,
    pub step: &'a [u8],
    pub attempt: i64,
    pub seq: i64,
    pub kind: &'a [u8],
    pub body: &'a [u8],
}

impl<'a> Columns<'a> {
    /// Of the entry alone. With it instead of the entry the chain can still be verified, by somebody who may not read that entry.
    pub fn digest(&self) -> Hash {
        let mut sum = Vec::with_capacity(128 + self.phase.len() + self.step.len() + self.body.len());
        self.sum(&mut sum);
        digest(&sum)
    }

    /// Adds what is hashed to what stands there: numbers in eight bytes, the most significant first; before a text its length in
    /// bytes, so that no two rows read the same.
    pub fn sum(&self, sum: &mut Vec<u8>) {
        let Self { id, run, at, phase, rolled_back, step, attempt, seq, kind, body } = *self;
        let mut number = |number: i64, text: &[u8]| {
            sum.extend_from_slice(&number.to_be_bytes());
            sum.extend_from_slice(text);
        };
        let length = |text: &[u8]| text.len() as i64;
        number(id, b"");
        number(run, b"");
        number(at, b"");
        number(length(phase), phase);
        number(rolled_back, b"");
        number(length(step), step);
        number(attempt, b"");
        number(seq, b"");
        number(length(kind), kind);
        number(length(body), body);
    }

    /// What was summed.
    pub fn of_sum(mut sum: &'a [u8]) -> Option<Self> {
        let number = |sum: &mut &'a [u8]| {
            let (number, rest) = sum.split_first_chunk()?;
            *sum = rest;
            Some(i64::from_be_bytes(*number))
        };
        let text = |sum: &mut &'a [u8]| {
            let length = usize::try_from(number(sum)?).ok()?;
            let (text, rest) = sum.split_at_checked(length)?;
            *sum = rest;
            Some(text)
        };
        let sum = &mut sum;
        Some(Self {
            id: number(sum)?,
            run: number(sum)?,
            at: number(sum)?,
            phase: text(sum)?,
            rolled_back: number(sum)?,
            step: text(sum)?,
            attempt: number(sum)?,
            seq: number(sum)?,
            kind: text(sum)?,
            body: text(sum)?,
        })
    }
}

pub fn digest(sum: &[u8]) -> Hash {
    Sha256::digest(sum).into()
}

/// An entry's hash, from that of the entry before it and its own digest.
pub fn link(before: &Hash, digest: &Hash) -> Hash {
    let mut both = [0; 64];
    both[..32].copy_from_slice(before);
    both[32..].copy_from_slice(digest);
    Sha256::digest(both).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{from_hex, hex};

    const ENTRY: Columns<'static> = Columns {
        id: 1,
        run: 1,
        at: 1_800_000_000_000,
        phase: b"upgrade",
        rolled_back: 0,
        step: b"install",
        attempt: 1,
        seq: 2,
        kind: b"said",
        body: b"{}",
    };

    /// The numbers of `docs/journal.md`, as other programs reckon them.
    #[test]
    fn the_sums_are_those_that_are_documented() {
        assert_eq!(hex(&genesis()), "a40bc6450a45d56da133b22af57edea9e7452cbc0835d522a827d855aa0bd12a");
        assert_eq!(hex(&ENTRY.digest()), "2191a62319ecad99e559daa9e52dc92522d76381519a4ee275e27bc2a7431b23");
        assert_eq!(
            hex(&link(&genesis(), &ENTRY.digest())),
            "4a70062b8cadbcee2501780d8a6c8f978b2769eb90d9c2b56c6e950871c9c630"
        );
        assert_eq!(from_hex(&hex(&genesis())), Some(genesis()));
        assert_eq!((from_hex::<2>("00g0"), from_hex::<2>("00"), from_hex::<1>("AB")), (None, None, None));
    }

    #[test]
    fn what_is_summed_can_be_read_again() {
        let mut sum = b"before".to_vec();
        ENTRY.sum(&mut sum);
        assert_eq!(Columns::of_sum(&sum[6..]), Some(ENTRY));
        assert_eq!(Columns::of_sum(&sum[6..sum.len() - 1]), None);
    }

    #[test]
    fn what_moves_from_one_column_to_the_next_has_another_digest() {
        let moved = Columns { phase: b"upgradei", step: b"nstall", ..ENTRY };
        let numbers = Columns { attempt: 2, seq: 1, ..ENTRY };
        assert_ne!(moved.digest(), ENTRY.digest());
        assert_ne!(numbers.digest(), ENTRY.digest());
    }
}
