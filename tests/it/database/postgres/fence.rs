//! Keeping applications out: by the limit of connections, and by the right to connect.
use super::*;

/// What the server keeps of a database.
fn settings(shop: &Shop) -> Vec<String> {
    SERVER.ask(
        "postgres",
        &format!(
            "SELECT datconnlimit || ' ' || (SELECT string_agg(a::text, ',' ORDER BY a::text) \
             FROM unnest(coalesce(datacl, acldefault('d', datdba))) a) || ' ' || \
             coalesce((SELECT setconfig::text FROM pg_db_role_setting WHERE setdatabase = d.oid AND setrole = 0), '') \
             FROM pg_database d WHERE datname = '{}'",
            shop.database
        ),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_set_before_comes_back() {
    let shop = Shop::new();
    SERVER.sql(
        "postgres",
        &format!("ALTER DATABASE {0} CONNECTION LIMIT 7; ALTER DATABASE {0} SET work_mem = '5MB'", shop.database),
    );
    let before = settings(&shop);
    let access = shop.access(true);
    access.mutator.fence(Duration::ZERO, &call()).await.unwrap();
    assert_ne!(settings(&shop), before);
    assert!(access.observer.shut().await.unwrap() && access.observer.hidden().await.unwrap());
    // By another Backout, of which nobody has told anything.
    let fresh = shop.access(true);
    fresh.mutator.fence(Duration::ZERO, &call()).await.unwrap();
    fresh.mutator.unfence(&call()).await.unwrap();
    assert_eq!(settings(&shop), before);
    assert!(fresh.observer.open().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_that_somebody_tore_open_is_known() {
    let shop = Shop::new();
    let before = settings(&shop);
    let access = shop.access(true);
    access.mutator.fence(Duration::ZERO, &call()).await.unwrap();
    SERVER.sql("postgres", &format!("ALTER DATABASE {} CONNECTION LIMIT 3", shop.database));
    assert!(shop.may_connect());
    let looks = &access.observer;
    assert!(!looks.fenced().await.unwrap() && !looks.shut().await.unwrap() && !looks.open().await.unwrap());
    assert!(looks.hidden().await.unwrap());
    access.mutator.fence(Duration::ZERO, &call()).await.unwrap();
    assert!(!shop.may_connect());
    access.mutator.unfence(&call()).await.unwrap();
    assert_eq!(settings(&shop), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_leave_is_ended() {
    let shop = Shop::new();
    let access = shop.access(true);
    let mut inside = shop.client("cashier");
    inside.say("BEGIN; DELETE FROM log; SELECT pg_sleep(600);");
    let pid = inside.session;
    let seen = Arc::<Seen>::default();
    let began = Instant::now();
    access.mutator.fence(Duration::from_millis(400), &call_seen(&seen)).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(400));
    assert!(seen.news.lock().unwrap().iter().any(|news| news.contains("cashier") && news.contains(&pid.to_string())));
    assert_eq!(access.observer.activity(&call()).await.unwrap(), []);
    access.mutator.unfence(&call()).await.unwrap();
    assert_eq!(shop.ask("SELECT count(*) FROM log"), ["3"]);
    let _ = inside.into_child().kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_is_a_superuser_is_refused() {
    let shop = Shop::new();
    let role = format!("mighty_{}", shop.database);
    SERVER.sql("postgres", &format!("CREATE ROLE {role} LOGIN SUPERUSER"));
    let access = shop.access_by(Server { fence_roles: vec![role.clone()], ..shop.server() });
    let before = settings(&shop);
    let message = refused(&shop, FailureKind::Conflict, access.mutator.fence(Duration::ZERO, &call()).await);
    assert!(message.contains(&role), "{message}");
    assert_eq!(settings(&shop), before);
    SERVER.sql("postgres", &format!("DROP ROLE {role}"));
}

/// Backout as a user who may do no more than it must.
struct Modest {
    shop: Shop,
    user: String,
    app: String,
}

impl Modest {
    fn new() -> Self {
        let shop = Shop::new();
        let (user, app) = (format!("backout_{}", shop.database), format!("app_{}", shop.database));
        SERVER.sql(
            "postgres",
            &format!(
                "CREATE ROLE {user} LOGIN; CREATE ROLE {app} LOGIN; ALTER DATABASE {0} OWNER TO {user}; \
                 GRANT SET ON PARAMETER \"backout.fence\" TO {user}; GRANT pg_signal_backend TO {user}; \
                 GRANT pg_read_all_stats TO {user}",
                shop.database
            ),
        );
        Self { shop, user, app }
    }
    fn access(&self, roles: &[&str]) -> Access<Database> {
        let fence_roles = roles.iter().map(|role| (*role).to_owned()).collect();
        self.shop.access_by(Server { user: self.user.clone(), fence_roles, ..self.shop.server() })
    }
    fn gets_in(&self, role: &str) -> bool {
        let mut psql = SERVER.psql(&self.shop.database, "SELECT 1");
        psql.args(["-U", role]).output().unwrap().status.success()
    }
}
impl Drop for Modest {
    fn drop(&mut self) {
        let Self { shop, user, app } = self;
        let database = &shop.database;
        let drop = format!(
            "DROP DATABASE {database} WITH (FORCE); REVOKE SET ON PARAMETER \"backout.fence\" FROM {user}; DROP ROLE {user}, {app}"
        );
        for statement in drop.split("; ") {
            let _ = SERVER.psql("postgres", statement).output();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_superuser_the_listed_roles_lose_the_right_to_connect() {
    let modest = Modest::new();
    SERVER.sql("postgres", &format!("GRANT CONNECT ON DATABASE {} TO {}", modest.shop.database, modest.app));
    let before = settings(&modest.shop);
    let access = modest.access(&[&modest.app]);
    assert!(modest.gets_in(&modest.app));
    let mut psql = SERVER.client(&modest.shop.database);
    psql.args(["-U", &modest.app]);
    let inside = Client::new(psql, "till");
    access.mutator.fence(Duration::ZERO, &call()).await.unwrap();
    drop(inside);
    assert!(!modest.gets_in(&modest.app) && modest.gets_in(&modest.user) && modest.gets_in("postgres"));
    assert!(access.observer.fenced().await.unwrap() && access.observer.shut().await.unwrap());
    assert_eq!(access.observer.query("SELECT 1", &call()).await.unwrap(), [["1"]]);
    modest.access(&[&modest.app]).mutator.unfence(&call()).await.unwrap();
    assert!(modest.gets_in(&modest.app));
    assert_eq!(settings(&modest.shop), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_that_would_keep_nobody_out_is_refused() {
    let modest = Modest::new();
    let before = settings(&modest.shop);
    let refused = async |roles: &[&str]| {
        let failure = modest.access(roles).mutator.fence(Duration::ZERO, &call()).await.unwrap_err();
        assert_eq!(settings(&modest.shop), before, "{failure}");
        format!("{failure} {}", failure.hint.clone().unwrap_or_default())
    };
    assert!(refused(&[]).await.contains("fence-roles"));
    assert!(refused(&[&modest.user]).await.contains("owns the database"));
    assert!(refused(&["postgres"]).await.contains("superuser"));
    assert!(refused(&["no_such_role"]).await.contains("no_such_role"));
    SERVER.sql("postgres", &format!("REVOKE SET ON PARAMETER \"backout.fence\" FROM {}", modest.user));
    let message = refused(&[&modest.app]).await;
    assert!(message.contains(&format!("GRANT SET ON PARAMETER backout.fence TO \"{}\"", modest.user)), "{message}");
}
