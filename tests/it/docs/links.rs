//! Every link of every page leads somewhere: to a file that is there, to a heading that is there.
use super::markdown::{pages, prose, read};
use crate::support::guests::root;
use std::path::{Component, Path, PathBuf};

struct Link<'t> {
    line: usize,
    to: &'t str,
}

/// `[text](to)`, not in code.
fn links(text: &str) -> Vec<Link<'_>> {
    let mut found = Vec::new();
    for (line, text) in prose(text) {
        let mut code = false;
        for (at, c) in text.char_indices() {
            code ^= c == '`';
            if !code && let Some(rest) = text[at..].strip_prefix("](") {
                found.push(Link { line, to: &rest[..rest.find(')').unwrap_or(rest.len())] });
            }
        }
    }
    found
}

/// As GitHub and mdBook name them: lower case, without punctuation, words joined by `-`.
fn anchors(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    for (_, line) in prose(text) {
        let heading = line.trim_start_matches('#');
        if heading.len() < line.len() && heading.starts_with(' ') {
            let plain = heading.trim().to_lowercase();
            let plain: String = plain
                .chars()
                .filter_map(|c| match c {
                    ' ' => Some('-'),
                    c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
                    _ => None,
                })
                .collect();
            let same = anchors.iter().filter(|a| {
                **a == plain || a.starts_with(&format!("{plain}-")) && a[plain.len() + 1..].parse::<u32>().is_ok()
            });
            let same = same.count();
            anchors.push(if same == 0 { plain } else { format!("{plain}-{same}") });
        }
    }
    anchors
}

/// Where a link of a page leads, from the top of the repository.
fn resolved(page: &str, to: &str) -> PathBuf {
    let mut path = Path::new(page).parent().unwrap().to_owned();
    for part in Path::new(to).components() {
        match part {
            Component::ParentDir => assert!(path.pop(), "{page}: {to} leads out of the repository"),
            Component::CurDir => {}
            other => path.push(other),
        }
    }
    path
}

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for page in pages() {
        let text = read(&page);
        for link in links(&text) {
            seen += 1;
            let at = format!("{page}:{}: {}", link.line, link.to);
            if link.to.starts_with("https://") {
                continue;
            }
            let (path, anchor) = link.to.split_once('#').unwrap_or((link.to, ""));
            let target = if path.is_empty() { PathBuf::from(&page) } else { resolved(&page, path) };
            if !root().join(&target).exists() {
                wrong.push(format!("{at}: there is no {}", target.display()));
            } else if !anchor.is_empty() && !anchors(&read(target.to_str().unwrap())).iter().any(|a| a == anchor) {
                wrong.push(format!("{at}: there is no such heading"));
            }
        }
    }
    assert!(seen > 100, "only {seen} links were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn links_and_anchors_are_read_as_they_stand() {
    let text = "# A `b.c`: d, (e)!\n[x](y#z) `[no](link)`\n```\n[no](link)\n```\n## Twice\n## Twice\n[p][q](r)\n";
    assert_eq!(links(text).iter().map(|l| (l.line, l.to)).collect::<Vec<_>>(), [(2, "y#z"), (8, "r")]);
    assert_eq!(anchors(text), ["a-bc-d-e", "twice", "twice-1"]);
    assert_eq!(resolved("docs/a.md", "../README.md"), Path::new("README.md"));
}

/// The book is made of the pages in `docs/`: each of them is in its table, and none leads to a file that the book has not.
#[test]
fn the_book_has_every_page_and_leads_to_no_other() {
    let summary = read("docs/SUMMARY.md");
    let listed: Vec<&str> = links(&summary).iter().map(|link| link.to).collect();
    let mut there = Vec::new();
    for page in pages().iter().filter_map(|page| page.strip_prefix("docs/")).filter(|page| *page != "SUMMARY.md") {
        assert!(listed.contains(&page), "docs/{page} is not in docs/SUMMARY.md");
        there.push(page.to_owned());
        for link in links(&read(&format!("docs/{page}"))).iter().filter(|link| !link.to.starts_with("https://")) {
            let path = link.to.split('#').next().unwrap();
            let known =
                path.is_empty() || listed.contains(&path) || [".json", ".svg"].iter().any(|end| path.ends_with(end));
            assert!(known, "docs/{page}:{}: {} is not in the book; name the file without a link", link.line, link.to);
        }
    }
    assert_eq!(listed.len(), there.len(), "docs/SUMMARY.md lists {listed:?}");
}
