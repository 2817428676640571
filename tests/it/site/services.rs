//! Services that somebody else keeps, as a site names them.
use super::host;
use backout::{
    resource::service::{Codes, Driver},
    site::Site,
};

const BASE: &str = r#"[tree.app]
path = "srv/shop"
exclude = ["log"]
[allow."acme/shop"]
tree.app = { may = ["write"] }
[service.web]
driver = "command"
status = ["/bin/true"]
start = ["bin/web", "start"]
stop = ["true"]
"#;

fn mistakes(text: &str) -> Vec<String> {
    let folder = host();
    folder.write("backout.toml", text);
    let found = Site::load(&folder.at("backout.toml")).err().unwrap_or_default();
    found.0.iter().map(|mistake| mistake.message.clone()).collect()
}

/// With these lines in the section.
fn with(lines: &str) -> Vec<String> {
    mistakes(&format!("{BASE}{lines}\n"))
}

#[test]
fn a_service_by_commands_is_read() {
    let folder = host();
    let lines =
        "codes = { running = [7], starting = [3] }\nlog = \"web.log\"\nenv = { KEY = { file = \"secrets/key\" } }\n";
    folder.write("backout.toml", format!("{BASE}{lines}"));
    let site = Site::load(&folder.at("backout.toml")).unwrap();
    let shown = format!("{:?}", site.services);
    assert!(!shown.contains("sesame"), "{shown}");
    let Driver::Command(web) = &site.services["web"].driver else { panic!("{shown}") };
    assert_eq!(web.start, [folder.at("bin/web").display().to_string(), "start".to_owned()]);
    // What another word has taken means nothing else.
    assert_eq!(web.codes, Codes { running: vec![7], stopped: vec![], failed: vec![1, 2], starting: vec![3] });
    assert_eq!((web.log.clone(), web.env["KEY"].as_str()), (Some(folder.at("web.log")), "sesame"));
    // The host is looked at apart.
    let said = site.survey().to_string();
    assert!(said.contains("bin/web: there is no such file"), "{said}");
}

#[test]
fn what_a_service_by_commands_cannot_be_is_said() {
    assert_eq!(with(""), [""; 0]);
    assert_eq!(
        mistakes("[service.web]\ndriver = \"command\"\nrun = [\"x\"]\nstart = []\n"),
        [
            "`service.web` has no `status`",
            "`service.web` has no `stop`",
            "unknown key `run` in `service.web`",
            "`service.web.start` names no program"
        ]
    );
    for (lines, said) in [
        ("codes = { running = [0, 1], failed = [1] }", "exit code 1 has two meanings"),
        ("codes = { running = [256] }", "running` must be from 0 to 255"),
        ("codes = { up = [0] }", "unknown key `up` in `service.web.codes`"),
        ("pid-file = \"x\"\nprocesses = [\"true\"]", "`pid-file` and `processes` both say which processes are its own"),
        ("log = { bytes = \"1MiB\" }", "log` must be"),
        ("reload = \"HUP\"", "reload` must be"),
    ] {
        let found = with(lines);
        assert!(found.iter().any(|message| message.contains(said)), "{lines}: {found:?}");
    }
}

/// A script would have Backout read it what it may not see.
#[test]
fn what_is_read_lies_where_no_package_writes() {
    for place in ["srv/shop/web.log", "srv/shop/log/web.log", "srv/link/web.log"] {
        let folder = host();
        std::os::unix::fs::symlink("shop", folder.at("srv/link")).unwrap();
        folder.write("backout.toml", format!("{BASE}log = \"{place}\"\npid-file = \"srv/web.pid\"\n"));
        let found = Site::load(&folder.at("backout.toml")).unwrap_err().to_string();
        assert!(found.contains("`log` of service `web` lies in tree `app`, which `acme/shop` may write"), "{found}");
        assert!(!found.contains("pid-file"), "{found}");
    }
    assert_eq!(
        with("pid-file = \"srv/shop/web.pid\""),
        ["`pid-file` of service `web` lies in tree `app`, which `acme/shop` may write"]
    );
    assert_eq!(
        mistakes(&BASE.replace("\"write\"", "\"read\"").replace("stop =", "log = \"srv/shop/web.log\"\nstop =")),
        [""; 0]
    );
}

#[test]
fn each_of_its_command_lines_is_judged() {
    for key in ["status", "start", "stop", "restart", "reload", "processes"] {
        let plain = BASE.lines().filter(|line| !line.starts_with(&format!("{key} =")));
        let plain: String = plain.map(|line| format!("{line}\n")).collect();
        let lines = format!("{plain}user = \"root\"\n{key} = [\"sh\", \"srv/shop/ctl\"]\n");
        assert_eq!(mistakes(&lines), ["service `web` would run as root what `acme/shop` may write"], "{key}");
        assert_eq!(mistakes(&format!("{lines}allow-root = true\n")), [""; 0], "{key}");
    }
}

#[test]
fn a_twin_is_a_process_that_backout_ends() {
    let twin = "rehearse = \"twin\"\n[service.twin]\ndriver = \"command\"\nstatus = [\"true\"]\nstart = [\"true\"]\nstop = [\"true\"]";
    assert_eq!(with(twin), ["the twin service `twin` is no process that Backout supervises"]);
    assert_eq!(with("rehearse = \"twin\"\n[service.twin]\ndriver = \"process\"\nrun = [\"true\"]"), [""; 0]);
}

#[test]
fn a_container_is_named_and_nothing_else() {
    let section = |lines: &str| mistakes(&format!("[service.web]\ndriver = \"docker\"\n{lines}\n"));
    assert_eq!(
        section("container = \"shop-1.2_a\"\nsocket = \"run/d.sock\"\nhealthy = true\nreload = \"HUP\""),
        [""; 0]
    );
    assert_eq!(section(""), ["`service.web` has no `container`"]);
    for name in ["../version", "a/b", "", "-x", "a b", "a?x=1"] {
        assert_eq!(section(&format!("container = \"{name}\"")).len(), 1, "{name}");
    }
    assert_eq!(section("container = \"x\"\nrun = [\"x\"]"), ["unknown key `run` in `service.web`"]);
}

#[test]
fn an_image_is_named_by_its_digest() {
    let digest = "0123456789abcdef".repeat(4);
    let image = |image: &str| {
        let section = format!("[service.web]\ndriver = \"docker\"\ncontainer = \"x\"\nimage = {image}\n");
        mistakes(&format!("{section}[tree.shop-app]\npath = \"srv/shop\"\n"))
    };
    for fine in ["", "shop@", "registry.example.org:5000/shop/web:2.0@"] {
        assert_eq!(image(&format!("\"{fine}sha256:{digest}\"")), [""; 0], "{fine}");
    }
    for wrong in ["shop:2.0", "shop", &digest, &format!("sha256:{}", &digest[1..]), &format!("../x@sha256:{digest}")] {
        assert_eq!(image(&format!("\"{wrong}\"")), [format!("`{wrong}` names no image by its digest")]);
    }
    assert_eq!(image("{ file = \"shop-app:current/image\" }"), [""; 0]);
    assert_eq!(image("{ file = \"shop-ap:current/image\" }"), ["there is no tree `shop-ap`"]);
    for wrong in ["current/image", "shop-app:", "shop-app:../image", "shop-app:/etc/passwd"] {
        assert_eq!(image(&format!("{{ file = \"{wrong}\" }}")), [format!("`{wrong}` names no file in a tree")]);
    }
}

#[test]
fn whoever_names_the_image_says_what_runs() {
    let section =
        "[service.web]\ndriver = \"docker\"\ncontainer = \"x\"\nimage = { file = \"shop-app:current/image\" }\n";
    let rest = "[tree.shop-app]\npath = \"srv/shop\"\n[allow.\"acme/shop\"]\ntree.app = { is = \"shop-app\", may = [\"write\"] }\n";
    assert_eq!(mistakes(&format!("{section}{rest}")), ["service `web` would run as root what `acme/shop` may write"]);
    assert_eq!(mistakes(&format!("{section}allow-root = true\n{rest}")), [""; 0]);
}
