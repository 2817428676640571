//! Units in a site file: what is checked of them on the host, and what people are told.
use super::*;
use crate::support::packages::Folder;
use backout::site::{Site, first};

impl Product {
    /// A site with this unit, and a tree that a package may write.
    fn site(&self, more: &str) -> Folder {
        let folder = Folder::new();
        folder.folder("srv/shop/bin");
        let (unit, bus) = (self.unit(), self.manager.bus());
        folder.write(
            "backout.toml",
            format!(
                "[site]\nstate = \"state\"\n[tree.app]\npath = \"srv/shop\"\n[service.shop]\ndriver = \"systemd\"\nunit = \"{unit}\"\n\
                 bus = \"{}\"\n{more}\n[allow.\"acme/shop\"]\ntree.app = {{ may = [\"write\"] }}\nservice.shop = {{ may = [\"control\"] }}\n",
                bus.display()
            ),
        );
        folder
    }
}

fn surveyed(folder: &Folder) -> Vec<String> {
    let site = Site::load(&folder.at("backout.toml")).unwrap_or_else(|e| panic!("{e}"));
    site.survey().0.into_iter().map(|mistake| mistake.message).collect()
}

const AS_ROOT: &str = "service `shop` would run as root what `acme/shop` may write";

#[tokio::test]
async fn no_unit_runs_as_root_what_a_package_may_write() {
    let product = system_product();
    let folder = product.site("");
    let shop = folder.at("srv/shop").display().to_string();
    let runs_as = || {
        let site = Site::load(&folder.at("backout.toml")).unwrap();
        site.foreign_code_here().into_iter().map(|code| (code.tree.to_owned(), code.runs_as())).collect::<Vec<_>>()
    };
    for text in [
        format!("ExecStart={shop}/bin/shop"),
        format!("ExecStart=/bin/sh -c 'cd {shop} && ./run'"),
        format!("ExecStartPre={shop}/bin/migrate\nExecStart=/bin/true"),
        format!("ExecStart=/bin/true\nExecReload={shop}/bin/reload"),
        format!("ExecStart=/bin/python3 -m shop\nWorkingDirectory={shop}"),
        format!("ExecStart=/bin/true\nEnvironment=LD_PRELOAD={shop}/lib.so"),
        format!("ExecStart=/bin/true\nEnvironmentFile=-{shop}/environment"),
        format!("ExecStart=/bin/shop\nRootDirectory={shop}"),
        format!("User=nobody\nExecStartPre=+{shop}/bin/migrate\nExecStart=/bin/true"),
    ] {
        product.serves(&format!("[Service]\n{text}\n"));
        assert_eq!(surveyed(&folder), [AS_ROOT], "{text}");
        assert_eq!(runs_as(), [("app".to_owned(), "user root".to_owned())], "{text}");
    }
    product.serves(&format!("[Service]\nUser=nobody\nExecStart={shop}/bin/shop\n"));
    assert_eq!(surveyed(&folder), [""; 0]);
    assert_eq!(runs_as(), [("app".to_owned(), "user nobody".to_owned())]);
    product.serves("[Service]\nExecStart=/usr/bin/shop\n");
    assert_eq!((surveyed(&folder), runs_as()), (vec![], vec![]));
    product.serves(&format!("[Service]\nExecStart={shop}/bin/shop\n"));
    let text = fs::read_to_string(folder.at("backout.toml")).unwrap();
    folder.write("backout.toml", text.replace("\"systemd\"\n", "\"systemd\"\nallow-root = true\n"));
    assert_eq!(surveyed(&folder), [""; 0]);
}

/// Whoever writes that says who the service runs as.
#[tokio::test]
async fn a_unit_file_that_a_package_may_write_is_what_the_package_runs() {
    let product = Product::new(Whose::User);
    let folder = product.site("manager = \"user\"");
    product.serves("[Service]\nExecStart=/usr/bin/shop\n");
    assert_eq!(surveyed(&folder), [""; 0]);
    let own = folder.write("srv/shop/more.conf", "[Service]\nUser=nobody\n");
    let more = product.manager.dir().join("etc").join(format!("{}.d", product.unit()));
    fs::create_dir(&more).unwrap();
    std::os::unix::fs::symlink(own, more.join("more.conf")).unwrap();
    product.serves("[Service]\nExecStart=/usr/bin/shop\n");
    assert_eq!(surveyed(&folder), [AS_ROOT]);
    fs::remove_dir_all(more).unwrap();
}

#[tokio::test]
async fn what_is_wrong_with_a_unit_is_found_before_an_upgrade() {
    let product = system_product();
    let folder = product.site("");
    assert_eq!(surveyed(&folder), [format!("service `shop`: its manager knows no unit `{}`", product.unit())]);
    product.serves("[Service]\nType=nonsense\n");
    let found = surveyed(&folder).pop().unwrap();
    assert!(found.starts_with("service `shop`: its unit file cannot be used ("), "{found}");
    product.serves(SLEEPS);
    assert_eq!(surveyed(&folder), [""; 0]);
    // Kept down by Backout itself, in the middle of a run.
    started(&product.access()).await;
    stopped(&product.access()).await;
    assert_eq!(surveyed(&folder), [""; 0]);
    started(&product.access()).await;
    let text = fs::read_to_string(folder.at("backout.toml")).unwrap();
    folder.write("backout.toml", text.replace("system_bus_socket", "no-bus"));
    let found = surveyed(&folder).pop().unwrap();
    assert!(found.starts_with("service `shop`: the bus of its manager is not there: "), "{found}");
}

#[test]
fn mistakes_with_units_are_told_at_once() {
    let folder = Folder::new();
    let told = |text: &str| {
        folder.write("backout.toml", text);
        let mistakes = Site::parse(&folder.at("backout.toml"), text.as_bytes().to_vec()).unwrap_err();
        let line = |mistake: backout::diagnostic::Mistake| {
            format!("{}; {}", mistake.message, mistake.hint.unwrap_or_default())
        };
        mistakes.0.into_iter().map(line).collect::<Vec<_>>()
    };
    for (unit, message) in [
        ("shop", "`shop` is no service of systemd; write its whole name, as in `shop.service`"),
        ("shop.timer", "`shop.timer` is no service of systemd; write its whole name, as in `shop.service`"),
        ("*.service", "`*.service` is no service of systemd; write its whole name, as in `shop.service`"),
        ("a/b.service", "`a/b.service` is no service of systemd; write its whole name, as in `shop.service`"),
        ("shop@.service", "`shop@.service` is a template; name one that is made from it, as in `shop@1.service`"),
    ] {
        assert_eq!(told(&format!("[service.shop]\ndriver = \"systemd\"\nunit = \"{unit}\"\n")), [message]);
    }
    let both = "[service.shop]\ndriver = \"systemd\"\nunit = \"shop.service\"\nlog = \"a\"\njournal = \"b\"\n";
    assert_eq!(
        told(both),
        [
            "`log` and `journal` say two places for what it writes; `log` is a file that the service writes by itself; leave one of them out"
        ]
    );
    let foreign = "[service.shop]\ndriver = \"systemd\"\nunit = \"shop.service\"\nrun = [\"shop\"]\n";
    assert!(told(foreign)[0].starts_with("unknown key `run`"), "{:?}", told(foreign));
}

#[tokio::test]
async fn a_first_site_names_the_unit_that_keeps_a_program() {
    let product = Product::new(Whose::User);
    let folder = Folder::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    product.serves(&format!(
        "[Service]\nWorkingDirectory={}\nExecStart=/usr/bin/python3 -m http.server --bind 127.0.0.1 {port}\n",
        folder.path().display()
    ));
    started(&product.access()).await;
    wait_for("the server", || TcpStream::connect(("127.0.0.1", port)).ok());
    let text = first::look(folder.path()).unwrap().text();
    let expected = format!("# driver = \"systemd\"\n# unit = \"{}\"\n", product.unit());
    assert!(text.contains(&expected), "{text}");
}
