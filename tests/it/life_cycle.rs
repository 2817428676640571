//! The life-cycle commands on the demo's product: real script, real service, real database, real trees.
use crate::support::shop::Shop;
use backout::cli::demo::releases::Version;

#[test]
fn a_bad_upgrade_goes_back_by_itself_and_everything_is_as_before() {
    let shop = Shop::running(Version::V2Bad);
    let before = shop.proof();
    let said = shop.expect(4, &["upgrade", "--yes", shop.package().to_str().unwrap()]);
    assert!(said.contains("upgrade/watch"), "{said}");
    assert_eq!(shop.proof().differences(&before), [""; 0]);
    assert_eq!(shop.version().as_deref(), Some("1.0.0"));
}

#[test]
fn a_good_upgrade_can_be_taken_back_until_it_is_committed() {
    let shop = Shop::running(Version::V2Good);
    let before = shop.proof();
    shop.expect(0, &["upgrade", "--yes", shop.package().to_str().unwrap()]);
    assert_eq!(shop.version().as_deref(), Some("2.0.1"));
    assert_ne!(shop.proof().differences(&before), [""; 0]);
    shop.expect(0, &["rollback", "--yes"]);
    assert_eq!(shop.version().as_deref(), Some("1.0.0"));
    assert_eq!(shop.proof().differences(&before), [""; 0]);
}
