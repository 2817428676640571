//! Rows of a table, added up: the digests of all of them modulo 2^256. A sum needs no order and no key.
use crate::resource::copies::Part;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub type RowDigest = [u8; 32];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    pub rows: u64,
    limbs: [u64; 4],
}

impl Sum {
    pub fn add(&mut self, row: &[u8]) {
        self.add_digest(&Sha256::digest(row).into());
    }

    pub fn add_digest(&mut self, row: &RowDigest) {
        self.rows += 1;
        let mut carry = false;
        for (limb, bytes) in self.limbs.iter_mut().zip(row.chunks_exact(8)) {
            let word = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
            let (sum, over) = limb.overflowing_add(word);
            let (sum, again) = sum.overflowing_add(u64::from(carry));
            (*limb, carry) = (sum, over || again);
        }
    }

    /// Of these rows and those.
    pub fn with(self, other: Self) -> Self {
        let (mut limbs, mut carry) = ([0; 4], false);
        for (sum, (a, b)) in limbs.iter_mut().zip(self.limbs.into_iter().zip(other.limbs)) {
            let (first, over) = a.overflowing_add(b);
            let (second, again) = first.overflowing_add(u64::from(carry));
            (*sum, carry) = (second, over || again);
        }
        Self { rows: self.rows.wrapping_add(other.rows), limbs }
    }

    /// Of these rows, when those are not among them any more.
    pub fn without(self, other: Self) -> Self {
        let (mut limbs, mut borrow) = ([0; 4], false);
        for (rest, (a, b)) in limbs.iter_mut().zip(self.limbs.into_iter().zip(other.limbs)) {
            let (first, under) = a.overflowing_sub(b);
            let (second, again) = first.overflowing_sub(u64::from(borrow));
            (*rest, borrow) = (second, under || again);
        }
        Self { rows: self.rows.wrapping_sub(other.rows), limbs }
    }

    pub fn part(&self, name: String) -> Part {
        let mut digest = Sha256::new();
        digest.update(self.rows.to_le_bytes());
        for limb in self.limbs {
            digest.update(limb.to_le_bytes());
        }
        Part { name, count: self.rows, digest: format!("{:x}", digest.finalize()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_needs_no_order_and_sees_what_is_there_twice() {
        let sum = |rows: &[&str]| {
            let mut sum = Sum::default();
            rows.iter().for_each(|row| sum.add(row.as_bytes()));
            sum.part("t".into())
        };
        assert_eq!(sum(&["a\n", "b\n", "c\n"]), sum(&["c\n", "a\n", "b\n"]));
        assert_ne!(sum(&["a\n", "a\n"]), sum(&["b\n", "b\n"]));
        assert_ne!(sum(&["a\n"]), sum(&["a\n", "a\n"]));
        let part = sum(&[]);
        assert_eq!((part.count, part.digest.len()), (0, 64));
    }

    #[test]
    fn sums_are_taken_apart_again() {
        let sum = |rows: &[&str]| {
            let mut sum = Sum::default();
            rows.iter().for_each(|row| sum.add(row.as_bytes()));
            sum
        };
        assert_eq!(sum(&["a", "b"]).with(sum(&["c"])), sum(&["a", "b", "c"]));
        assert_eq!(sum(&["a", "b", "c"]).without(sum(&["b"])), sum(&["c", "a"]));
        assert_eq!(sum(&[]).without(sum(&["a"])).with(sum(&["a", "b"])), sum(&["b"]));
    }

    #[test]
    fn carries_go_through() {
        let mut sum = Sum { rows: 0, limbs: [u64::MAX; 4] };
        sum.add(b"x");
        let mut plain = Sum::default();
        plain.add(b"x");
        // All ones is minus one.
        let (first, borrow) = plain.limbs[0].overflowing_sub(1);
        assert_eq!(sum.limbs[0], first);
        assert!(borrow || sum.limbs[1..] == plain.limbs[1..]);
    }
}
