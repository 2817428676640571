//! What a dry run found.
use super::{
    escape::{code, md},
    text,
};
use crate::dry::Finding;

/// A line for what is wrong, one for what can be done.
pub fn text(finding: &Finding) -> String {
    let path = finding.path.map(|path| format!("   (backout explore --path {path})")).unwrap_or_default();
    let (text, hint) = (text::line(&finding.text, 400), text::line(&finding.hint, 400));
    format!("✗ {:<20}  {text}{path}\n  {:<20}  {hint}\n", finding.rule.as_str(), "")
}

/// A point of a list.
pub fn markdown(finding: &Finding) -> String {
    let path = finding.path.map(|path| format!(" (`backout explore --path {path}`)")).unwrap_or_default();
    format!("- `{}`: {}{path}  \n  {}\n", code(finding.rule.as_str()), md(&finding.text), md(&finding.hint))
}
