//! What a unit has said: in the journal, or in a file that it writes by itself.
use super::*;

async fn search(web: &Access<Service>, since: &Mark, text: &str) -> Result<Vec<String>, backout::resource::Failure> {
    web.observer.search(since, &[text.to_owned()]).await
}

/// Waits until so many lines are there.
async fn found(web: &Access<Service>, since: &Mark, text: &str, times: usize) -> Vec<String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let found = search(web, since, text).await.unwrap();
        if found.len() == times {
            return found;
        }
        assert!(Instant::now() < until && found.len() < times, "{times} times `{text}`: {found:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_journal_is_searched_since_a_mark() {
    let product = system_product();
    product.serves("[Service]\nExecStart=/bin/sh -c 'echo ready; echo ERROR one >&2; exec sleep 1000'\n");
    let web = product.access();
    let first = web.mutator.mark(&now()).await.unwrap();
    started(&web).await;
    found(&web, &first, "ERROR", 1).await;
    let second = web.mutator.mark(&now()).await.unwrap();
    assert_ne!(second, first);
    assert_eq!(search(&web, &second, "ERROR").await.unwrap(), [""; 0]);
    web.mutator.restart(&now()).await.unwrap();
    // The very first entry after a mark is one of them.
    assert_eq!(found(&web, &second, "ERROR", 1).await, ["ERROR one"]);
    assert_eq!(found(&web, &second, "ready", 1).await, ["ready"]);
    found(&web, &first, "ERROR", 2).await;
    // What others say at the same time is not its own.
    let other = system_product();
    other.serves("[Service]\nExecStart=/bin/sh -c 'echo ERROR of another; exec sleep 1000'\n");
    started(&other.access()).await;
    found(&other.access(), &second, "of another", 1).await;
    assert_eq!(search(&web, &second, "of another").await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_journal_that_is_gone_is_no_clean_log() {
    let product = system_product();
    product.serves(SLEEPS);
    let web = product.access();
    started(&web).await;
    let mark = web.mutator.mark(&now()).await.unwrap();
    let empty = product.bench.join("journal");
    fs::create_dir(&empty).unwrap();
    let elsewhere = product.opened(Systemd { journal: Some(empty), ..product.section() });
    assert_eq!(search(&elsewhere, &mark, "x").await.unwrap_err().kind, FailureKind::Inconclusive);
    let missing = product.opened(Systemd { journal: Some(product.bench.join("none")), ..product.section() });
    let failure = search(&missing, &mark, "x").await.unwrap_err();
    assert_eq!(
        (failure.kind, failure.message.as_str()),
        (FailureKind::Inconclusive, "the journal cannot be read, or not all of it")
    );
    // An entry that was there, and is no more: the reader goes on at the next one, and says nothing.
    let place = mark.place.unwrap();
    let (before, _) = place.split_once(";i=").unwrap();
    let (_, after) = place.split_once(";b=").unwrap();
    let removed = Mark { position: 0, place: Some(format!("{before};i=1;b={after}")) };
    let failure = search(&web, &removed, "x").await.unwrap_err();
    assert_eq!(
        (failure.kind, failure.message.as_str()),
        (FailureKind::Inconclusive, "the journal since then was removed in part")
    );
    for nonsense in ["", "none", "--flush", "s=zzz"] {
        let mark = Mark { position: 0, place: Some(nonsense.to_owned()) };
        assert_eq!(search(&web, &mark, "x").await.unwrap_err().kind, FailureKind::Inconclusive, "{nonsense}");
    }
}

#[tokio::test]
async fn what_the_journal_leaves_out_is_no_clean_log() {
    let product = system_product();
    product.serves(
        "[Service]\nLogRateLimitBurst=5\nLogRateLimitIntervalSec=500ms\n\
         ExecStart=/bin/sh -c 'seq 1 5000; sleep 1; echo after; exec sleep 1000'\n",
    );
    let web = product.access();
    let mark = web.mutator.mark(&now()).await.unwrap();
    started(&web).await;
    let until = Instant::now() + PATIENCE;
    loop {
        match search(&web, &mark, "after").await {
            Err(failure) => {
                assert_eq!(failure.kind, FailureKind::Inconclusive);
                assert_eq!(failure.message, "the journal has left out a part of it: it wrote too much at once");
                return;
            }
            Ok(found) => assert!(found.is_empty() && Instant::now() < until, "{found:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn answers_of_a_journal_are_bounded_and_harmless() {
    let product = system_product();
    let script = product.place("script");
    fs::write(
        &script,
        "seq -f 'many %g' 1 300\nfor i in $(seq 1 40); do printf 'wide %05000d\\n' $i; done\nprintf 'odd \\033[2J\\377\\n'\necho done\nexec sleep 1000\n",
    )
    .unwrap();
    product.serves(&format!("[Service]\nExecStart=/bin/sh {}\n", script.display()));
    let web = product.access();
    let mark = web.mutator.mark(&now()).await.unwrap();
    started(&web).await;
    found(&web, &mark, "done", 1).await;
    let many = search(&web, &mark, "many").await.unwrap();
    assert_eq!((many.len(), many[0].as_str()), (backout::resource::service::MAX_LINES, "many 1"));
    let wide = search(&web, &mark, "wide").await.unwrap();
    let size: usize = wide.iter().map(String::len).sum();
    assert!(wide.iter().all(|line| line.len() <= 4096) && size <= backout::resource::service::MAX_LINE_BYTES);
    assert_eq!(search(&web, &mark, "odd").await.unwrap(), ["odd \u{fffd}[2J\u{fffd}"]);
}

#[tokio::test]
async fn a_unit_that_writes_a_file_has_its_log_there() {
    let product = system_product();
    let file = product.place("log");
    product.serves(&format!("{SLEEPS}StandardOutput=append:{}\n", file.display()));
    let web = product.access();
    let (kind, message) = said(web.mutator.mark(&now()).await);
    assert_eq!(kind, FailureKind::Invalid);
    assert_eq!(message, "its unit writes its output to a file, not to the journal");
    let web = product.opened(Systemd { log: Some(file), journal: None, ..product.section() });
    let mark = web.mutator.mark(&now()).await.unwrap();
    started(&web).await;
    assert_eq!(found(&web, &mark, "ready", 1).await, ["ready"]);
}
