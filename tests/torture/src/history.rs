//! What was asked and what was answered, in files that outlive the process that asked.
//!
//! A write's beginning is in the file before its database is asked: whatever a killed process did is known to have been
//! tried. Of reads only the answered ones matter. Values are kept without the planted secret around them.

use crate::clock::now;
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Written where there is no row.
const NONE: &str = "-";

/// A row as a history knows it: the value without its secret, and the count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) value: String,
    pub(crate) count: i64,
}

/// What a write wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    Put(String),
    Delete,
    Increment,
    Claim(String),
    /// Of a row whose id the database makes; its value names it until then.
    Create(String),
    /// Everything goes that expires until this time, which is not after its beginning.
    Sweep(u64),
}

/// The story of creations, before their row is known.
pub(crate) const CREATED: &str = "orders/?";

/// The story of sweeps.
pub(crate) const SWEPT: &str = "sessions/*";

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Acknowledged, with its answer: a count or the winner of a claim.
    Done(String),
    /// Surely nothing was written.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// Writes the history of one process.
pub(crate) struct Book {
    file: Mutex<File>,
}

impl Book {
    pub(crate) fn create(path: &Path) -> anyhow::Result<Book> {
        let file = File::options().create_new(true).append(true).open(path);
        Ok(Book { file: Mutex::new(file.with_context(|| format!("cannot make {}", path.display()))?) })
    }

    fn line(&self, line: &str) -> anyhow::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // In one call: a kill leaves whole lines, or none.
        file.write_all(line.as_bytes()).context("the history cannot be written")
    }

    pub(crate) fn begin(&self, number: u64, id: &str, act: &Act) -> anyhow::Result<()> {
        let (word, argument) = match act {
            Act::Put(value) => ("put", value.clone()),
            Act::Delete => ("delete", NONE.to_owned()),
            Act::Increment => ("increment", NONE.to_owned()),
            Act::Claim(owner) => ("claim", owner.clone()),
            Act::Create(value) => ("create", value.clone()),
            Act::Sweep(until) => ("sweep", until.to_string()),
        };
        self.line(&format!("B {number} {} {word} {id} {argument}\n", now()))
    }

    pub(crate) fn end(&self, number: u64, outcome: &Outcome) -> anyhow::Result<()> {
        let (word, answer) = match outcome {
            Outcome::Done(answer) => ("ok", answer.as_str()),
            Outcome::Refused => ("refused", NONE),
            Outcome::Unknown => ("unknown", NONE),
        };
        self.line(&format!("E {number} {} {word} {answer}\n", now()))
    }

    pub(crate) fn read(&self, began: u64, id: &str, seen: Option<&Seen>) -> anyhow::Result<()> {
        let (value, count) = seen.map_or((NONE, 0), |seen| (seen.value.as_str(), seen.count));
        let there = if seen.is_some() { "row" } else { "none" };
        let value = if value.is_empty() { NONE } else { value };
        self.line(&format!("R {began} {} {id} {there} {value} {count}\n", now()))
    }
}

/// A write of some process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) process: usize,
    pub(crate) begin: u64,
    pub(crate) act: Act,
    /// When it was answered, and how; none while it is not.
    pub(crate) answer: Option<(u64, Outcome)>,
}

/// An answered read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Looked {
    pub(crate) begin: u64,
    pub(crate) end: u64,
    pub(crate) seen: Option<Seen>,
}

/// Everything that happened to one row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Story {
    pub(crate) writes: Vec<Written>,
    pub(crate) reads: Vec<Looked>,
}

/// The histories of all processes, read as they grow.
#[derive(Debug, Default)]
pub(crate) struct Library {
    books: Vec<Reading>,
    pub(crate) stories: BTreeMap<String, Story>,
}

#[derive(Debug)]
struct Reading {
    path: PathBuf,
    place: u64,
    /// Of an unfinished line.
    rest: String,
    /// Writes without an answer: number, row and place in its story.
    open: BTreeMap<u64, (String, usize)>,
}

impl Library {
    /// A process began; its place is its number.
    pub(crate) fn add(&mut self, path: PathBuf) -> usize {
        self.books.push(Reading { path, place: 0, rest: String::new(), open: BTreeMap::new() });
        self.books.len() - 1
    }

    /// How many processes there were.
    pub(crate) fn count(&self) -> usize {
        self.books.len()
    }

    /// Reads what was written since the last time.
    pub(crate) fn read_on(&mut self) -> anyhow::Result<()> {
        for (process, book) in self.books.iter_mut().enumerate() {
            let Ok(mut file) = File::open(&book.path) else { continue };
            file.seek(SeekFrom::Start(book.place))?;
            let mut text = String::new();
            book.place += file.read_to_string(&mut text).context("a history cannot be read")? as u64;
            let text = std::mem::take(&mut book.rest) + &text;
            let (whole, rest) = text.rsplit_once('\n').unwrap_or(("", &text));
            book.rest = rest.to_owned();
            for line in whole.lines().filter(|line| !line.is_empty()) {
                note(&mut self.stories, &mut book.open, process, line)
                    .with_context(|| format!("{}: `{line}`", book.path.display()))?;
            }
        }
        Ok(())
    }
}

fn note(
    stories: &mut BTreeMap<String, Story>,
    open: &mut BTreeMap<u64, (String, usize)>,
    process: usize,
    line: &str,
) -> anyhow::Result<()> {
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["B", number, begin, act, id, argument] => {
            let act = match *act {
                "put" => Act::Put((*argument).to_owned()),
                "delete" => Act::Delete,
                "increment" => Act::Increment,
                "claim" => Act::Claim((*argument).to_owned()),
                "create" => Act::Create((*argument).to_owned()),
                "sweep" => Act::Sweep(argument.parse()?),
                other => bail!("`{other}` is no act"),
            };
            let story = stories.entry((*id).to_owned()).or_default();
            story.writes.push(Written { process, begin: begin.parse()?, act, answer: None });
            open.insert(number.parse()?, ((*id).to_owned(), story.writes.len() - 1));
        }
        ["E", number, end, outcome, answer] => {
            let (id, place) = open.remove(&number.parse()?).context("an answer to nothing")?;
            let outcome = match *outcome {
                "ok" => Outcome::Done((*answer).to_owned()),
                "refused" => Outcome::Refused,
                "unknown" => Outcome::Unknown,
                other => bail!("`{other}` is no outcome"),
            };
            if let Some(write) = stories.get_mut(&id).and_then(|story| story.writes.get_mut(place)) {
                write.answer = Some((end.parse()?, outcome));
                if let (Act::Create(_), Some((_, Outcome::Done(row)))) = (&write.act, &write.answer) {
                    let (row, write) = (format!("orders/{row}"), write.clone());
                    stories.entry(row).or_default().writes.push(write);
                }
            }
        }
        ["R", begin, end, id, there, value, count] => {
            let value = if *value == NONE { String::new() } else { (*value).to_owned() };
            let seen = (*there == "row").then_some(Seen { value, count: count.parse()? });
            let read = Looked { begin: begin.parse()?, end: end.parse()?, seen };
            stories.entry((*id).to_owned()).or_default().reads.push(read);
        }
        _ => bail!("no line of a history"),
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_read_as_it_grows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let book = Book::create(&path).unwrap();
        let mut library = Library::default();
        assert_eq!(library.add(path.clone()), 0);
        book.begin(1, "r1.0", &Act::Put("a-1".into())).unwrap();
        book.begin(2, "n1.0", &Act::Increment).unwrap();
        library.read_on().unwrap();
        assert_eq!(library.stories["r1.0"].writes[0].answer, None);
        book.end(1, &Outcome::Unknown).unwrap();
        book.end(2, &Outcome::Done("7".into())).unwrap();
        book.read(5, "r1.0", Some(&Seen { value: "a-1".into(), count: 0 })).unwrap();
        book.read(5, "r1.0", None).unwrap();
        // A line that a kill cut short.
        File::options().append(true).open(&path).unwrap().write_all(b"B 3 12").unwrap();
        library.read_on().unwrap();
        let story = &library.stories["r1.0"];
        assert_eq!(story.writes[0].answer.as_ref().unwrap().1, Outcome::Unknown);
        assert_eq!(story.reads[0].seen.as_ref().unwrap().value, "a-1");
        assert_eq!(story.reads[1].seen, None);
        assert_eq!(library.stories["n1.0"].writes[0].answer.as_ref().unwrap().1, Outcome::Done("7".into()));
    }

    #[test]
    fn a_creation_belongs_to_the_row_that_it_was_answered_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let book = Book::create(&path).unwrap();
        let mut library = Library::default();
        library.add(path);
        book.begin(1, CREATED, &Act::Create("a-1".into())).unwrap();
        book.begin(2, CREATED, &Act::Create("a-2".into())).unwrap();
        book.end(1, &Outcome::Done("42".into())).unwrap();
        library.read_on().unwrap();
        assert_eq!(library.stories["orders/42"].writes, library.stories[CREATED].writes[..1]);
        assert_eq!(library.stories[CREATED].writes[1].answer, None);
    }
}
