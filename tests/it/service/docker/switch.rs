//! Another version of a container: another image, and the same configuration.
use super::*;
use backout::{
    capability::service::ops::Restart,
    resource::{Failure, service::Image},
    site::Site,
};
use serde_json::Value;
use std::{
    io::{Read, Write},
    os::unix::{
        fs::symlink,
        net::{UnixListener, UnixStream},
    },
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

const SAYS: &str = "echo version $VERSION; trap 'echo ended $VERSION; exit 0' TERM; while :; do sleep 0.05; done";

/// A product whose container is made from what its release names.
struct Product {
    bench: Bench,
    container: docker::Container,
    images: [String; 2],
}

impl Product {
    fn new(options: &[&str], script: &str) -> Self {
        let bench = Bench::new();
        let images = ["1", "2"].map(|version| {
            let label = format!("LABEL version={version} product={}", bench.tag);
            daemon().image_with(&[&format!("ENV VERSION={version}"), &label])
        });
        let container = daemon().create_from(&images[0], &bench, options, script);
        let product = Self { bench, container, images };
        for (version, image) in [("1.0", &product.images[0]), ("2.0", &product.images[1])] {
            product.names(version, image);
        }
        product.release("1.0");
        product
    }

    fn names(&self, version: &str, image: &str) {
        let folder = self.bench.join("app/versions").join(version);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("image"), format!("{image}\n")).unwrap();
    }

    fn release(&self, version: &str) {
        let (current, new) = (self.bench.join("app/current"), self.bench.join("app/new"));
        symlink(format!("versions/{version}"), &new).unwrap();
        fs::rename(new, current).unwrap();
    }

    fn section(&self) -> Container {
        let file = PathBuf::from("current/image");
        let image = Image::Release { tree: "shop-app".to_owned(), root: self.bench.join("app"), file };
        Container { image: Some(image), settle: Duration::from_millis(50), ..section(&self.bench) }
    }

    fn access(&self) -> Access<Service> {
        service(&self.bench, &self.section())
    }

    /// What the daemon tells of one of its containers; `None` if it has none of this name.
    fn told(&self, end: &str) -> Option<Value> {
        let output = daemon().docker(&["inspect", "--type", "container", &format!("{}{end}", self.container.name)]);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        told.get(0).cloned()
    }

    fn id(&self, end: &str) -> Option<String> {
        self.told(end).map(|told| told["Id"].as_str().unwrap().to_owned())
    }

    /// The name, and which of both images it is from; with what is aside, and whether they run.
    #[track_caller]
    fn is(&self, image: usize, aside: Option<&str>) {
        let own = self.told("").expect("nothing has the name");
        assert_eq!((&own["Image"], &own["State"]["Running"]), (&self.images[image].as_str().into(), &true.into()));
        let before = self.told(".backout-aside");
        assert_eq!(before.as_ref().map(|told| told["Id"].as_str().unwrap()), aside);
        if let Some(before) = before {
            assert_eq!(before["State"]["Running"], false);
            assert_eq!(before["HostConfig"]["RestartPolicy"]["Name"], "no");
        }
        assert_eq!(self.told(".backout-new"), None);
    }

    async fn starts(&self) -> Result<(), Failure> {
        self.access().mutator.start(&now()).await
    }
}

#[tokio::test]
async fn another_image_makes_it_again_with_the_same_configuration() {
    let options = [
        ["--restart", "unless-stopped"],
        ["--env", "GREETING=hello world"],
        ["--env", "VERSIONS=2"],
        ["--label", "team=shop"],
        ["--hostname", "web-1"],
        ["--volume", "/data"],
        ["--mount", "type=volume,dst=/more"],
        ["--tmpfs", "/scratch:size=64k"],
        ["--memory", "64m"],
        ["--cap-drop", "NET_RAW"],
        ["--ulimit", "nofile=512:1024"],
        ["--log-opt", "max-size=1m"],
        ["--stop-signal", "TERM"],
        ["--add-host", "db:10.0.0.7"],
        ["--health-cmd", "true"],
        ["--workdir", "/tmp"],
    ];
    let script = format!("[ -e /data/orders ] || echo 17 >/data/orders; : >>/tmp/own-$VERSION; {SAYS}");
    let product = Product::new(&options.concat(), &script);
    let web = product.access();
    web.mutator.start(&now()).await.unwrap();
    let (old, before) = (product.told("").unwrap(), web.observer.start_id().await.unwrap());
    let start = Start { service: "web".into() };
    assert_eq!(reconciled(&web, &start, &[]).await, Ok(true));

    // As a script does it: the release, the mark, the start.
    product.release("2.0");
    assert_eq!(reconciled(&web, &start, &[]).await, Ok(false), "it runs, and is not what it should be");
    let mark = web.mutator.mark(&now()).await.unwrap();
    let (result, evidence) = performed(async |call| web.mutator.start(&call).await).await;
    result.unwrap();
    let new = product.told("").unwrap();
    let old_id = old["Id"].as_str().unwrap();
    product.is(1, Some(old_id));
    assert_eq!(reconciled(&web, &start, &[]).await, Ok(true));
    assert_ne!(web.observer.start_id().await.unwrap(), before);
    assert_eq!((&evidence[0]["container"], &evidence[0]["replaced-by"]), (&old["Id"], &new["Id"]));
    let said = evidence[0]["what"].as_str().unwrap();
    assert!(said.contains(&format!("from the image {}", product.images[1])), "{said}");

    let volume = |told: &Value, at: &str| {
        let mounts = told["Mounts"].as_array().unwrap();
        mounts.iter().find(|mount| mount["Destination"] == at).unwrap()["Name"].as_str().unwrap().to_owned()
    };
    for at in ["/data", "/more"] {
        assert_eq!(volume(&new, at), volume(&old, at), "what a volume holds goes on");
    }
    let mut host = [&old, &new].map(|told| told["HostConfig"].clone());
    for told in &mut host {
        // Where the volumes without a name are named now.
        told["Binds"].take();
        told["Mounts"].take();
    }
    assert_eq!(host[0], host[1]);
    let mut config = [&old, &new].map(|told| told["Config"].clone());
    for told in &mut config {
        told["Image"].take();
        told["Volumes"].take();
        let env = told["Env"].as_array_mut().unwrap();
        env.sort_by_key(|line| line.as_str().unwrap().to_owned());
    }
    let env = config[1]["Env"].as_array().unwrap();
    assert!(env.contains(&"VERSION=2".into()) && !env.contains(&"VERSION=1".into()), "{env:?}");
    assert_eq!(config[1]["Labels"]["version"], "2");
    assert_eq!(config[1]["Labels"]["backout.replaces"], old_id);
    config[0]["Env"].take();
    config[1]["Env"].take();
    config[0]["Labels"].take();
    config[1]["Labels"].take();
    assert_eq!(config[0], config[1]);

    // Both have said something since the mark.
    let texts = ["version".to_owned(), "ended".to_owned()];
    assert_eq!(web.observer.search(&mark, &texts).await.unwrap(), ["ended 1", "version 2"]);

    // The way back: the very same container, with what it had written.
    product.release("1.0");
    let mark = web.mutator.mark(&now()).await.unwrap();
    let (result, evidence) = performed(async |call| web.mutator.restart(&call).await).await;
    result.unwrap();
    assert_eq!(product.id("").as_deref(), Some(old_id));
    product.is(0, new["Id"].as_str());
    assert_eq!(product.told("").unwrap()["HostConfig"]["RestartPolicy"]["Name"], "unless-stopped");
    assert_eq!(reconciled(&web, &Restart { service: "web".into() }, &evidence).await, Ok(true));
    assert_eq!(web.observer.search(&mark, &texts).await.unwrap(), ["ended 2", "version 1"]);
    let own = daemon().docker(&["exec", old_id, "/bin/sh", "-c", "cat /data/orders; echo /tmp/own-*"]);
    assert_eq!(String::from_utf8(own.stdout).unwrap(), "17\n/tmp/own-1\n");

    // Once more, and not with what the failed one has left.
    product.release("2.0");
    web.mutator.start(&now()).await.unwrap();
    assert_ne!(product.id(""), new["Id"].as_str().map(str::to_owned));
    product.is(1, Some(old_id));
}

#[tokio::test]
async fn a_version_that_does_not_come_up_leaves_the_one_before() {
    let product = Product::new(&[], "[ $VERSION = 1 ] || { echo no table; exit 3; }; while :; do sleep 0.05; done");
    product.starts().await.unwrap();
    let old = product.id("").unwrap();
    product.release("2.0");
    let failure = product.starts().await.unwrap_err();
    assert_eq!(failure.message, "it ended at once with exit status 3; its last words: no table");
    assert_eq!(product.id(".backout-aside").as_ref(), Some(&old));
    product.release("1.0");
    product.starts().await.unwrap();
    assert_eq!(product.id("").as_ref(), Some(&old));
    product.is(0, product.id(".backout-aside").as_deref());
}

#[tokio::test]
async fn an_image_that_is_not_right_touches_nothing() {
    let product = Product::new(&[], SAYS);
    let place = "`shop-app:current/image`";
    product.starts().await.unwrap();
    let before = product.access().observer.start_id().await;
    let absent = format!("shop@sha256:{}", "0".repeat(64));
    let file = product.bench.join("app/versions/2.0/image");
    let secret = product.bench.join("secret");
    fs::write(&secret, "the password").unwrap();
    let no_digest = format!("{place} names no image by its digest");
    let cases: [(&dyn Fn(), &str); 6] = [
        (&|| fs::write(&file, &absent).unwrap(), &format!("the image `{absent}` is not on this host")),
        (&|| fs::write(&file, docker::IMAGE).unwrap(), &no_digest),
        (&|| fs::write(&file, format!("../../containers/x@sha256:{}", "0".repeat(64))).unwrap(), &no_digest),
        (&|| symlink(&secret, &file).unwrap(), &format!("its image cannot be read from {place}: ")),
        (
            &|| assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success()),
            &format!("its image cannot be read from {place}: it is no file"),
        ),
        (&|| (), &format!("its image cannot be read from {place}: No such file")),
    ];
    product.release("2.0");
    for (put, said) in cases {
        fs::remove_file(&file).unwrap_or_default();
        put();
        let failure = product.starts().await.unwrap_err();
        assert!(failure.message.starts_with(said) && !failure.message.contains("password"), "{failure} is not {said}");
        assert_eq!(failure.kind, FailureKind::Invalid, "{failure}");
    }
    // Something else has the name that it would get.
    product.names("2.0", &product.images[1]);
    let stranger = format!("{}.backout-aside", product.container.name);
    let made = daemon().docker(&["create", "--name", &stranger, "--network", "none", docker::IMAGE, "/bin/sh"]);
    assert!(made.status.success());
    let failure = product.starts().await.unwrap_err();
    let said = format!("a container `{stranger}` is in the way, which was not made for this one");
    assert_eq!((failure.kind, failure.message), (FailureKind::Conflict, said));
    assert!(product.id(".backout-aside").is_some());
    // By an id nothing can be exchanged.
    let container = product.id("").unwrap();
    let by_id = service(&product.bench, &Container { container: container.clone(), ..product.section() });
    let failure = by_id.mutator.start(&now()).await.unwrap_err();
    assert_eq!(failure.message, format!("`{container}` is no name but an id, which no other container can have"));
    assert_eq!(product.access().observer.start_id().await, before, "the one that runs was left alone");
}

#[test]
fn check_tells_what_a_start_would_miss() {
    let product = Product::new(&[], SAYS);
    let site = format!(
        "[service.web]\ndriver = \"docker\"\ncontainer = \"{}\"\nsocket = \"{}\"\nimage = {{ file = \"shop-app:current/image\" }}\n\
         [tree.shop-app]\npath = \"app\"\n",
        product.container.name,
        daemon().socket().display(),
    );
    fs::write(product.bench.join("backout.toml"), site).unwrap();
    let said = || {
        let mistakes = Site::load(&product.bench.join("backout.toml")).unwrap().survey();
        let of_it = mistakes.0.into_iter().filter(|mistake| mistake.message.starts_with("service "));
        of_it.map(|mistake| mistake.message).collect::<Vec<String>>()
    };
    assert_eq!(said(), [""; 0]);
    let absent = format!("sha256:{}", "0".repeat(64));
    product.names("1.0", &absent);
    assert_eq!(said(), [format!("service `web`: the image `{absent}` is not on this host")]);
    let name = product.container.name.clone();
    product.container.docker(&["rm"]);
    assert_eq!(said(), [format!("service `web`: the Docker daemon has no container `{name}`")]);
}

/// What a package may write, a container runs if it is mounted and named.
#[test]
fn no_container_runs_as_root_what_a_package_may_write() {
    let cases: [(&str, &str, &[&str], Option<&str>); 5] = [
        ("exec /app/bin/shop", "/app", &[], Some("user root")),
        ("exec shop", "/app", &["--workdir", "/app/bin"], Some("user root")),
        ("exec shop", "/app", &["--env", "PATH=/bin:/app/bin"], Some("user root")),
        ("exec /app/bin/shop", "/app", &["--user", "1000:1000"], Some("user 1000")),
        ("exec /app/bin/shop", "/other", &[], None),
    ];
    for (script, place, options, expected) in cases {
        let bench = Bench::new();
        fs::create_dir(bench.join("shop")).unwrap();
        let mount = format!("{}:{place}", bench.join("shop").display());
        let container = daemon().create(&bench, &[&["--volume", &mount], options].concat(), script);
        let site = format!(
            "[service.web]\ndriver = \"docker\"\ncontainer = \"{}\"\nsocket = \"{}\"\n[tree.app]\npath = \"shop\"\n\
             [allow.\"acme/shop\"]\ntree.app = {{ may = [\"write\"] }}\n",
            container.name,
            daemon().socket().display(),
        );
        fs::write(bench.join("backout.toml"), site).unwrap();
        let site = Site::load(&bench.join("backout.toml")).unwrap();
        let runs = site.foreign_code_here();
        assert_eq!(runs.first().map(|code| code.runs_as()).as_deref(), expected, "{script} {options:?}");
        let said = "service `web` would run as root what `acme/shop` may write";
        let refused = site.survey().0.iter().any(|mistake| mistake.message == said);
        assert_eq!(refused, expected == Some("user root"), "{script} {options:?}");
    }
}

/// A way to the daemon that is cut after so many things that it was told to do: it does the last, and nobody hears of it.
fn cut_after(bench: &Bench, requests: usize) -> PathBuf {
    static SOCKETS: AtomicUsize = AtomicUsize::new(0);
    let path = bench.join(&format!("cut-{}.sock", SOCKETS.fetch_add(1, Ordering::Relaxed)));
    let (listener, told) = (UnixListener::bind(&path).unwrap(), Arc::new(AtomicUsize::new(0)));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let told = told.clone();
            thread::spawn(move || pass_on(client, requests, &told));
        }
    });
    path
}

fn pass_on(mut client: UnixStream, requests: usize, told: &AtomicUsize) -> Option<()> {
    if told.load(Ordering::SeqCst) > requests {
        return None;
    }
    let mut server = UnixStream::connect(daemon().socket()).ok()?;
    let mut begin = [0];
    client.read_exact(&mut begin).ok()?;
    server.write_all(&begin).ok()?;
    // What only asks is a GET.
    let is_last = begin != *b"G" && told.fetch_add(1, Ordering::SeqCst) == requests;
    let (mut from, mut to) = (client.try_clone().ok()?, server.try_clone().ok()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
    if is_last {
        // Until it is done.
        server.read_exact(&mut begin).ok()?;
        client.shutdown(std::net::Shutdown::Both).ok()?;
        return None;
    }
    std::io::copy(&mut server, &mut client).ok()?;
    client.shutdown(std::net::Shutdown::Both).ok()
}

impl Product {
    /// A start that is cut off there; whether it came to its end before.
    async fn cut(&self, after: usize) -> bool {
        let section = Container { socket: cut_after(&self.bench, after), ..self.section() };
        let whole = service(&self.bench, &section).mutator.start(&now()).await.is_ok();
        let web = self.access();
        // Whatever has the name, somebody can be told how it is.
        web.observer.status().await.unwrap();
        if !whole {
            web.observer.processes().await.unwrap();
        }
        whole
    }
}

#[tokio::test]
async fn wherever_a_switch_is_cut_off_it_goes_back_or_on() {
    let product = Product::new(&["--restart", "always"], SAYS);
    product.starts().await.unwrap();
    let old = product.id("").unwrap();
    for after in 0.. {
        assert!(after < 20, "it never comes to its end");
        product.release("2.0");
        let whole = product.cut(after).await;
        product.release("1.0");
        product.starts().await.unwrap();
        assert_eq!(product.id("").as_ref(), Some(&old), "after {after}");
        product.is(0, product.id(".backout-aside").as_deref());
        assert_eq!(product.told("").unwrap()["HostConfig"]["RestartPolicy"]["Name"], "always");
        product.release("2.0");
        product.cut(after).await;
        product.starts().await.unwrap();
        product.is(1, Some(&old));
        assert_eq!(product.told("").unwrap()["HostConfig"]["RestartPolicy"]["Name"], "always");
        product.release("1.0");
        product.starts().await.unwrap();
        if whole {
            assert!(after > 4, "{after}");
            return;
        }
    }
}

#[tokio::test]
async fn wherever_a_way_back_is_cut_off_it_goes_on() {
    let product = Product::new(&["--restart", "always"], SAYS);
    product.starts().await.unwrap();
    let old = product.id("").unwrap();
    for after in 0.. {
        assert!(after < 20, "it never comes to its end");
        product.release("2.0");
        product.starts().await.unwrap();
        let new = product.id("").unwrap();
        product.release("1.0");
        let whole = product.cut(after).await;
        // Also who only stops it finds what there is.
        product.access().mutator.stop(&now()).await.unwrap();
        product.starts().await.unwrap();
        assert_eq!(product.id("").as_ref(), Some(&old), "after {after}");
        product.is(0, Some(&new));
        assert_eq!(product.told("").unwrap()["HostConfig"]["RestartPolicy"]["Name"], "always");
        if whole {
            assert!(after > 5, "{after}");
            return;
        }
    }
}
