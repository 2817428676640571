//! Mail: several recipients, servers that put off, passwords and certificates that are not accepted.
use super::*;
use crate::support::mail::MailServer;
use backout::resource::channel::{Smtp, Tls};

fn mail(server: &MailServer, to: &[&str]) -> Smtp {
    Smtp {
        host: "127.0.0.1".into(),
        port: server.port,
        tls: Tls::Never,
        login: None,
        from: "Backout <backout@example.org>".into(),
        to: to.iter().map(|to| (*to).to_owned()).collect(),
    }
}

#[tokio::test]
async fn an_address_that_is_wrong_keeps_it_from_nobody_else() {
    let server = MailServer::start(&[]);
    let to = ["Ada <ada@example.org>", "nobody@example.org", "grace@example.org"];
    let failure = send(&section(Driver::Smtp(mail(&server, &to))), &message("x", ""), &usual()).await.unwrap_err();
    assert_eq!(failure.message, "the mail server refused it (550) (2 of 3 have it)");
    let told: Vec<String> = server.mails().iter().map(|mail| mail.to()).collect();
    assert_eq!(told, [r#"["ada@example.org"]"#, r#"["grace@example.org"]"#]);
    let mails = server.mails();
    let to = mails[0].header("To").unwrap();
    assert!(to.contains("Ada <ada@example.org>") && to.contains("grace@example.org"), "{to}");
    assert_eq!(mails[0].raw(), mails[1].raw());
}

#[tokio::test]
async fn what_was_put_off_comes_once_and_under_its_name() {
    let server = MailServer::start(&["--defer", "2"]);
    let to = ["ada@example.org", "grace@example.org"];
    send(&section(Driver::Smtp(mail(&server, &to))), &message("x", ""), &usual()).await.unwrap();
    let mut told: Vec<String> = server.mails().iter().map(|mail| mail.to()).collect();
    told.sort();
    assert_eq!(told, [r#"["ada@example.org"]"#, r#"["grace@example.org"]"#]);
    let handed = server.handed();
    assert_eq!(handed.len(), 4);
    let name = |mail: &crate::support::mail::Mail| mail.header("Message-ID");
    assert!(handed.iter().all(|mail| name(mail) == name(&handed[0])), "{handed:?}");
}

#[tokio::test]
async fn a_wrong_password_is_not_tried_twice_and_not_told() {
    let server = MailServer::start(&["--login", "backout:another"]);
    let smtp = Smtp { login: Some(("backout".into(), SECRET.into())), ..mail(&server, &["ada@example.org"]) };
    let failure = send(&section(Driver::Smtp(smtp)), &message("x", ""), &usual()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Failed);
    assert_eq!(failure.message, "the mail server does not accept user and password (535)");
}

#[tokio::test]
async fn without_starttls_nothing_is_said() {
    let server = MailServer::start(&["--login", &format!("backout:{SECRET}")]);
    let login = Some(("backout".into(), SECRET.into()));
    let smtp = Smtp { tls: Tls::Starttls, login, ..mail(&server, &["ada@example.org"]) };
    let failure = send(&section(Driver::Smtp(smtp)), &message("x", ""), &usual()).await.unwrap_err();
    assert_eq!(failure.message, "the mail server offers no STARTTLS or no way to log in");
    assert_eq!(server.handed().len(), 0);
}

#[test]
fn without_tls_it_goes_to_this_machine_only() {
    let smtp = |host: &str, to: &[&str]| Smtp {
        host: host.into(),
        port: 25,
        tls: Tls::Never,
        login: None,
        from: "backout@example.org".into(),
        to: to.iter().map(|to| (*to).to_owned()).collect(),
    };
    let wrong = |smtp: Smtp| drivers::understood(&section(Driver::Smtp(smtp))).unwrap_err().message;
    assert!(wrong(smtp("mail.example.org", &["a@b.org"])).contains("this machine only"));
    assert!(wrong(smtp("localhost", &[])).contains("`to` is empty"));
    assert!(wrong(smtp("localhost", &["a@b.org", "a@b\r\nBcc: c@d.org"])).contains("is no mail address"));
}
