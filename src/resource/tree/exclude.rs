//! Which paths of a tree belong to nobody's version.

/// `*` stands for anything within one name, `**` for any number of folders. A folder that matches is excluded with all
/// that is in it.
#[derive(Clone, Debug, Default)]
pub struct Excludes {
    patterns: Vec<Vec<String>>,
}

impl Excludes {
    /// The first pattern that is none is the error, as a sentence for the operator.
    pub fn parse(patterns: &[String]) -> Result<Self, String> {
        let patterns = patterns.iter().map(|pattern| {
            let parts = pattern.strip_suffix('/').unwrap_or(pattern).split('/');
            let parts: Vec<String> = parts.map(str::to_owned).collect();
            match parts
                .iter()
                .find(|part| part.is_empty() || matches!(part.as_str(), "." | "..") || part.contains('\0'))
            {
                Some(_) => Err(format!("`{pattern}` is no path inside the tree")),
                None if parts.iter().all(|part| part == "**") => Err(format!("`{pattern}` excludes the whole tree")),
                None => Ok(parts),
            }
        });
        Ok(Self { patterns: patterns.collect::<Result<_, _>>()? })
    }

    pub fn matches(&self, path: &[u8]) -> bool {
        if self.patterns.is_empty() {
            return false;
        }
        let names: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
        self.patterns.iter().any(|pattern| whole(pattern, &names))
    }
}

/// `at[i]`: what was read of the pattern so far can stand for the first `i` names.
fn whole(pattern: &[String], names: &[&[u8]]) -> bool {
    let mut at = vec![false; names.len() + 1];
    at[0] = true;
    for (position, part) in pattern.iter().enumerate() {
        if part == "**" {
            let first = at.iter().position(|reached| *reached).unwrap_or(at.len());
            // `uploads/**` is what is in the folder, not the folder.
            let first = if position + 1 == pattern.len() { first + 1 } else { first };
            at.iter_mut().enumerate().for_each(|(i, reached)| *reached = i >= first);
        } else {
            for i in (0..names.len()).rev() {
                at[i + 1] = at[i] && one(part.as_bytes(), names[i]);
            }
            at[0] = false;
        }
    }
    at[names.len()]
}

/// A `*` that fits too little is widened by one byte; only the last one ever has to be.
fn one(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, n));
            p += 1;
        } else if pattern.get(p) == Some(&name[n]) {
            p += 1;
            n += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            p = at + 1;
            n = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Excludes::parse(&[pattern.to_owned()]).unwrap().matches(path.as_bytes())
    }

    #[test]
    fn stars_stay_in_a_name_and_double_stars_do_not() {
        for (pattern, path) in [
            ("uploads", "uploads"),
            ("uploads/", "uploads"),
            ("*.log", "a.log"),
            ("*.log", ".log"),
            ("a*b*c", "aXbXbc"),
            ("**/*.log", "a.log"),
            ("**/*.log", "x/y/a.log"),
            ("uploads/**", "uploads/a"),
            ("uploads/**", "uploads/a/b"),
            ("x/**/y", "x/y"),
            ("x/**/y", "x/a/b/y"),
            ("**/a/**/b", "a/b"),
            ("*", "anything"),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("uploads", "uploads2"),
            ("uploads", "x/uploads"),
            ("*.log", "x/a.log"),
            ("*.log", "a.log2"),
            ("uploads/**", "uploads"),
            ("x/**/y", "x/yy"),
            ("x/**/y", "z/y"),
            ("?", "a"),
            ("*", "a/b"),
        ] {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
        let costly = format!("{}b", "*a".repeat(40));
        assert!(!matches(&costly, &"a".repeat(4000)), "ends at once");
    }

    #[test]
    fn what_is_no_path_inside_is_refused() {
        for pattern in ["", "/abs", "a//b", "../x", "a/./b", "**", "**/**"] {
            assert!(Excludes::parse(&[pattern.to_owned()]).is_err(), "{pattern}");
        }
    }
}
