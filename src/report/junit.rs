//! The tests as JUnit XML, in the form that Jenkins and Surefire agree on.
use super::{tested, text};
use crate::dry::{Test, Tested};
use quick_xml::{
    Writer,
    events::{BytesDecl, BytesText, Event},
};
use std::io;

/// `refused`: nothing was tested, for this reason.
pub enum Suite<'t> {
    Tested(&'t Tested),
    Refused { package: &'t str, why: &'t str },
}

type Xml = Writer<Vec<u8>>;

pub fn junit(suite: &Suite<'_>) -> io::Result<String> {
    let (name, count, failed, refused, millis) = match suite {
        Suite::Tested(t) => {
            let millis = t.tests.iter().map(|test| test.millis).sum();
            (format!("{} {}", t.package, t.version), t.tests.len(), t.failed, 0, millis)
        }
        Suite::Refused { package, .. } => ((*package).to_owned(), 1, 0, 1, 0),
    };
    let (name, count, failed) = (plain(&name, 200), count.to_string(), failed.to_string());
    let (refused, time) = (refused.to_string(), seconds(millis));
    let counts = [
        ("tests", count.as_str()),
        ("failures", failed.as_str()),
        ("errors", refused.as_str()),
        ("time", time.as_str()),
    ];
    let mut xml = Writer::new_with_indent(Vec::new(), b' ', 2);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let suites = xml.create_element("testsuites").with_attribute(("name", "backout test")).with_attributes(counts);
    suites.write_inner_content(|xml| {
        let element = xml.create_element("testsuite").with_attribute(("name", name.as_str())).with_attributes(counts);
        element.with_attribute(("skipped", "0")).write_inner_content(|xml| match suite {
            Suite::Tested(tested) => cases(xml, tested),
            Suite::Refused { package, why } => error(xml, package, why),
        })?;
        Ok(())
    })?;
    String::from_utf8(xml.into_inner()).map(|text| text + "\n").map_err(io::Error::other)
}

fn cases(xml: &mut Xml, tested: &Tested) -> io::Result<()> {
    let class = class(&tested.package);
    tested.tests.iter().try_for_each(|test| case(xml, &class, test))?;
    match tested::left_out(tested) {
        Some(line) => words(xml, "system-out", &line),
        None => Ok(()),
    }
}

fn case(xml: &mut Xml, class: &str, test: &Test) -> io::Result<()> {
    let (name, file, time) = (plain(&test.name, 200), plain(&test.file, 4096), seconds(test.millis));
    let mut case = xml.create_element("testcase").with_attribute(("name", name.as_str()));
    case = case.with_attributes([("classname", class), ("time", time.as_str())]);
    if !file.is_empty() {
        case = case.with_attribute(("file", file.as_str()));
    }
    case.write_inner_content(|xml| {
        if let Some(first) = tested::first(test) {
            let kind = test.findings.first().map_or("difference", |finding| finding.rule.as_str());
            let failure = xml.create_element("failure").with_attribute(("message", plain(&first, 500).as_str()));
            let lines: Vec<String> = tested::said(test).iter().map(|line| allowed(line)).collect();
            failure.with_attribute(("type", kind)).write_text_content(BytesText::new(&lines.join("\n")))?;
        }
        words(xml, "system-out", &format!("{}: {}", test.about, test.came_to))
    })?;
    Ok(())
}

fn error(xml: &mut Xml, package: &str, why: &str) -> io::Result<()> {
    let first = plain(why.lines().next().unwrap_or_default(), 500);
    let lines: Vec<String> = why.lines().map(|line| plain(line, 1000)).collect();
    let case = xml.create_element("testcase").with_attribute(("name", "package"));
    case.with_attributes([("classname", class(package).as_str()), ("time", "0.000")]).write_inner_content(|xml| {
        let error = xml.create_element("error").with_attribute(("message", first.as_str()));
        error.with_attribute(("type", "refused")).write_text_content(BytesText::new(&lines.join("\n")))?;
        Ok(())
    })?;
    Ok(())
}

fn words(xml: &mut Xml, element: &str, words: &str) -> io::Result<()> {
    xml.create_element(element).write_text_content(BytesText::new(&plain(words, 1000)))?;
    Ok(())
}

/// What readers take for package and class: `acme.shop`.
fn class(package: &str) -> String {
    plain(package, 200).replace('/', ".")
}

fn seconds(millis: u64) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

fn plain(words: &str, max: usize) -> String {
    allowed(&text::line(words, max))
}

/// XML has no way to write these two, which are no characters.
fn allowed(line: &str) -> String {
    line.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}
