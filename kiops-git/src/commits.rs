//! The commits of a push, as GitLab, GitHub, Gitea and Gitee write them. Their file lists may name thousands of paths, so these go
//! straight into the union.

use std::fmt;

use kiops_core::event::{ChangedFiles, CommitFacts, FileList, Paths};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::body::{Text, stated};

/// A commit of a list.
#[derive(Deserialize)]
pub(crate) struct Commit<'a> {
    #[serde(borrow)]
    pub id: Text<'a>,
    #[serde(borrow)]
    pub message: Option<Text<'a>>,
    #[serde(borrow)]
    pub timestamp: Option<Text<'a>>,
    #[serde(borrow)]
    pub url: Option<Text<'a>>,
    #[serde(borrow)]
    pub author: Option<Author<'a>>,
}

#[derive(Deserialize)]
pub(crate) struct Author<'a> {
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
}

impl Commit<'_> {
    /// What it says of itself, for the build's metadata.
    pub(crate) fn facts(&self) -> CommitFacts {
        CommitFacts {
            author: self.author.as_ref().and_then(|author| stated(author.name.as_ref())),
            timestamp: stated(self.timestamp.as_ref()),
            url: stated(self.url.as_ref()),
        }
    }
}

/// The commits that a push lists, and the files of all of them. Null reads as none.
#[derive(Default)]
pub(crate) struct Commits<'a> {
    pub list: Vec<Commit<'a>>,
    files: FileList,
    /// Whether any commit lists files at all.
    any_files: bool,
    /// Whether every commit lists what it added, modified and removed.
    all_files: bool,
    /// How many paths the longest list of one commit has.
    pub longest: usize,
}

impl Commits<'_> {
    /// What they say of files: the whole truth only if `all` commits of the push are listed. No lists at all say nothing,
    /// rather than that nothing changed: so look a push back to an older commit, and every push of a system hook.
    pub(crate) fn changed(self, all: bool) -> ChangedFiles {
        match (self.any_files, all && self.all_files) {
            (false, _) => ChangedFiles::Unknown,
            (true, true) => ChangedFiles::Complete(self.files),
            (true, false) => ChangedFiles::Partial(self.files),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Commits<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut commits = Commits { all_files: true, ..Commits::default() };
        deserializer.deserialize_any(ListVisitor(&mut commits))?;
        Ok(commits)
    }
}

struct ListVisitor<'c, 'a>(&'c mut Commits<'a>);

impl<'de: 'a, 'a> Visitor<'de> for ListVisitor<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of commits")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(CommitSeed(&mut *self.0))?.is_some() {}
        Ok(())
    }
}

struct CommitSeed<'c, 'a>(&'c mut Commits<'a>);

impl<'de: 'a, 'a> DeserializeSeed<'de> for CommitSeed<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Id,
    Message,
    Timestamp,
    Url,
    Author,
    Added,
    Modified,
    Removed,
    #[serde(other)]
    Unused,
}

impl<'de: 'a, 'a> Visitor<'de> for CommitSeed<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a commit")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut id, mut message, mut timestamp, mut url, mut author) = (None, None, None, None, None);
        let (mut added, mut modified, mut removed) = (None, None, None);
        let files = &mut self.0.files;
        while let Some(field) = map.next_key()? {
            match field {
                Field::Id => once(&mut id, map.next_value::<Text<'a>>()?, "id")?,
                Field::Message => once(&mut message, map.next_value::<Option<Text<'a>>>()?, "message")?,
                Field::Timestamp => once(&mut timestamp, map.next_value::<Option<Text<'a>>>()?, "timestamp")?,
                Field::Url => once(&mut url, map.next_value::<Option<Text<'a>>>()?, "url")?,
                Field::Author => once(&mut author, map.next_value::<Option<Author<'a>>>()?, "author")?,
                Field::Added => once(&mut added, map.next_value_seed(PathsSeed(&mut files.added))?, "added")?,
                Field::Modified => {
                    once(&mut modified, map.next_value_seed(PathsSeed(&mut files.modified))?, "modified")?;
                }
                Field::Removed => {
                    once(&mut removed, map.next_value_seed(PathsSeed(&mut files.removed))?, "removed")?;
                }
                Field::Unused => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let listed = [added, modified, removed].map(Option::flatten);
        self.0.any_files |= listed.iter().any(Option::is_some);
        self.0.all_files &= listed.iter().all(Option::is_some);
        self.0.longest = listed.into_iter().flatten().fold(self.0.longest, usize::max);
        self.0.list.push(Commit {
            id: id.ok_or_else(|| A::Error::missing_field("id"))?,
            message: message.flatten(),
            timestamp: timestamp.flatten(),
            url: url.flatten(),
            author: author.flatten(),
        });
        Ok(())
    }
}

/// Takes a field's value, as a derived decoder does: a second one is an error, not a choice.
fn once<T, E: serde::de::Error>(slot: &mut Option<T>, value: T, field: &'static str) -> Result<(), E> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::duplicate_field(field)),
    }
}

/// Adds the paths of a list; says how many there are, or that there is no list, which null is not.
struct PathsSeed<'p>(&'p mut Paths);

impl<'de> DeserializeSeed<'de> for PathsSeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PathsSeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of paths")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut paths = 0;
        while seq.next_element_seed(PathSeed(&mut *self.0))?.is_some() {
            paths += 1;
        }
        Ok(Some(paths))
    }
}

struct PathSeed<'p>(&'p mut Paths);

impl<'de> DeserializeSeed<'de> for PathSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for PathSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path")
    }

    fn visit_str<E>(self, path: &str) -> Result<(), E> {
        self.0.push(path);
        Ok(())
    }
}
