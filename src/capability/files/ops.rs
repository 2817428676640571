use crate::{
    gate::{Operation, Reconciled, class},
    resource::{
        CallCtx, Failure, Right, Tree,
        tree::{Archive, Entry, Mutator, Observer},
    },
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What was in a file. The journal keeps it whole, because a script's next steps follow from it; text as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content(pub Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Written {
    Text(String),
    Hex(String),
}
impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = match std::str::from_utf8(&self.0) {
            Ok(text) => Written::Text(text.to_owned()),
            Err(_) => Written::Hex(hex(&self.0)),
        };
        written.serialize(serializer)
    }
}
impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match Written::deserialize(deserializer)? {
            Written::Text(text) => text.into_bytes(),
            Written::Hex(digits) => {
                let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
                let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
                bytes.ok_or_else(|| serde::de::Error::custom("not hexadecimal"))?
            }
        }))
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[derive(Serialize)]
pub struct Read {
    pub tree: String,
    pub path: String,
}
impl Operation for Read {
    const NAME: &'static str = "files.read";
    const RIGHT: Option<Right> = Some(Right::Read);
    type On = Tree;
    type Class = class::Observe;
    type Output = Content;
    fn label(&self) -> &str {
        &self.tree
    }
    async fn execute(&self, tree: &Observer, _: &CallCtx) -> Result<Content, Failure> {
        tree.read(&self.path).await.map(Content)
    }
}

#[derive(Serialize)]
pub struct List {
    pub tree: String,
    pub path: String,
}
impl Operation for List {
    const NAME: &'static str = "files.list";
    const RIGHT: Option<Right> = Some(Right::Read);
    type On = Tree;
    type Class = class::Observe;
    type Output = Vec<Entry>;
    fn label(&self) -> &str {
        &self.tree
    }
    async fn execute(&self, tree: &Observer, _: &CallCtx) -> Result<Vec<Entry>, Failure> {
        tree.list(&self.path).await
    }
}

#[derive(Serialize)]
pub struct Write {
    pub tree: String,
    pub path: String,
    #[serde(serialize_with = "digest_of_content")]
    pub content: Vec<u8>,
}

/// What is written may be a secret of the product, and long; which bytes they were can be told from their digest.
fn digest_of_content<S: Serializer>(content: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(2))?;
    map.serialize_entry("bytes", &content.len())?;
    map.serialize_entry("sha256", &format!("{:x}", Sha256::digest(content)))?;
    map.end()
}

impl Operation for Write {
    const NAME: &'static str = "files.write";
    const RIGHT: Option<Right> = Some(Right::Write);
    type On = Tree;
    type Class = class::Idempotent;
    type Output = ();
    fn label(&self) -> &str {
        &self.tree
    }
    async fn execute(&self, tree: &Mutator, call: &CallCtx) -> Result<(), Failure> {
        tree.write(&self.path, &self.content, call).await
    }
    async fn reconcile(&self, tree: &Observer, _: &[Value], _: &CallCtx) -> Result<Reconciled<()>, Failure> {
        Ok(Reconciled::of_idempotent(tree.written(&self.path, &self.content).await))
    }
}

#[derive(Serialize)]
pub struct Install {
    pub tree: String,
    pub path: String,
    pub payload: String,
    /// `None`: the package has no such payload.
    #[serde(rename = "sha256", serialize_with = "digest_of_archive")]
    pub archive: Option<Archive>,
}

/// Where the package lies on this host is nobody's business.
fn digest_of_archive<S: Serializer>(archive: &Option<Archive>, serializer: S) -> Result<S::Ok, S::Error> {
    archive.as_ref().map(|archive| &archive.sha256).serialize(serializer)
}

impl Install {
    /// An answer that is given after the grant was looked at.
    fn archive(&self) -> Result<&Archive, Failure> {
        let name: String = self.payload.chars().take(128).collect();
        self.archive.as_ref().ok_or_else(|| Failure::not_found(format!("the package has no payload `{name}`")))
    }
}

impl Operation for Install {
    const NAME: &'static str = "files.install";
    const RIGHT: Option<Right> = Some(Right::Write);
    type On = Tree;
    type Class = class::Idempotent;
    type Output = ();
    fn label(&self) -> &str {
        &self.tree
    }
    async fn execute(&self, tree: &Mutator, call: &CallCtx) -> Result<(), Failure> {
        tree.install(&self.path, self.archive()?, call).await
    }
    async fn reconcile(&self, tree: &Observer, _: &[Value], _: &CallCtx) -> Result<Reconciled<()>, Failure> {
        Ok(match &self.archive {
            Some(archive) => Reconciled::of_idempotent(tree.installed(&self.path, archive).await),
            None => Reconciled::NotDone,
        })
    }
}

#[derive(Serialize)]
pub struct Link {
    pub tree: String,
    pub path: String,
    pub target: String,
}
impl Operation for Link {
    const NAME: &'static str = "files.link";
    const RIGHT: Option<Right> = Some(Right::Write);
    type On = Tree;
    type Class = class::Idempotent;
    type Output = ();
    fn label(&self) -> &str {
        &self.tree
    }
    async fn execute(&self, tree: &Mutator, call: &CallCtx) -> Result<(), Failure> {
        tree.link(&self.path, &self.target, call).await
    }
    async fn reconcile(&self, tree: &Observer, _: &[Value], _: &CallCtx) -> Result<Reconciled<()>, Failure> {
        Ok(Reconciled::of_idempotent(tree.linked(&self.path, &self.target).await))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_keeps_what_was_read_and_a_digest_of_what_was_written() {
        for (content, kept) in
            [(&b"port = 80\n"[..], r#"{"text":"port = 80\n"}"#), (b"\xff\x00\x0a", r#"{"hex":"ff000a"}"#)]
        {
            let content = Content(content.to_vec());
            let written = serde_json::to_string(&content).unwrap();
            assert_eq!(written, kept);
            assert_eq!(serde_json::from_str::<Content>(&written).unwrap(), content);
        }
        let write = Write { tree: "app".into(), path: "a".into(), content: b"password".to_vec() };
        let written = serde_json::to_value(&write).unwrap();
        assert_eq!(written["content"]["bytes"], 8);
        assert!(!written.to_string().contains("password"));
    }

    #[test]
    fn the_journal_does_not_know_where_a_package_lies() {
        let archive = Archive { path: "/srv/packages/1".into(), sha256: "ab".into(), max_unpacked: 1, max_entries: 1 };
        let install = Install { tree: "app".into(), path: "v".into(), payload: "shop".into(), archive: Some(archive) };
        let written = serde_json::to_value(&install).unwrap();
        assert_eq!(written, serde_json::json!({ "tree": "app", "path": "v", "payload": "shop", "sha256": "ab" }));
    }
}
