//! Twins: what takes the place of services and tools, and what must never be one.
use super::{content, findings, package, rehearse, still};
use crate::support::{bench::BACKOUT, shop::Shop};
use std::{fs, net::TcpListener};

/// The port of the twin.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

pub const COPY: &str = "../state/rehearsal/databases/shop/shop.db";

/// A shop whose service, tool and probe have twins; the twins' configuration names this database.
pub fn with_twins(shop: &Shop, database: &str) {
    let port = free_port();
    fs::create_dir_all(shop.folder.path("twin")).unwrap();
    let config = format!("port = {port}\ndatabase = \"{database}\"\npage-size = 20\n");
    fs::write(shop.folder.path("twin/shop.toml"), config).unwrap();
    for section in ["[service.shop]", "[tool.migrate]", "[probe.shop]"] {
        shop.edit_site(section, &format!("{section}\nrehearse = \"twin\""));
    }
    let root = if rustix::process::geteuid().is_root() { "allow-root = true\n" } else { "" };
    let program = "state/rehearsal/trees/app/current/bin/shop";
    let text = format!(
        r#"{}
[service.twin]
driver = "process"
run = ["{program}", "serve", "--config", "twin/shop.toml"]
env = {{ SHOP_RUNTIME = "{BACKOUT}" }}
settle = "300ms"
{root}
[tool.twin]
run = ["{program}", "migrate", "--config", "twin/shop.toml"]
env = {{ SHOP_RUNTIME = "{BACKOUT}" }}
{root}
[probe.twin]
url = "http://127.0.0.1:{port}"
load = {{ clients = 20, time = "1m" }}
"#,
        fs::read_to_string(shop.site()).unwrap()
    );
    fs::write(shop.site(), text).unwrap();
}

#[test]
fn services_and_tools_have_twins_that_work_on_the_copies() {
    let mut shop = still("");
    with_twins(&shop, COPY);
    shop.open();
    let (before, version) = (content(&shop.folder.path("srv/app")), shop.version());
    let came = rehearse(&shop, 0);
    shop.expect(0, &["audit"]);
    assert_eq!(came["simulated"], serde_json::json!(["metrics:shop"]));
    assert_eq!(came["twins"], serde_json::json!(["probe:shop", "service:shop", "tool:migrate"]));
    // The migration has changed the copy, and the new version has answered with it.
    let real: Vec<_> = came["steps"].as_array().unwrap().iter().filter(|step| step["simulated"].is_null()).collect();
    let names = ["copy", "close", "install", "open", "answers", "stop", "restore", "reopen", "answers"];
    assert_eq!(real.iter().map(|step| step["name"].as_str().unwrap()).collect::<Vec<_>>(), names);
    assert_eq!(shop.version(), version);
    assert!(content(&shop.folder.path("srv/app")) == before);
    shop.expect(0, &["check"]);
    let plan: serde_json::Value = serde_json::from_str(&shop.expect_out(&["plan", "--json", &package(&shop)])).unwrap();
    let measured: Vec<_> = plan["steps"].as_array().unwrap().iter().map(|step| step["measured_runs"].clone()).collect();
    assert_eq!(measured, [1, 1, 1, 1, 0, 1].map(serde_json::Value::from));
}

#[test]
fn a_rollback_that_fails_on_the_copies_is_found_before_it_fails_in_earnest() {
    let shop = still("");
    with_twins(&shop, COPY);
    // The copy that would be put back is damaged before it is asked for.
    fs::write(
        shop.folder.path("twin/run"),
        format!(
            "#!/bin/sh\nset -eu\n{BACKOUT} shop --release \"$BACKOUT_SCRATCH/trees/app/versions/2.0\" migrate --config twin/shop.toml\n\
             for copy in \"$BACKOUT_SCRATCH\"/databases/shop/.backout/shop/*/standby.db; do echo damaged > \"$copy\"; done\n"
        ),
    )
    .unwrap();
    shop.edit_site(
        "run = [\"state/rehearsal/trees/app/current/bin/shop\", \"migrate\", \"--config\", \"twin/shop.toml\"]",
        "run = [\"sh\", \"twin/run\"]",
    );
    let before = content(&shop.folder.path("srv"));
    let found = findings(&rehearse(&shop, 10));
    let database =
        "not-restored: database shop: the schema differs (changed first by upgrade/install: tool.run migrate)";
    assert!(found.iter().any(|finding| finding == database), "{found:#?}");
    assert!(found[0].starts_with("not-rolled-back: ") && found[0].contains("the database is damaged"), "{found:#?}");
    assert!(content(&shop.folder.path("srv")) == before);
}

#[test]
fn a_twin_that_opens_what_is_live_ends_the_rehearsal() {
    let mut shop = still("");
    with_twins(&shop, "../srv/data/shop.db");
    shop.open();
    let output = shop.backout(&["rehearse", &package(&shop)]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("uses database shop itself, not its copy"), "{said}");
    assert!(!shop.folder.path("state/rehearsal").exists());
    assert_eq!(shop.version().as_deref(), Some("1.0.0"));
}

#[test]
fn mistakes_with_twins_are_told_at_once() {
    let shop = still("");
    let port = shop.folder.port;
    let text = format!(
        r#"{}
[service.own]
driver = "process"
run = ["true"]
rehearse = "own"

[service.lost]
driver = "process"
run = ["true"]
rehearse = "shob"

[service.one]
driver = "process"
run = ["true"]
rehearse = "two"

[service.two]
driver = "process"
run = ["sh", "-c", "exec srv/app/current/bin/shop"]
env = {{ DB = "srv/data/shop.db" }}
uses = ["shop"]
rehearse = "shop"

[probe.same]
url = "http://127.0.0.1:{port}"

[metrics.less]
driver = "page"
url = "http://127.0.0.1:{port}/metrics.json"
queries.p95 = "json:p95"
"#,
        fs::read_to_string(shop.site()).unwrap()
    );
    fs::write(shop.site(), text).unwrap();
    shop.edit_site("[probe.shop]", "[probe.shop]\nrehearse = \"same\"");
    shop.edit_site("[metrics.shop]", "[metrics.shop]\nrehearse = \"less\"");
    let said = shop.expect(3, &["check"]);
    for mistake in [
        "service `own` cannot be its own twin",
        "there is no service `shob`",
        "did you mean `shop`?",
        "service `two` is a twin, and has a twin `shop` itself",
        "the twin service `two` would use what is live",
        "the twin service `two` names exec srv/app/current/bin/shop, which is of the live tree `app`",
        "the twin service `two` names srv/data/shop.db, which is of the live database `shop`",
        "in a rehearsal its copy is state/rehearsal/databases/shop/shop.db",
        "the twin probe `same` asks the same address as probe `shop`",
        "the twin metrics `less` does not have error-rate",
        "service `shop` is a twin, there for rehearsals alone",
    ] {
        assert!(said.contains(mistake), "{mistake}\n{said}");
    }
}

#[test]
fn a_twin_runs_what_a_package_writes_only_as_the_site_says() {
    assert!(rustix::process::geteuid().is_root(), "only root can be refused to run as root, or become another user");
    let shop = still("");
    with_twins(&shop, COPY);
    let text = fs::read_to_string(shop.site()).unwrap();
    let (head, twin) = text.split_once("[service.twin]").unwrap();
    fs::write(shop.site(), format!("{head}[service.twin]{}", twin.replacen("allow-root = true\n", "", 1))).unwrap();
    let said = shop.expect(3, &["rehearse", &package(&shop)]);
    assert!(said.contains("service `twin` would run as root what `acme/shop` may write"), "{said}");
}

#[test]
fn a_twin_of_another_user_has_to_get_through_to_the_copies() {
    assert!(rustix::process::geteuid().is_root(), "only root can be refused to run as root, or become another user");
    let shop = still("");
    with_twins(&shop, COPY);
    let text = fs::read_to_string(shop.site()).unwrap();
    let (head, twin) = text.split_once("[service.twin]").unwrap();
    let twin = twin.replacen("allow-root = true\n", "user = \"nobody\"\n", 1);
    fs::write(shop.site(), format!("{head}[service.twin]{twin}")).unwrap();
    let said = shop.expect(3, &["rehearse", "--rate", "0", &package(&shop)]);
    let state = shop.folder.path("state");
    assert!(
        said.contains(&format!("the twin twin runs as user nobody, who cannot enter {}", state.display())),
        "{said}"
    );
    assert!(said.contains(&format!("let users through: chmod o+x {}", state.display())), "{said}");
    assert!(!state.join("rehearsal").exists());
}
