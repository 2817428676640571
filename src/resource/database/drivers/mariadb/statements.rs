//! Statements of a script, told apart before the server sees them: MariaDB cannot be kept to one transaction, one database and
//! data alone by rights, because a declaration ends the transaction that it stands in.
use crate::resource::Failure;

/// How the server reads a text, as the session's `sql_mode` has it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading {
    pub ansi_quotes: bool,
    pub no_backslash: bool,
}

impl Reading {
    pub fn of(sql_mode: &str) -> Self {
        let has = |word: &str| sql_mode.split(',').any(|mode| mode == word);
        Self { ansi_quotes: has("ANSI_QUOTES"), no_backslash: has("NO_BACKSLASH_ESCAPES") }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// In upper case.
    Word(String),
    /// A quoted name.
    Name(String),
    Text,
    Sign(char),
}

/// What scripts may begin a statement with where they only look.
pub const LOOKING: &[&str] = &["SELECT", "WITH", "VALUES", "EXPLAIN", "DESCRIBE", "DESC"];
/// And where they change data. What declares something is not among it.
pub const WRITING: &[&str] = &["SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "REPLACE"];

/// They reach into files, or take and give back the locks by which a session is known.
const NEVER: &[&str] = &[
    "OUTFILE",
    "DUMPFILE",
    "LOAD_FILE",
    "GET_LOCK",
    "RELEASE_LOCK",
    "RELEASE_ALL_LOCKS",
    "MASTER_POS_WAIT",
    "MASTER_GTID_WAIT",
];

/// The statements of a text, each allowed by itself. `schemas` are the other ones of the server.
pub fn allowed(sql: &str, reading: Reading, first: &[&str], schemas: &[String]) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for (text, tokens) in split(sql, reading)? {
        let begin = tokens.iter().find(|token| **token != Token::Sign('('));
        let Some(begin) = begin else { continue };
        match begin {
            Token::Word(word) if first.contains(&word.as_str()) => {}
            Token::Word(word) if DECLARING.contains(&word.as_str()) && first.contains(&"INSERT") => {
                return Err(Failure::invalid(format!(
                    "{word} ends the transaction that it stands in: MariaDB cannot undo it"
                ))
                .hint("let the product's own upgrade declare what it needs, and `restore` bring back what was"));
            }
            Token::Word(word) if word.len() <= 20 => {
                return Err(Failure::invalid(format!("a statement may not begin with {word} here")));
            }
            _ => return Err(Failure::invalid("a statement may not begin like this")),
        }
        look_inside(&tokens, schemas)?;
        found.push(text);
    }
    if found.is_empty() { Err(Failure::invalid("there is no statement")) } else { Ok(found) }
}

const DECLARING: &[&str] = &[
    "CREATE", "ALTER", "DROP", "RENAME", "TRUNCATE", "GRANT", "REVOKE", "ANALYZE", "OPTIMIZE", "REPAIR", "LOCK",
    "UNLOCK", "FLUSH", "CALL",
];

fn look_inside(tokens: &[Token], schemas: &[String]) -> Result<(), Failure> {
    for (at, token) in tokens.iter().enumerate() {
        let next = tokens.get(at + 1);
        match token {
            Token::Word(word) if NEVER.contains(&word.as_str()) => {
                return Err(Failure::invalid(format!("a script may not say {word} here")));
            }
            Token::Name(word) if NEVER.contains(&word.to_uppercase().as_str()) => {
                return Err(Failure::invalid(format!("a script may not say {} here", word.to_uppercase())));
            }
            Token::Sign('@') if next == Some(&Token::Sign('@')) => {
                return Err(Failure::invalid("a script may not ask for the server's settings"));
            }
            Token::Word(name) | Token::Name(name)
                if next == Some(&Token::Sign('.'))
                    && schemas.iter().any(|schema| schema.to_uppercase() == name.to_uppercase()) =>
            {
                return Err(Failure::invalid("a statement reaches into another database of the server"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn split(sql: &str, reading: Reading) -> Result<Vec<(String, Vec<Token>)>, Failure> {
    let open = || Failure::invalid("a quote or comment in the statement has no end");
    let (mut found, mut tokens, mut begin) = (Vec::new(), Vec::new(), 0);
    let mut rest = sql.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        let tail = sql.get(at..).unwrap_or_default();
        let skip_to = |rest: &mut std::iter::Peekable<std::str::CharIndices<'_>>, end: usize| {
            while rest.next_if(|(at, _)| *at < end).is_some() {}
        };
        match c {
            ';' => {
                found.push((sql.get(begin..at).unwrap_or_default().trim().to_owned(), std::mem::take(&mut tokens)));
                begin = at + 1;
            }
            '#' => skip_to(&mut rest, at + tail.find('\n').unwrap_or(tail.len())),
            '-' if tail.starts_with("--")
                && tail
                    .get(2..)
                    .is_none_or(|t| t.chars().next().is_none_or(|c| c.is_whitespace() || c.is_control())) =>
            {
                skip_to(&mut rest, at + tail.find('\n').unwrap_or(tail.len()));
            }
            '/' if tail.starts_with("/*") => {
                if tail.starts_with("/*!") || tail.starts_with("/*M!") {
                    return Err(Failure::invalid("a comment may not hold what the server executes"));
                }
                let end = tail.get(2..).and_then(|t| t.find("*/")).ok_or_else(open)?;
                skip_to(&mut rest, at + end + 4);
            }
            '\'' | '"' | '`' => {
                let name = c == '`' || c == '"' && reading.ansi_quotes;
                let escapes = !name && !reading.no_backslash;
                let mut text = String::new();
                loop {
                    let (_, inner) = rest.next().ok_or_else(open)?;
                    if inner == '\\' && escapes {
                        rest.next();
                    } else if inner == c {
                        if rest.next_if(|(_, next)| *next == c).is_none() {
                            break;
                        }
                        text.push(c);
                    } else {
                        text.push(inner);
                    }
                }
                tokens.push(if name { Token::Name(text) } else { Token::Text });
            }
            c if c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii() => {
                let mut word = c.to_string();
                while let Some((_, c)) =
                    rest.next_if(|(_, c)| c.is_alphanumeric() || *c == '_' || *c == '$' || !c.is_ascii())
                {
                    word.push(c);
                }
                tokens.push(Token::Word(word.to_uppercase()));
            }
            c if c.is_whitespace() || c.is_control() => {}
            c => tokens.push(Token::Sign(c)),
        }
    }
    found.push((sql.get(begin..).unwrap_or_default().trim().to_owned(), tokens));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(sql: &str, first: &[&str]) -> Result<usize, String> {
        let schemas = ["mysql".to_owned(), "Other".to_owned()];
        allowed(sql, Reading::default(), first, &schemas).map(|found| found.len()).map_err(|e| e.message)
    }

    #[test]
    fn statements_are_told_apart_as_the_server_does() {
        assert_eq!(says("SELECT 1; -- two;\nSELECT ';'';\\';' /* ; */;; ", LOOKING), Ok(2));
        assert_eq!(says("SELECT 1--1", LOOKING), Ok(1));
        assert_eq!(says("DELETE FROM `a;b` # ; x", WRITING), Ok(1));
        assert_eq!(says("(SELECT 1) UNION (SELECT 2)", LOOKING), Ok(1));
        for sql in [
            "",
            " -- nothing",
            "SELECT 'x",
            "SELECT /* x",
            "BEGIN",
            "COMMIT",
            "SET x = 1",
            "(DROP TABLE t)",
            "/*! DROP TABLE t */",
            "SELECT /*M!100000 1 */ 1",
            "SELECT 1 INTO OUTFILE 'x'",
            "SELECT load_file('/x')",
            "SELECT `LOAD_FILE`('/x')",
            "SELECT @@datadir",
            "SELECT * FROM mysql . user",
            "SELECT * FROM `OTHER`.t",
            "SELECT RELEASE_ALL_LOCKS()",
        ] {
            says(sql, LOOKING).unwrap_err();
        }
        let why = says("DELETE FROM t; CREATE TABLE t (a INT)", WRITING).unwrap_err();
        assert!(why.contains("CREATE ends the transaction"), "{why}");
    }

    #[test]
    fn what_quotes_mean_is_the_sessions_mode() {
        let schemas = ["mysql".to_owned()];
        let ansi = Reading::of("REAL_AS_FLOAT,ANSI_QUOTES,NO_BACKSLASH_ESCAPES");
        allowed("SELECT * FROM \"mysql\".user", ansi, LOOKING, &schemas).unwrap_err();
        assert_eq!(allowed("SELECT '\\'; SELECT 2", ansi, LOOKING, &schemas).unwrap().len(), 2);
        allowed("SELECT '\\'; SELECT 2", Reading::default(), LOOKING, &schemas).unwrap_err();
    }
}
