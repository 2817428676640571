//! What the server's errors mean, in words that name no host, no path, no password and nothing of a statement but the names of
//! what it is about. A server repeats parts of a statement in its messages, and statements may hold secrets.
use crate::resource::{Failure, http, room};
use mysql_async::{DriverError, Error, IoError, ServerError};

pub fn told(error: Error) -> Failure {
    match &error {
        Error::Server(said) => said_by_server(said),
        Error::Io(IoError::Io(io)) => match io.kind() {
            std::io::ErrorKind::NotFound => Failure::unavailable("no server is there"),
            std::io::ErrorKind::PermissionDenied => Failure::unavailable("the server's socket may not be opened"),
            kind => Failure::unavailable(http::io_words(kind).unwrap_or("the server closed the connection")),
        },
        Error::Io(_) => {
            Failure::unavailable("no secure connection: the server's certificate or protocol is not accepted")
        }
        Error::Driver(DriverError::NoClientSslFlagFromServer) => {
            Failure::unavailable("no secure connection: the server offers none")
                .hint("`sslmode=prefer` in the url goes without, where the server has none")
        }
        Error::Driver(DriverError::ConnectionClosed) => Failure::unavailable("the server closed the connection"),
        _ => Failure::failed("the server's answer is not understood"),
    }
}

/// The server offers no encryption.
pub fn is_plain(error: &Error) -> bool {
    matches!(error, Error::Driver(DriverError::NoClientSslFlagFromServer))
}

pub fn code(error: &Error) -> u16 {
    if let Error::Server(said) = error { said.code } else { 0 }
}

fn said_by_server(said: &ServerError) -> Failure {
    let class = said.state.get(..2).unwrap_or_default();
    match (said.code, class) {
        (1045 | 1698 | 1862 | 4151, _) => Failure::denied("the server does not let Backout in: wrong user or password")
            .hint("look at `url` and `password` in the section of the database, and at `SHOW GRANTS` of its user"),
        (1049, _) => Failure::not_found("the server has no such database"),
        (1146 | 1051 | 1109, _) => Failure::not_found(match quoted(&said.message) {
            Some(name) => format!("there is no table {name}"),
            None => "there is no such table".to_owned(),
        }),
        (1205 | 1213 | 1020, _) => Failure::unavailable("somebody else has a lock on it"),
        (1969 | 3024, _) => Failure::timed_out("its time is over"),
        (1317, _) => Failure::timed_out("its time is over, or the run was stopped"),
        (1927 | 1152 | 1159 | 1160 | 1161, _) => Failure::unavailable("the connection was ended at the server"),
        (1021 | 1114 | 3675, _) => room::none("there is no room left on the server's disk"),
        (1030 | 1026, _) if said.message.contains("28") => room::none("there is no room left on the server's disk"),
        (1040 | 1203 | 1226, _) => Failure::unavailable("the server has no connection left"),
        (1053 | 1077, _) => Failure::unavailable("the server starts, stops or recovers"),
        (1037 | 1038 | 1041, _) => Failure::unavailable("the server has not enough memory or other means"),
        (1044 | 1142 | 1143 | 1227 | 1370 | 1410 | 1419 | 1095, _) => denied(said),
        (1792, _) => Failure::invalid("only what reads is allowed here"),
        (1290 | 1836, _) => Failure::unavailable("the server is set to be read-only"),
        (1412, _) => Failure::conflict("a table was declared anew while it was read"),
        (1153 | 1301, _) => Failure::invalid("a statement or value is longer than the server takes")
            .hint("`max_allowed_packet` of the server bounds it"),
        (1064 | 1149 | 1065 | 1210 | 1295, _) => {
            Failure::invalid("the statement is not understood, or is more than one")
        }
        (1054 | 1305 | 1052, _) => Failure::invalid(match quoted(&said.message) {
            Some(name) => format!("there is no {name}"),
            None => "the statement names what is not there".to_owned(),
        }),
        (1062, _) => Failure::failed("a key that may be there only once is there already"),
        (1034 | 1035 | 1712 | 1877 | 1932, _) => {
            Failure::failed(format!("the server finds its data damaged (error {})", said.code))
                .hint("look into the server's log")
        }
        (_, "23") => Failure::failed(format!("a constraint does not hold (error {})", said.code)),
        (_, "42" | "22" | "21" | "25" | "0A") => {
            Failure::invalid(format!("the server refuses the statement (error {})", said.code))
        }
        _ => Failure::failed(format!("the server ended it with error {}", said.code))
            .hint("the manual of the server has what the number means"),
    }
}

/// `Table 'shop.orders' doesn't exist`: the last name of what is quoted first.
fn quoted(message: &str) -> Option<String> {
    let mut parts = message.split(['\'', '`']);
    let name = parts.nth(1)?.rsplit('.').next()?;
    let plain = name.chars().count() <= 64 && name.chars().all(|c| c.is_alphanumeric() || "_$-".contains(c));
    (plain && !name.is_empty()).then(|| name.to_owned())
}

/// What would have to be granted.
fn denied(said: &ServerError) -> Failure {
    // `SELECT, INSERT command denied to user …`, `you need (at least one of) the PROCESS privilege(s) …`
    let right = match said.message.split_once(" command denied").map(|(right, _)| right) {
        Some(right) => Some(right),
        None => said.message.split_once("of) the ").and_then(|(_, rest)| rest.split_once(" privilege")).map(|(r, _)| r),
    };
    let right = right.filter(|r| r.len() < 80 && r.chars().all(|c| c.is_ascii_uppercase() || ", ".contains(c)));
    match right {
        Some(right) => Failure::denied(format!("Backout's user lacks the right {right}"))
            .hint(format!("GRANT {right} ON … TO the user in `url`")),
        None => Failure::denied("Backout's user may not do this").hint("look at `SHOW GRANTS` of the user in `url`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: u16, state: &str, message: &str) -> Failure {
        told(Error::Server(ServerError { code, message: message.to_owned(), state: state.to_owned() }))
    }

    #[test]
    fn messages_hold_names_and_nothing_of_a_statement() {
        assert_eq!(of(1146, "42S02", "Table 'shop.no_such' doesn't exist").message, "there is no table no_such");
        assert_eq!(of(1062, "23000", "Duplicate entry 'hunter2' for key 'a'").message.find("hunter2"), None);
        assert_eq!(of(1064, "42000", "near 'IDENTIFIED BY \"hunter2\"' at line 1").message.find("hunter2"), None);
        let denied = of(1142, "42000", "DELETE command denied to user 'a'@'b' for table `shop`.`orders`");
        assert_eq!(denied.message, "Backout's user lacks the right DELETE");
        let denied = of(1227, "42000", "Access denied; you need (at least one of) the PROCESS privilege(s) for this");
        assert_eq!(denied.message, "Backout's user lacks the right PROCESS");
    }
}
