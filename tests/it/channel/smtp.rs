//! Mail: several recipients, servers that put off, passwords and certificates that are not accepted.
use super::*;
use crate::support::{mail::MailServer, packages::Folder};
use backout::resource::channel::{Smtp, Tls};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

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

/// An authority that nobody knows, and a server's certificate of it, with its key.
fn certificates(folder: &Folder) {
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        command.args(arguments.split(' ')).current_dir(folder.path()).stdin(Stdio::null());
        let made = command.output().expect("openssl is there: tests/run installs it");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30";
    for authority in ["ours", "another"] {
        openssl(&format!("req -x509 {key} -subj /CN={authority} -keyout {authority}.key -out {authority}.crt"));
    }
    openssl(&format!(
        "req -x509 -CA ours.crt -CAkey ours.key {key} -subj /CN=localhost -addext subjectAltName=DNS:localhost \
         -addext basicConstraints=critical,CA:FALSE -keyout server.key -out server.crt"
    ));
    folder.write("server.pem", folder.read("server.crt") + &folder.read("server.key"));
}

/// With the program as people call it, because a process has its trusted authorities for life.
#[test]
fn over_tls_a_server_is_who_it_says_or_hears_nothing() {
    let folder = Folder::new();
    certificates(&folder);
    let pem = folder.at("server.pem").display().to_string();
    for (tls, login) in [("starttls", SECRET), ("tls", SECRET), ("starttls", "another password")] {
        let server = MailServer::start(&["--tls", tls, "--certificate", &pem, "--login", &format!("backout:{login}")]);
        folder.write("password", SECRET);
        fs::set_permissions(folder.at("password"), PermissionsExt::from_mode(0o600)).unwrap();
        let notify = |host: &str, trusted: &str| {
            folder.write(
                "backout.toml",
                format!(
                    "[channel.ops]\ndriver = \"smtp\"\nserver = \"{host}:{}\"\ntls = \"{tls}\"\nuser = \"backout\"\n\
                     password = {{ file = \"password\" }}\nfrom = \"backout@example.org\"\nto = [\"ada@example.org\"]\nwithin = \"1s\"\n",
                    server.port
                ),
            );
            let mut notify = Command::new(BACKOUT);
            notify.args(["notify", "ops"]).current_dir(folder.path()).env_remove("BACKOUT_SITE");
            let ended = notify.env("SSL_CERT_FILE", folder.at(trusted)).env_remove("SSL_CERT_DIR").output().unwrap();
            let said = String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap();
            assert!(!said.contains(SECRET) && !said.contains("example.org"), "{said}");
            (ended.status.code(), said)
        };
        if login != SECRET {
            let (code, said) = notify("localhost", "ours.crt");
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains("channel ops: the mail server does not accept user and password (535)"), "{said}");
            assert_eq!(server.handed().len(), 0);
            continue;
        }
        // By somebody whom nobody knows; and of another name.
        for (host, trusted) in [("localhost", "another.crt"), ("127.0.0.1", "ours.crt")] {
            let (code, said) = notify(host, trusted);
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains("no secure connection: its certificate or protocol is not accepted"), "{said}");
        }
        assert_eq!(server.handed().len(), 0);
        assert_eq!(notify("localhost", "ours.crt"), (Some(0), "✓ channel ops (smtp) has taken it\n".to_owned()));
        assert_eq!(server.mails().len(), 1);
    }
}
