//! Answers as files. What a file says counts by whose it is, so nobody else may be able to write it. Nothing is changed there, and
//! what is left there does nothing: no other question has the same id.
use super::{
    Found, Person, Question,
    answer::{self, Answer},
};
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, open, openat, statat},
    io::Errno,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Files of one question; who puts more there wants something else than to answer.
const MOST: usize = 64;
const OPEN: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::RDONLY);

pub struct Folder {
    path: PathBuf,
    people: Arc<BTreeMap<String, Person>>,
    /// What was wrong is said once.
    said: BTreeSet<String>,
}

/// Why the folder is no place for answers.
pub fn usable(path: &Path) -> Result<(), String> {
    enter(path).map(drop)
}

fn enter(path: &Path) -> Result<OwnedFd, String> {
    let folder = open(path, OPEN | OFlags::DIRECTORY, Mode::empty()).map_err(|error| match error {
        Errno::LOOP | Errno::NOTDIR => "it is a link, or no folder".to_owned(),
        other => other.to_string(),
    })?;
    let stat = fstat(&folder).map_err(|error| error.to_string())?;
    // In one with the sticky bit nobody removes what belongs to somebody else.
    if stat.st_mode & 0o1002 == 0o002 {
        return Err("everybody may write and remove files there".to_owned());
    }
    Ok(folder)
}

impl Folder {
    pub fn new(path: &Path, people: Arc<BTreeMap<String, Person>>) -> Self {
        Self { path: path.to_owned(), people, said: BTreeSet::new() }
    }

    /// The answer, if there is one: a no weighs more than a yes. And what is news of what is none.
    pub fn look(&mut self, question: &Question) -> Vec<Found> {
        let found = match self.files(question) {
            Ok(found) => found,
            Err(why) => vec![Err(format!("the folder of answers: {why}"))],
        };
        let (answers, wrong): (Vec<Found>, Vec<Found>) = found.into_iter().partition(Result::is_ok);
        let mut news: Vec<Found> =
            wrong.into_iter().filter(|wrong| wrong.as_ref().is_err_and(|why| self.said.insert(why.clone()))).collect();
        let no = |found: &&Found| found.as_ref().is_ok_and(|answered| !answered.yes);
        news.extend(answers.iter().find(no).or(answers.first()).cloned());
        news
    }

    fn files(&self, question: &Question) -> Result<Vec<Found>, String> {
        let folder = enter(&self.path)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&folder).map_err(|error| error.to_string())? {
            let entry = entry.map_err(|error| error.to_string())?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(&question.id) && name.ends_with(".json") {
                names.push(name);
            }
        }
        names.sort_unstable();
        let more = names.len() > MOST;
        names.truncate(MOST);
        let mut found: Vec<Found> = names
            .into_iter()
            .map(|name| {
                let shown: String = name.escape_debug().take(80).collect();
                self.file(&folder, &name, question).map_err(|why| format!("the answer {shown} does not count: {why}"))
            })
            .collect();
        if more {
            found.push(Err(format!("only {MOST} files for one question are looked at")));
        }
        Ok(found)
    }

    fn file(&self, folder: impl AsFd, name: &str, question: &Question) -> Found {
        // Looked at before it is opened: opening a device or a pipe may do something.
        regular(&statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| error.to_string())?)?;
        let file = openat(&folder, name, OPEN | OFlags::NONBLOCK, Mode::empty()).map_err(|error| error.to_string())?;
        let stat = fstat(&file).map_err(|error| error.to_string())?;
        regular(&stat)?;
        if stat.st_mode & 0o022 != 0 {
            return Err(format!("others than its owner may write it (mode {:o})", stat.st_mode & 0o777));
        }
        if stat.st_nlink != 1 {
            return Err("it has several names".to_owned());
        }
        let mut text = Vec::new();
        let longest = u64::try_from(answer::MAX).unwrap_or(u64::MAX);
        File::from(file).take(longest + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
        if text.len() > answer::MAX {
            return Err(format!("it has more than {} bytes", answer::MAX));
        }
        let answer: Answer = serde_json::from_slice(&text).map_err(|_| NOT_UNDERSTOOD.to_owned())?;
        if answer.question != question.id {
            return Err("it is for another question".to_owned());
        }
        answer.counts(question.run, &question.role, &self.people, Some(stat.st_uid))
    }
}

pub const NOT_UNDERSTOOD: &str =
    r#"it is not understood; write {"question":"…","run":N,"answer":"yes" or "no","by":"NAME"}"#;

fn regular(stat: &Stat) -> Result<(), String> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Symlink => Err("it is a link".to_owned()),
        _ => Err("it is no file".to_owned()),
    }
}
