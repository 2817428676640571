//! A Backout that was killed, and people who do something else meanwhile: the record of what was stopped.
use super::*;
use backout::capability::service::ops::Start;

/// Not a test: a Backout in a process of its own, which stops or starts a unit.
#[test]
#[ignore = "a part of other tests"]
fn another_backout_with_a_unit() {
    let Ok(state) = std::env::var("BACKOUT_TEST_STATE") else { return };
    let section = Systemd {
        unit: std::env::var("BACKOUT_TEST_UNIT").unwrap(),
        manager: Whose::System,
        bus: Some(std::env::var("BACKOUT_TEST_BUS").unwrap().into()),
        start_within: PATIENCE,
        stop_within: PATIENCE,
        settle: Duration::from_millis(100),
        log: None,
        journal: None,
    };
    let section = Section { driver: Driver::Systemd(section), uses: Vec::new() };
    let web = drivers::open_with("web", &section, Path::new(&state), BACKOUT.into());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        match std::env::var("BACKOUT_TEST_ACT").unwrap().as_str() {
            "start" => web.mutator.start(&now()).await.unwrap(),
            _ => web.mutator.stop(&now()).await.unwrap(),
        }
    });
}

#[tokio::test]
async fn wherever_a_stop_is_killed_the_same_comes_back() {
    let product = system_product();
    // Slow to end, so that it can be struck in the middle.
    product.serves("[Service]\nExecStart=/bin/sh -c 'trap \"sleep 0.4; exit 0\" TERM; while :; do sleep 0.05; done'\n");
    let along = ["-worker.service", ".timer"];
    product.manager.unit(&product.other(along[0]), &format!("PartOf={}\n{SLEEPS}", product.unit()));
    product.manager.unit(&product.other(along[1]), &format!("[Timer]\nOnActiveSec=1h\nUnit={}\n", product.unit()));
    let web = product.access();
    let stop = Stop { service: "web".into() };
    let start = Start { service: "web".into() };
    for strike in 0..12 {
        started(&web).await;
        for end in along {
            product.start_by_hand(&product.other(end));
        }
        let mut backout = Command::new(std::env::current_exe().unwrap())
            .args(["service::systemd::interrupted::another_backout_with_a_unit", "--exact", "--include-ignored"])
            .env("BACKOUT_TEST_STATE", product.bench.join("state"))
            .env("BACKOUT_TEST_UNIT", product.unit())
            .env("BACKOUT_TEST_BUS", product.manager.bus())
            .env("BACKOUT_TEST_ACT", "stop")
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        if strike < 3 {
            wait_for("its record", || product.is_recorded().then_some(()));
        } else {
            wait_for("its stop", || (!product.is_active(&product.unit()) && product.is_recorded()).then_some(()));
            std::thread::sleep(Duration::from_millis(strike * 60 - 180));
        }
        backout.kill().unwrap();
        backout.wait().unwrap();
        let done = matches!(stop.reconcile(&*web.observer, &[], &now()).await.unwrap(), Reconciled::Done(()));
        assert_eq!(done, product.record()["phase"] == "stopped" && !product.is_active(&product.unit()));
        if !done {
            stopped(&web).await;
        }
        product.start_by_hand(&product.unit());
        assert_eq!(product.active(&product.unit()), "inactive", "it is kept down");
        assert!(matches!(start.reconcile(&*web.observer, &[], &now()).await.unwrap(), Reconciled::NotDone));
        started(&web).await;
        assert!(matches!(start.reconcile(&*web.observer, &[], &now()).await.unwrap(), Reconciled::Done(())));
        for end in along {
            assert!(product.is_active(&product.other(end)), "{end} is back, strike {strike}");
        }
        assert_eq!(product.manager.show(&product.unit(), "LoadState"), "loaded");
    }
}

#[tokio::test]
async fn who_starts_it_by_hand_is_not_undone() {
    let product = system_product();
    product.serves(SLEEPS);
    product.manager.unit(&product.other("-worker.service"), &format!("PartOf={}\n{SLEEPS}", product.unit()));
    let web = product.access();
    started(&web).await;
    product.start_by_hand(&product.other("-worker.service"));
    stopped(&web).await;
    // As an operator who gives it up: the mask away, the service up, the worker left alone.
    product.manager.ctl(&["unmask", "--runtime", &product.unit()]);
    product.start_by_hand(&product.unit());
    assert!(product.is_active(&product.unit()));
    stopped(&web).await;
    started(&web).await;
    assert_eq!(product.active(&product.other("-worker.service")), "inactive", "it did not run any more");
}

#[tokio::test]
async fn a_record_that_is_damaged_is_said_and_nothing_is_guessed() {
    let product = system_product();
    product.serves(SLEEPS);
    let web = product.access();
    started(&web).await;
    stopped(&web).await;
    let file = product.bench.join("state/units/web/record.json");
    let good = fs::read(&file).unwrap();
    for bad in ["", "{\"format\": 1", "{\"format\": 2}"] {
        fs::write(&file, bad).unwrap();
        for result in [web.mutator.start(&now()).await, web.mutator.stop(&now()).await] {
            let failure = result.unwrap_err();
            assert!(failure.message.starts_with("the record of what was stopped is damaged"), "{failure}");
            assert!(!failure.message.contains(&product.bench.tag), "{failure}");
        }
    }
    fs::write(&file, good).unwrap();
    started(&web).await;
}
