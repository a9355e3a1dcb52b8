//! The plan: a pure function of policy, facts and time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use semver::Version;
use serde::Serialize;

use super::{ImageUse, RetentionFacts, RetentionPolicy, TagGroup, TagOrder};
use crate::image::referred_by;
use crate::name::{Digest, ImageName, Tag};

/// What goes and what stays, newest first; what is of unknown age stands last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RetentionPlan {
    /// The image.
    pub image: ImageName,
    /// What goes.
    pub delete: Vec<Deletion>,
    /// Every other tag, and why it stays.
    pub keep: Vec<Kept>,
}

/// One thing that goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Deletion {
    /// A manifest of which no tag stays, with all its tags.
    Image {
        /// Its digest.
        digest: Digest,
        /// Its tags, in byte order.
        tags: Vec<Tag>,
    },
    /// A tag alone: its manifest stays, with other tags.
    Tag {
        /// The tag.
        tag: Tag,
        /// What it points at.
        digest: Digest,
    },
    /// What is attached to a manifest that goes, or that the registry does not have: a tag of the form `sha256-<digest>`.
    Attachment {
        /// The tag.
        tag: Tag,
        /// What it points at.
        digest: Digest,
        /// The manifest that it is about.
        subject: Digest,
    },
}

/// A tag that stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The tag.
    pub tag: Tag,
    /// What it points at.
    pub digest: Digest,
    /// Why: the first reason of those that hold.
    pub reason: KeepReason,
}

/// Why a tag stays. `Display` says it as half a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeepReason {
    /// It is deployed, is about to be, or was live before that.
    Deployed,
    /// A build that is not over made it.
    Building,
    /// It is made of this manifest, among others, which is in use.
    Holds(Digest),
    /// This pattern of [`RetentionPolicy::keep`] matches it.
    Matches(String),
    /// It is in no group.
    NoGroup,
    /// Its group has no limit.
    NoLimit,
    /// It is the newest of its group, or the second, ... counted from 1.
    Newest(usize),
    /// It is younger than its group's days, until then.
    Young(Timestamp),
    /// Nobody knows when it was built.
    UnknownAge,
    /// It is no version, in a group that is ordered by versions.
    NoVersion,
    /// It belongs to this manifest, which stays: as a platform of an index, or attached to it.
    PartOf(Digest),
    /// It is about this manifest, of which nothing is known.
    AboutUnknown(Digest),
}

impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deployed => f.write_str("it is deployed, is about to be, or a rollback wants it"),
            Self::Building => f.write_str("a build that is not over made it"),
            Self::Holds(digest) => write!(f, "{digest} is a part of it, and in use"),
            Self::Matches(pattern) => write!(f, "`{pattern}` keeps it"),
            Self::NoGroup => f.write_str("it is in no group"),
            Self::NoLimit => f.write_str("its group has no limit"),
            Self::Newest(n) => write!(f, "it is number {n} of its group"),
            Self::Young(until) => write!(f, "it is younger than its group's limit until {until}"),
            Self::UnknownAge => f.write_str("nobody knows when it was built"),
            Self::NoVersion => f.write_str("it is no version, and its group is ordered by versions"),
            Self::PartOf(digest) => write!(f, "it belongs to {digest}, which stays"),
            Self::AboutUnknown(digest) => write!(f, "it is about {digest}, of which nothing is known"),
        }
    }
}

/// Decides which tags of an image go.
///
/// - A digest that is deployed, or that a running build made, keeps all its tags. So does an index of which it is a part: registries
///   collect what no index names any more.
/// - What is younger than its group's days, or among the newest of its group, stays; so does what is of unknown age wherever its
///   age would count.
/// - A manifest with one tag that stays is kept whole; only its other tags go. So is what a manifest that stays is made of: the
///   platforms of an index, and what is attached to it.
/// - What is attached by a tag (`sha256-<digest>`, `sha256-<digest>.sig`) goes and stays with what it is about. Where there is no tag
///   of another form, what they are about may be in another repository, and all of them stay.
///
/// The same arguments give the same plan. Once it is carried out, another one at the same time deletes nothing more.
pub fn plan_retention(policy: &RetentionPolicy, facts: &RetentionFacts, now: Timestamp) -> RetentionPlan {
    let judge = Judge::new(policy, facts, now);
    let mut decided: BTreeMap<&Tag, Result<KeepReason, Goes>> = BTreeMap::new();
    for (tag, digest) in ordinary(facts) {
        decided.insert(tag, judge.tag(tag, digest));
    }
    let kept = judge.kept(&decided);
    for (tag, digest, subject) in attachments(facts) {
        decided.insert(tag, judge.attachment(&kept, tag, digest, subject));
    }
    let (mut keep, mut tags_alone, mut whole) = (Vec::new(), Vec::new(), BTreeMap::<_, Vec<Tag>>::new());
    for (tag, digest) in &facts.tags {
        let (owned, pointed) = (tag.clone(), digest.clone());
        match (decided.remove(tag), kept.get(digest)) {
            (Some(Ok(reason)), _) => keep.push(Kept { tag: owned, digest: pointed, reason }),
            (_, Some(Why::PartOf(parent))) => {
                keep.push(Kept { tag: owned, digest: pointed, reason: KeepReason::PartOf(parent.clone()) });
            }
            (Some(Err(Goes::With(subject))), _) => {
                tags_alone.push(Deletion::Attachment { tag: owned, digest: pointed, subject });
            }
            (_, Some(Why::Tag)) => tags_alone.push(Deletion::Tag { tag: owned, digest: pointed }),
            (_, None) => whole.entry(pointed).or_default().push(owned),
        }
    }
    let whole = whole.into_iter().map(|(digest, tags)| Deletion::Image { digest, tags });
    let mut delete: Vec<Deletion> = whole.chain(tags_alone).collect();
    delete.sort_by_cached_key(|deletion| deletion.place(&facts.used));
    keep.sort_by_cached_key(|kept| place(&facts.used, &kept.digest, &kept.tag));
    RetentionPlan { image: facts.image.clone(), delete, keep }
}

/// Why a tag goes.
enum Goes {
    /// Its group lets it go.
    ByItself,
    /// What it is about goes, or is not there.
    With(Digest),
}

/// Why a digest stays.
enum Why {
    /// A tag of it stays, or it is in use.
    Tag,
    /// It belongs to this one.
    PartOf(Digest),
}

fn ordinary(facts: &RetentionFacts) -> impl Iterator<Item = (&Tag, &Digest)> {
    facts.tags.iter().filter(|(tag, _)| referred_by(tag).is_none())
}

fn attachments(facts: &RetentionFacts) -> impl Iterator<Item = (&Tag, &Digest, Digest)> {
    facts.tags.iter().filter_map(|(tag, digest)| Some((tag, digest, referred_by(tag)?)))
}

struct Judge<'a> {
    policy: &'a RetentionPolicy,
    facts: &'a RetentionFacts,
    now: Timestamp,
    /// The place of every digest in its groups, from 0 for the newest.
    ranks: BTreeMap<(usize, &'a Digest), usize>,
    tagged: BTreeSet<&'a Digest>,
    /// What is made of something that is in use, and of what.
    holders: BTreeMap<&'a Digest, &'a Digest>,
    /// Whether the images are here, and not only what is attached to them.
    has_images: bool,
}

impl<'a> Judge<'a> {
    fn new(policy: &'a RetentionPolicy, facts: &'a RetentionFacts, now: Timestamp) -> Self {
        Self {
            policy,
            facts,
            now,
            ranks: ranks(policy, facts),
            tagged: facts.tags.values().collect(),
            holders: holders(facts),
            has_images: ordinary(facts).next().is_some(),
        }
    }

    /// What keeps a tag of any kind.
    fn always(&self, tag: &Tag, digest: &Digest) -> Option<KeepReason> {
        let used = &self.facts.used;
        if used.deployed.contains(digest) {
            return Some(KeepReason::Deployed);
        }
        if used.building.contains(digest) {
            return Some(KeepReason::Building);
        }
        if let Some(part) = self.holders.get(digest) {
            return Some(KeepReason::Holds((*part).clone()));
        }
        let pattern = self.policy.keep.matched_by(tag.as_str())?;
        Some(KeepReason::Matches(pattern.to_owned()))
    }

    fn tag(&self, tag: &Tag, digest: &Digest) -> Result<KeepReason, Goes> {
        if let Some(reason) = self.always(tag, digest) {
            return Ok(reason);
        }
        let Some((number, group)) = group_of(self.policy, tag) else { return Ok(KeepReason::NoGroup) };
        if !group.is_limited() {
            return Ok(KeepReason::NoLimit);
        }
        let built = self.facts.used.built.get(digest);
        if let Some(newest) = group.newest {
            match group.order {
                TagOrder::Built if built.is_none() => return Ok(KeepReason::UnknownAge),
                TagOrder::Version if version(tag).is_none() => return Ok(KeepReason::NoVersion),
                _ => {}
            }
            let rank = self.ranks.get(&(number, digest)).copied().unwrap_or_default();
            if rank < usize::try_from(newest).unwrap_or(usize::MAX) {
                return Ok(KeepReason::Newest(rank + 1));
            }
        }
        if let Some(days) = group.days {
            let Some(built) = built else { return Ok(KeepReason::UnknownAge) };
            let limit = SignedDuration::from_hours(24 * i64::from(days));
            // A limit beyond the end of time is never reached.
            let until = built.checked_add(limit).unwrap_or(Timestamp::MAX);
            if self.now < until {
                return Ok(KeepReason::Young(until));
            }
        }
        Err(Goes::ByItself)
    }

    fn attachment(
        &self,
        kept: &BTreeMap<Digest, Why>,
        tag: &Tag,
        digest: &Digest,
        subject: Digest,
    ) -> Result<KeepReason, Goes> {
        if let Some(reason) = self.always(tag, digest) {
            return Ok(reason);
        }
        match kept.get(digest) {
            _ if kept.contains_key(&subject) && subject != *digest => return Ok(KeepReason::PartOf(subject)),
            Some(Why::PartOf(parent)) => return Ok(KeepReason::PartOf(parent.clone())),
            Some(Why::Tag) | None => {}
        }
        // What is tagged and does not stay goes. What is about itself is an image that somebody gave such a tag.
        let is_tagged = self.tagged.contains(&subject) && subject != *digest;
        let is_gone = is_tagged || (self.has_images && self.facts.absent.contains(&subject));
        if is_gone && !kept.contains_key(digest) && self.policy.limits_anything() {
            return Err(Goes::With(subject));
        }
        Ok(KeepReason::AboutUnknown(subject))
    }

    /// Every digest that stays: of tags that stay, of what is in use, and of what belongs to those.
    fn kept(&self, decided: &BTreeMap<&Tag, Result<KeepReason, Goes>>) -> BTreeMap<Digest, Why> {
        let facts = self.facts;
        let stays = ordinary(facts).filter(|(tag, _)| matches!(decided.get(tag), Some(Ok(_))));
        let used = facts.used.deployed.iter().chain(&facts.used.building);
        let mut open: Vec<Digest> = used.chain(stays.map(|(_, digest)| digest)).cloned().collect();
        let mut kept: BTreeMap<Digest, Why> = open.iter().map(|digest| (digest.clone(), Why::Tag)).collect();
        loop {
            while let Some(parent) = open.pop() {
                for held in facts.holds.get(&parent).into_iter().flatten() {
                    if !kept.contains_key(held) {
                        kept.insert(held.clone(), Why::PartOf(parent.clone()));
                        open.push(held.clone());
                    }
                }
            }
            // An attachment that stays may hold more, and be what another one is about.
            for (tag, digest, subject) in attachments(facts) {
                if !kept.contains_key(digest) && self.attachment(&kept, tag, digest, subject).is_ok() {
                    kept.insert(digest.clone(), Why::Tag);
                    open.push(digest.clone());
                }
            }
            if open.is_empty() {
                return kept;
            }
        }
    }
}

/// Every manifest that is made, at whatever depth, of one that is in use.
fn holders(facts: &RetentionFacts) -> BTreeMap<&Digest, &Digest> {
    let used = &facts.used;
    let mut found: BTreeMap<&Digest, &Digest> = BTreeMap::new();
    loop {
        let before = found.len();
        for (holder, held) in &facts.holds {
            let part = held.iter().find_map(|part| match found.get(part) {
                Some(deeper) => Some(*deeper),
                None => (used.deployed.contains(part) || used.building.contains(part)).then_some(part),
            });
            if let Some(part) = part {
                found.entry(holder).or_insert(part);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

fn group_of<'a>(policy: &'a RetentionPolicy, tag: &Tag) -> Option<(usize, &'a TagGroup)> {
    policy.groups.iter().enumerate().find(|(_, group)| group.tags.matched_by(tag.as_str()).is_some())
}

fn ranks<'a>(policy: &RetentionPolicy, facts: &'a RetentionFacts) -> BTreeMap<(usize, &'a Digest), usize> {
    let mut groups: BTreeMap<usize, BTreeMap<&Digest, Age>> = BTreeMap::new();
    for (tag, digest) in ordinary(facts) {
        let Some((number, group)) = group_of(policy, tag) else { continue };
        let age = match group.order {
            TagOrder::Built => facts.used.built.get(digest).copied().map(Age::Built),
            TagOrder::Version => version(tag).map(Age::Version),
        };
        let Some(age) = age else { continue };
        let ages = groups.entry(number).or_default();
        let newest = match ages.remove(digest) {
            Some(other) => other.max(age),
            None => age,
        };
        ages.insert(digest, newest);
    }
    let mut ranks = BTreeMap::new();
    for (number, ages) in groups {
        let mut newest_first: Vec<(Reverse<Age>, &Digest)> =
            ages.into_iter().map(|(digest, age)| (Reverse(age), digest)).collect();
        newest_first.sort();
        let places = newest_first.into_iter().enumerate();
        ranks.extend(places.map(|(place, (_, digest))| ((number, digest), place)));
    }
    ranks
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Age {
    Built(Timestamp),
    Version(Version),
}

/// A tag as a version: with or without a `v`, and with the `_` that stands for the `+` which no tag can have.
fn version(tag: &Tag) -> Option<Version> {
    crate::filter::version(&tag.as_str().replace('_', "+"))
}

/// Newest first: by time, then by version, then by name. What has none comes last.
type Place = (Reverse<Option<Timestamp>>, Reverse<Option<Version>>, Tag);

fn place(used: &ImageUse, digest: &Digest, tag: &Tag) -> Place {
    (Reverse(used.built.get(digest).copied()), Reverse(version(tag)), tag.clone())
}

impl Deletion {
    /// What is attached comes after everything else, so that what it is about went before it.
    fn place(&self, used: &ImageUse) -> (bool, Option<Place>) {
        match self {
            Self::Image { digest, tags } => (false, tags.iter().map(|tag| place(used, digest, tag)).min()),
            Self::Tag { tag, digest } => (false, Some(place(used, digest, tag))),
            Self::Attachment { tag, subject, .. } => (true, Some(place(used, subject, tag))),
        }
    }

    /// The tags that it takes away.
    pub fn tags(&self) -> &[Tag] {
        match self {
            Self::Image { tags, .. } => tags,
            Self::Tag { tag, .. } | Self::Attachment { tag, .. } => std::slice::from_ref(tag),
        }
    }

    /// What its tags point at.
    pub const fn digest(&self) -> &Digest {
        match self {
            Self::Image { digest, .. } | Self::Tag { digest, .. } | Self::Attachment { digest, .. } => digest,
        }
    }
}

impl RetentionPlan {
    /// The digests of which nothing stays.
    pub fn digests(&self) -> BTreeSet<&Digest> {
        let gone = self.delete.iter().filter(|deletion| !matches!(deletion, Deletion::Tag { .. }));
        gone.map(Deletion::digest).collect()
    }
}
