//! What a pipeline shows beside the lines of a file, in the words of GitHub Actions.
use super::{tested, text};
use crate::dry::{Finding, Tested};
use std::fmt;

/// Displays as the one line that makes it. No text can end it early or begin another one.
#[derive(Debug, PartialEq, Eq)]
pub struct Annotation {
    /// as the pipeline knows it
    pub file: String,
    /// counted from 1
    pub line: Option<usize>,
    pub title: String,
    /// Its lines may come from anybody.
    pub message: Vec<String>,
}

impl fmt::Display for Annotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line.map(|line| format!(",line={line}")).unwrap_or_default();
        let (file, title) = (property(&self.file), property(&text::line(&self.title, 200)));
        let message: Vec<String> = self.message.iter().map(|line| value(&text::spaced(line, 1000))).collect();
        write!(f, "::error file={file}{line},title={title}::{}", message.join("%0A"))
    }
}

fn value(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    value(text).replace(':', "%3A").replace(',', "%2C")
}

/// One for each test that differs and for each finding. `manifest`: what a finding without a file of its own is about.
pub fn of_tests(tested: &Tested, manifest: &str) -> Vec<Annotation> {
    let of = |test: &crate::dry::Test| {
        let file = if test.file.is_empty() { manifest } else { test.file.as_str() };
        let mut all = of_findings(&test.findings, file);
        if let Some(first) = test.differences.first() {
            let (file, line) = (file.to_owned(), first.line);
            let message = tested::said(test);
            all.push(Annotation { file, line, title: format!("{} does not hold", test.name), message });
        }
        all
    };
    tested.tests.iter().flat_map(of).collect()
}

pub fn of_findings(findings: &[Finding], file: &str) -> Vec<Annotation> {
    let of = |finding: &Finding| Annotation {
        file: file.to_owned(),
        line: None,
        title: finding.rule.as_str().to_owned(),
        message: vec![finding.text.clone(), finding.hint.clone()],
    };
    findings.iter().map(of).collect()
}
