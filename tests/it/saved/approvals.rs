//! Who has approved a plan: signatures, whose word counts, and what somebody tries who wants to do without.
use super::*;
use backout::journal::ApprovedBy;
use std::{os::unix::fs::PermissionsExt, path::PathBuf};

/// A site with these approvers, as `NAME ROLES USER`, on which this must have been approved. The keys are those of `approve`.
fn site(required: &str, approvers: &[(&str, &str, &str)]) -> Shop {
    let shop = shop("");
    let required = format!("versions = \"2.*\"\nrequire = {{ approval = {required} }}");
    let mut site = fs::read_to_string(shop.site()).unwrap().replace("versions = \"2.*\"", &required);
    fs::create_dir_all(shop.folder.path("keys")).unwrap();
    // A person makes a key by approving something; nobody needs a site for it.
    save_as(&shop, "practice.json");
    for (name, roles, user) in approvers {
        let user = if user.is_empty() { String::new() } else { format!("user = {user:?}\n") };
        site += &format!("\n[approver.{name}]\nkey = \"keys/{name}.pub\"\nroles = {roles}\n{user}");
        approve_as(&shop, "practice.json", name, "learner", name);
    }
    fs::write(shop.site(), site).unwrap();
    shop
}

fn save_as(shop: &Shop, plan: &str) {
    shop.expect(0, &["plan", "--save", plan, &package(shop)]);
}

fn approve_as(shop: &Shop, plan: &str, name: &str, role: &str, key: &str) -> String {
    shop.expect(0, &["approve", plan, "--as", name, "--role", role, "--key", &format!("keys/{key}.key"), "--yes"])
}

fn approve(shop: &Shop, name: &str, role: &str) -> String {
    approve_as(shop, "plan.json", name, role, name)
}

/// It is refused, in these words each; nothing was touched.
#[track_caller]
fn refused(shop: &Shop, words: &[&str]) {
    let before = shop.proof();
    let said = upgrade(shop, 3);
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
    let problems = if words.len() == 1 { "1 problem,".to_owned() } else { format!("{} problems,", words.len()) };
    assert!(said.contains(&problems), "{problems} {said}");
    shop.is_as(&before);
    let journal = shop.folder.path("state/journal.db");
    assert!(!journal.exists() || !entries(shop).iter().any(|entry| matches!(entry, Entry::RunStarted(_))), "{said}");
}

fn own_user() -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let uid = rustix::process::getuid().as_raw().to_string();
    let line = passwd.lines().find(|line| line.split(':').nth(2) == Some(&uid)).unwrap();
    line.split(':').next().unwrap().to_owned()
}

#[test]
fn what_must_be_approved_runs_once_it_is() {
    let shop = site("\"dba\"", &[("anna", "[\"dba\"]", "")]);
    save(&shop);
    let said = shop.expect(3, &["upgrade", "--yes", &package(&shop)]);
    assert!(said.contains("acme/shop is upgraded by an approved plan alone: it must be approved as `dba`"), "{said}");
    refused(&shop, &["the plan is not approved as `dba`"]);

    let said = shop.expect(3, &["approve", "plan.json", "--as", "anna", "--role", "dba", "--key", "keys/anna.key"]);
    assert!(said.contains("service shop: running → stopped") && said.contains("it was not approved"), "{said}");
    let said = approve(&shop, "anna", "dba");
    assert!(said.contains("service shop: running → stopped") && said.contains("anna has approved"), "{said}");
    let said = shop.expect(3, &["approve", "plan.json", "--as", "anna", "--role", "dba", "--key", "keys/anna.key"]);
    assert!(said.contains("anna has approved it as dba already"), "{said}");
    let mode = |file: &str| shop.folder.path(file).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("keys/anna.key"), mode("keys/anna.pub")), (0o600, 0o644));

    upgrade(&shop, 0);
    let started = entries(&shop).into_iter().find_map(|entry| match entry {
        Entry::RunStarted(header) => header.approved,
        _ => None,
    });
    let by = started.unwrap().approvals;
    assert!(matches!(&by[..], [ApprovedBy { name, role, .. }] if name == "anna" && role == "dba"), "{by:?}");
}

#[test]
fn what_was_signed_is_what_counts() {
    let shop = site("\"dba\"", &[("anna", "[\"dba\", \"tester\"]", ""), ("bert", "[\"tester\"]", "")]);
    let file = shop.folder.path("plan.json");
    save(&shop);
    approve(&shop, "anna", "dba");
    let whole = fs::read(&file).unwrap();
    let sealed = |change: &dyn Fn(&mut Value)| {
        fs::write(&file, &whole).unwrap();
        edit_plan(&shop, change);
    };
    let altered = "the approval of `anna` as `dba` does not bear a signature of this plan";
    let not = "the plan is not approved as `dba`";

    // Another plan than the one that was signed: less in it, more in it, bound to something else.
    sealed(&|plan| without(plan, "steps", "close", "service.stop"));
    refused(&shop, &[altered, not]);
    sealed(&|plan| {
        let operations = plan["plan"]["steps"][0]["operations"].as_array_mut().unwrap();
        operations.push(operations[0].clone());
    });
    refused(&shop, &[altered, not]);
    sealed(&|plan| plan["bound"]["settings"]["variant"] = "loops".into());
    refused(&shop, &["the plan is stale: the setting `variant`", altered, not]);
    // What is unknown to this Backout would be unsigned.
    sealed(&|plan| plan["plan"]["steps"][0]["unseen"] = true.into());
    assert!(upgrade(&shop, 3).contains("it says more, or says it otherwise, than this Backout writes"));

    // Another who, what, when or key than the one that was signed.
    for (field, value) in
        [("by", "bert"), ("role", "tester"), ("key", &"0".repeat(64)), ("signature", &"0".repeat(128))]
    {
        sealed(&|plan| plan["approvals"][0][field] = value.into());
        refused(&shop, &["does not bear a signature of this plan", not]);
    }
    sealed(&|plan| plan["approvals"][0]["at"] = 1.into());
    refused(&shop, &[altered, not]);
    // A name with a space could stand for two.
    sealed(&|plan| plan["approvals"][0]["role"] = "dba anna".into());
    refused(&shop, &["does not bear a signature of this plan", not]);

    // A signature that holds, of a plan that was made before something changed.
    let approvals: Value = serde_json::from_slice::<Value>(&whole).unwrap()["approvals"].clone();
    shop.edit_site("settle = \"300ms\"", "settle = \"301ms\"");
    save(&shop);
    edit_plan(&shop, |plan| plan["approvals"] = approvals.clone());
    refused(&shop, &[altered, not]);
    // Nobody adds a name to a plan that was altered.
    let said = shop
        .expect(3, &["approve", "plan.json", "--as", "bert", "--role", "tester", "--key", "keys/bert.key", "--yes"]);
    assert!(said.contains(altered), "{said}");

    save(&shop);
    approve(&shop, "anna", "dba");
    upgrade(&shop, 0);
}

#[test]
fn whose_word_counts_the_site_says() {
    let shop = site("\"dba\"", &[("anna", "[\"dba\"]", ""), ("bert", "[\"tester\"]", "")]);
    save(&shop);
    approve(&shop, "bert", "dba");
    approve(&shop, "bert", "tester");
    approve_as(&shop, "plan.json", "anne", "dba", "anne");
    // In her name, with a key of somebody else's.
    approve_as(&shop, "plan.json", "anna", "dba", "bert");
    refused(
        &shop,
        &[
            "the plan is not approved as `dba`",
            "the approval of `bert` as `dba` does not count: on this site `bert` has the role tester",
            "the approval of `anne` as `dba` does not count: the site has no such approver",
            "the approval of `anna` as `dba` does not count: it is signed with another key than the one that the site knows",
        ],
    );
    // Her own key is known by another name already.
    fs::copy(shop.folder.path("keys/bert.pub"), shop.folder.path("keys/anna.pub")).unwrap();
    refused(&shop, &["approver `bert` has the same key as approver `anna`"]);
    // Whoever can put a key there can approve.
    fs::set_permissions(shop.folder.path("keys/anna.pub"), fs::Permissions::from_mode(0o666)).unwrap();
    refused(&shop, &["everybody may write it (mode 666)"]);
    fs::write(shop.folder.path("keys/anna.pub"), "backout-key 1 \u{1b}[2J\n").unwrap();
    fs::set_permissions(shop.folder.path("keys/anna.pub"), fs::Permissions::from_mode(0o644)).unwrap();
    refused(&shop, &["keys/anna.pub: is no public key"]);
    fs::remove_file(shop.folder.path("keys/anna.pub")).unwrap();
    refused(&shop, &["keys/anna.pub: there is no such file"]);
    let said = shop.expect(3, &["check", &package(&shop)]);
    assert!(said.contains("keys/anna.pub: there is no such file"), "{said}");
}

#[test]
fn a_key_is_its_owners_alone() {
    let shop = Shop::running(Version::V2Good);
    save(&shop);
    fs::create_dir_all(shop.folder.path("keys")).unwrap();
    let with = |key: &str| {
        let plan = fs::read(shop.folder.path("plan.json")).unwrap();
        let said = shop.expect(3, &["approve", "plan.json", "--as", "anna", "--role", "dba", "--key", key, "--yes"]);
        assert_eq!(fs::read(shop.folder.path("plan.json")).unwrap(), plan, "{said}");
        said
    };
    approve_as(&shop, "plan.json", "bert", "dba", "bert");
    fs::set_permissions(shop.folder.path("keys/bert.key"), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(with("keys/bert.key").contains("can be read by others than its owner"));
    assert!(with("keys/bert.pub").contains("is the name of a public key"));
    assert!(with("keys").contains("is no file"));
    fs::write(shop.folder.path("keys/none"), "sesame").unwrap();
    fs::set_permissions(shop.folder.path("keys/none"), fs::Permissions::from_mode(0o600)).unwrap();
    let said = with("keys/none");
    assert!(said.contains("is no key") && !said.contains("sesame"), "{said}");
    let said = shop.backout(&["approve", "plan.json", "--as", "an na", "--role", "dba", "--key", "keys/none", "--yes"]);
    assert_eq!(said.status.code(), Some(2));
}

#[test]
fn each_role_is_approved_by_a_person_of_its_own_and_not_by_the_one_who_runs_it() {
    let approvers = [
        ("anna", "[\"dba\", \"owner\"]", &*own_user()),
        ("bert", "[\"dba\"]", "nobody"),
        ("carl", "\"owner\"", "daemon"),
    ];
    let shop = site("{ roles = [\"dba\", \"owner\"], not-the-runner = true }", &approvers);
    save(&shop);
    approve(&shop, "anna", "dba");
    approve(&shop, "anna", "owner");
    let own = "does not count: this is who runs the upgrade";
    let [dba, owner] = ["dba", "owner"].map(|role| format!("the approval of `anna` as `{role}` {own}"));
    refused(&shop, &["the plan is not approved as `dba`", "the plan is not approved as `owner`", &dba, &owner]);
    approve(&shop, "bert", "dba");
    refused(&shop, &["the plan is not approved as `owner`", &dba, &owner]);
    approve(&shop, "carl", "owner");
    upgrade(&shop, 0);

    // Whoever may run it counts once, however often the plan is signed.
    let shop = site("[\"dba\", \"dba\"]", &approvers);
    save(&shop);
    approve(&shop, "anna", "dba");
    edit_plan(&shop, |plan| {
        let approvals = plan["approvals"].as_array_mut().unwrap();
        approvals.push(approvals[0].clone());
    });
    approve(&shop, "anna", "owner");
    refused(&shop, &["the plan is not approved by another person as `dba`"]);
    // Anna stands for the one role that Bert cannot stand for.
    let shop = site("[\"dba\", \"owner\"]", &approvers);
    save(&shop);
    approve(&shop, "anna", "dba");
    approve(&shop, "anna", "owner");
    refused(&shop, &["the plan is not approved by another person as `owner`"]);
    approve(&shop, "bert", "dba");
    upgrade(&shop, 0);
}

#[test]
fn an_approval_counts_for_as_long_as_the_site_says() {
    let shop = site("{ roles = [\"dba\"], for = \"1ms\" }", &[("anna", "[\"dba\"]", "")]);
    save(&shop);
    approve(&shop, "anna", "dba");
    let late = "the approval of `anna` as `dba` does not count: its time is more than 1ms away";
    refused(&shop, &["the plan is not approved as `dba`", late]);
    shop.edit_site("1ms", "1h");
    save(&shop);
    approve(&shop, "anna", "dba");
    upgrade(&shop, 0);
}

#[test]
fn a_run_that_goes_on_keeps_to_the_build_that_was_approved() {
    let shop = site("\"dba\"", &[("anna", "[\"dba\"]", "")]);
    save(&shop);
    approve(&shop, "anna", "dba");
    let mut command = shop.command(&["upgrade", "--yes", "--plan", "plan.json", &package(&shop)]);
    assert_eq!(command.env("BACKOUT_CRASH_AT", "after files.link on app").output().unwrap().status.code(), None);
    let other: PathBuf = shop.folder.path("other");
    let copied = std::process::Command::new("cp").arg("-r").arg(shop.package()).arg(&other).status().unwrap();
    assert!(copied.success());
    let manifest = other.join("package.toml");
    fs::write(&manifest, fs::read_to_string(&manifest).unwrap() + "\n# another\n").unwrap();
    let said = shop.expect(3, &["resume", "--yes", "--package", "other"]);
    assert!(said.contains("run 1 keeps to a plan that was approved, of another build of the package"), "{said}");
    shop.expect(0, &["resume", "--yes"]);
}
