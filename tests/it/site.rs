//! Sites: what is read, what is refused and in which words.
mod mistakes;
mod places;
mod services;
mod values;

use crate::support::packages::Folder;
use backout::{resource::service, site::Site};
use expect_test::expect;

pub const SITE: &str = r#"[site]
state = "state"

[product.shop]
version = { link = "shop-app:current" }

[database.shop-prod]
driver = "sqlite"
path = "srv/shop.db"

[tree.shop-app]
path = "srv/shop"
exclude = ["uploads", "**/*.log"]

[service.shop]
driver = "process"
run = ["srv/shop/current/bin/shop", "serve"]
dir = "srv"
env = { PORT = "8080", KEY = { file = "secrets/key" } }
user = "shop"
uses = ["shop-prod", "shop-app"]

[metrics.prom]
driver = "page"
url = "http://localhost:8080/metrics"
queries.error-rate = "ratio:json:errors / json:requests"
queries.p95 = 'prometheus:seconds{quantile="0.95"}'

[metrics.here]
driver = "host"

[metrics.self]
driver = "process"
service = "shop"

[probe.shop]
url = "http://localhost:8080"
load = { clients = 50, time = "1m" }

[tool.shop-migrate]
run = ["srv/shop/current/bin/shop", "migrate"]
user = "shop"
timeout = "10m"
idempotent = true
check = { run = ["srv/shop/current/bin/shop", "migrated"], timeout = "5s" }
uses = ["shop-prod"]

[limits]
memory = "256MiB"

[allow."acme/shop"]
versions = "2.*"
database.orders = { is = "shop-prod", may = ["read", "backup", "restore", "fence"] }
tree.app = { is = "shop-app", may = ["backup", "restore", "write"] }
service.shop = { may = ["control"] }
metrics.shop = { is = "prom", may = ["read"] }
tool.migrate = { is = "shop-migrate", may = ["run"] }

[allow."acme/shop".require]
max-risk = "high"
settings.watch = "15m"
"#;

pub fn host() -> Folder {
    let folder = Folder::new();
    folder.write("backout.toml", SITE);
    folder.write("secrets/key", "sesame\n");
    permit(&folder, "secrets/key", 0o600);
    folder.write("secrets/open", "sesame\n");
    folder.write("srv/shop.db", "");
    folder.folder("srv/shop/versions/1.4.2");
    std::os::unix::fs::symlink("versions/1.4.2", folder.at("srv/shop/current")).unwrap();
    folder
}

fn permit(folder: &Folder, path: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder.at(path), std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_site_is_what_its_file_says() {
    let folder = host();
    let site = Site::load(&folder.at("backout.toml")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(site.installed_version().unwrap().as_deref(), Some("1.4.2"));
    let shown = format!("{:#?}", (&site.databases, &site.trees, &site.services, &site.metrics));
    let shown = shown + &format!("{:#?}", (&site.probes, &site.tools, &site.limits, &site.state));
    let service::Driver::Process(process) = &site.services["shop"].driver else { panic!("{shown}") };
    assert_eq!(process.env["KEY"], "sesame");
    assert!(!shown.contains("sesame"), "what the environment of a program says may be a secret");
    expect![[r#"
        (
            {
                "shop-prod": Section {
                    driver: Sqlite {
                        path: "srv/shop.db",
                    },
                    keep_aside: 1209600s,
                    exclusive: true,
                    method: StandBy,
                },
            },
            {
                "shop-app": Section {
                    path: "srv/shop",
                    exclude: [
                        "uploads",
                        "**/*.log",
                    ],
                    keep_aside: 1209600s,
                    exclusive: true,
                    archive: None,
                },
            },
            {
                "shop": Section {
                    driver: Process(
                        Process {
                            run: [
                                "srv/shop/current/bin/shop",
                                "serve",
                            ],
                            dir: "srv",
                            env: [
                                "KEY",
                                "PORT",
                            ],
                            user: Some(
                                "shop",
                            ),
                            settle: 1s,
                            stop_within: 10s,
                            reload: None,
                            log_bytes: 10485760,
                            log_keep: 5,
                        },
                    ),
                    uses: [
                        ResourceId {
                            kind: "database",
                            name: "shop-prod",
                        },
                        ResourceId {
                            kind: "tree",
                            name: "shop-app",
                        },
                    ],
                },
            },
            {
                "here": Section {
                    driver: Host {
                        disk: "state",
                    },
                },
                "prom": Section {
                    driver: Page {
                        url: "http://localhost:8080/metrics",
                        timeout: 5s,
                        queries: {
                            "error-rate": Ratio(
                                Json(
                                    JsonPath {
                                        segments: [
                                            "errors",
                                        ],
                                    },
                                ),
                                Json(
                                    JsonPath {
                                        segments: [
                                            "requests",
                                        ],
                                    },
                                ),
                            ),
                            "p95": Prometheus(
                                Selector {
                                    name: "seconds",
                                    matchers: [
                                        Matcher {
                                            label: "quantile",
                                            equal: true,
                                            value: "0.95",
                                        },
                                    ],
                                },
                            ),
                        },
                    },
                },
                "self": Section {
                    driver: Process {
                        service: "shop",
                    },
                },
            },
        )(
            {
                "shop": Section {
                    url: "http://localhost:8080",
                    headers: [],
                    timeout: 10s,
                    load: Some(
                        Load {
                            clients: 50,
                            time: 60s,
                        },
                    ),
                },
            },
            {
                "shop-migrate": Section {
                    run: [
                        "srv/shop/current/bin/shop",
                        "migrate",
                    ],
                    dir: ".",
                    env: [],
                    user: Some(
                        "shop",
                    ),
                    timeout: 600s,
                    idempotent: true,
                    uses: [
                        ResourceId {
                            kind: "database",
                            name: "shop-prod",
                        },
                    ],
                    check: Some(
                        Check {
                            run: [
                                "srv/shop/current/bin/shop",
                                "migrated",
                            ],
                            timeout: 5s,
                        },
                    ),
                },
            },
            Limits {
                memory: Some(
                    268435456,
                ),
                cpu: None,
                time: None,
                host_calls: None,
                compile: None,
                log_bytes: None,
                store_bytes: None,
            },
            "state",
        )"#]]
    .assert_eq(&folder.plain(&shown));
}
