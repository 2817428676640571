//! What becomes of one row, from how it is on three sides.

/// How a row was at the restore point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Was<R> {
    Unknown,
    /// As it was set aside.
    Same,
    /// Not there.
    New,
    /// Another one than was set aside, or there and not set aside.
    Other(R),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Nothing,
    Insert,
    Update,
    Delete,
    /// For people to decide; why.
    Conflict(&'static str),
}

impl Verdict {
    /// `new`: as it was set aside; `live`: as it is now.
    pub fn of<R: PartialEq + ?Sized>(was: Was<&R>, new: Option<&R>, live: Option<&R>) -> Self {
        match (new, live, was) {
            (None, None, _) | (Some(_), _, Was::Same) => Self::Nothing,
            (Some(new), Some(live), _) if new == live => Self::Nothing,
            (Some(_), None, Was::New | Was::Unknown) => Self::Insert,
            (Some(_), None, Was::Other(_)) => {
                Self::Conflict("the new version changed it, the old one has deleted it since")
            }
            (Some(_), Some(live), Was::Other(before)) if before == live => Self::Update,
            (Some(_), Some(_), Was::Other(_)) => Self::Conflict("both versions changed it"),
            (Some(_), Some(_), Was::New) => Self::Conflict("both versions made a row with this key"),
            (Some(_), Some(_), Was::Unknown) => Self::Conflict("it differs, and nobody knows which version changed it"),
            (None, Some(live), Was::Other(before)) if before == live => Self::Delete,
            (None, Some(_), Was::Other(_)) => {
                Self::Conflict("the new version deleted it, the old one has changed it since")
            }
            (None, Some(_), Was::Unknown) => {
                Self::Conflict("only the old version has it: made since, or deleted by the new one; nobody knows which")
            }
            (None, Some(_), Was::New | Was::Same) => Self::Nothing,
        }
    }
}

/// Parents before their children; of a circle in the order in which they come. `references`: child, parent.
pub fn parents_first<T>(all: Vec<T>, name: impl Fn(&T) -> &str, references: &[(&str, &str)]) -> Vec<T> {
    let (mut left, mut ordered) = (all, Vec::new());
    while !left.is_empty() {
        let waits = |one: &T, left: &[T]| {
            let mut parents = references.iter().filter(|(child, parent)| *child == name(one) && parent != child);
            parents.any(|(_, parent)| left.iter().any(|other| name(other) == *parent))
        };
        let next = left.iter().position(|one| !waits(one, &left)).unwrap_or(0);
        ordered.push(left.remove(next));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_one_side_did_is_done_and_nothing_else() {
        let of = |was, new: Option<&'static str>, live: Option<&'static str>| Verdict::of::<str>(was, new, live);
        assert_eq!(of(Was::New, Some("b"), None), Verdict::Insert);
        assert_eq!(of(Was::Other("a"), Some("b"), Some("a")), Verdict::Update);
        assert_eq!(of(Was::Other("a"), None, Some("a")), Verdict::Delete);
        for (was, new, live) in [
            (Was::Same, Some("a"), None),
            (Was::Same, Some("a"), Some("b")),
            (Was::Other("a"), Some("b"), Some("b")),
            (Was::New, Some("b"), Some("b")),
            (Was::Other("a"), None, None),
            (Was::New, None, Some("b")),
        ] {
            assert_eq!(of(was, new, live), Verdict::Nothing, "{was:?} {new:?} {live:?}");
        }
        for (was, new, live) in [
            (Was::Other("a"), Some("b"), Some("c")),
            (Was::Other("a"), Some("b"), None),
            (Was::Other("a"), None, Some("c")),
            (Was::New, Some("b"), Some("c")),
            (Was::Unknown, Some("b"), Some("c")),
            (Was::Unknown, None, Some("c")),
        ] {
            assert!(matches!(of(was, new, live), Verdict::Conflict(_)), "{was:?} {new:?} {live:?}");
        }
    }

    #[test]
    fn a_circle_has_an_order_too() {
        let order =
            |names: &[&'static str], references: &[(&str, &str)]| parents_first(names.to_vec(), |n| n, references);
        assert_eq!(order(&["a", "b", "c"], &[("a", "b"), ("b", "c"), ("a", "a")]), ["c", "b", "a"]);
        assert_eq!(order(&["a", "b", "c"], &[("a", "b"), ("b", "a"), ("c", "a")]), ["a", "b", "c"]);
    }
}
