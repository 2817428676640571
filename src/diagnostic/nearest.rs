/// The known word that `found` was probably meant to be.
pub fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A hostile word may be long; nothing that is known is.
    if found.chars().count() > 100 {
        return None;
    }
    let found = found.to_lowercase();
    known
        .into_iter()
        .filter_map(|word| {
            let distance = strsim::damerau_levenshtein(&found, &word.to_lowercase());
            let longer = found.chars().count().max(word.chars().count());
            // A third of a word may be wrong, so that short words do not all look alike.
            (distance * 3 <= longer.max(3)).then_some((distance, word))
        })
        .min()
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_of_the_pen_is_understood_and_another_word_is_not() {
        let known = ["path", "exclude", "keep-aside", "exclusive"];
        assert_eq!(nearest("pth", known), Some("path"));
        assert_eq!(nearest("Keep_aside", known), Some("keep-aside"));
        assert_eq!(nearest("exclusiv", known), Some("exclusive"));
        assert_eq!(nearest("driver", known), None);
        assert_eq!(nearest("", known), None);
    }
}
