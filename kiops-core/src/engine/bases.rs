//! What base images that moved ask for (the base-image trigger).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};

use super::command::{Wanted, build};
use super::draft::Draft;
use super::reply::Reply;
use crate::access::{Role, Subject};
use crate::build::{Bases, Build, BuildState, Trigger, bases};
use crate::error::Result;
use crate::name::{BranchName, BuildId, ComponentName, Digest, GitRef, ImageRef, MemberId};
use crate::policy::{RefKey, RefState, SeenBase, SeenBases};
use crate::provider::Commit;
use crate::service::{BaseImages, Component, Service};
use crate::stage::Stage;

/// What the base images of a service were found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundBases {
    /// The tracked branch.
    pub branch: BranchName,
    /// The newest builds of the branch and of the schedules: they say which commits those are that were built last.
    pub newest: BTreeSet<BuildId>,
    /// When they had been looked at last before registries were asked; `None`: never. What somebody else found meanwhile is newer.
    pub since: Option<Timestamp>,
    /// Of each component whose Dockerfile was read.
    pub components: BTreeMap<ComponentName, FoundComponent>,
    /// What could not be looked at, in words.
    pub unfollowed: Vec<String>,
}

/// What the base images of one component were found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundComponent {
    /// The commit that was built last: its Dockerfile was read.
    pub commit: Commit,
    /// What the tag of each base points at now; `None`: its registry could not say.
    pub bases: BTreeMap<ImageRef, Option<Digest>>,
}

/// How far ahead of the clock a mark may be: machines differ by seconds. One that is further ahead is from before the clock was set right.
const AHEAD: SignedDuration = SignedDuration::from_hours(1);

/// How a service's base images stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nobody wants to know.
    Off,
    /// They were looked at, and are to be again then.
    Waits(Timestamp),
    /// They are to be looked at.
    Due,
}

impl Standing {
    /// How they stand by what is known. Where nothing was built yet, there is nothing to look at. Pure.
    pub(super) fn of(service: &Service, known: &KnownRefs, now: Timestamp) -> Self {
        let components = &service.settings.components;
        let is_built = |component: &Component| known.newest(&component.name).next().is_some();
        let Some(settings) = followed(service).filter(|_| components.iter().any(is_built)) else {
            return Self::Off;
        };
        let every = SignedDuration::from_mins(i64::from(settings.every));
        match &known.bases.bases {
            Some(seen) if seen.at.duration_since(now) <= AHEAD => match seen.at.checked_add(every) {
                Ok(next) if next > now => Self::Waits(next),
                _ => Self::Due,
            },
            _ => Self::Due,
        }
    }
}

/// What is known of the refs that matter here.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownRefs {
    /// Of [`RefKey::BaseImages`].
    pub(super) bases: RefState,
    /// Of the tracked branch.
    pub(super) tracked: RefState,
    /// Of [`RefKey::Schedule`].
    pub(super) scheduled: RefState,
}

impl KnownRefs {
    /// What it is made of.
    pub(super) fn keys(branch: &BranchName) -> [RefKey; 3] {
        [RefKey::BaseImages, RefKey::Branch(branch.clone()), RefKey::Schedule]
    }

    pub(super) fn of(branch: &BranchName, mut state: impl FnMut(&RefKey) -> RefState) -> Self {
        let [bases, tracked, scheduled] = Self::keys(branch).map(|key| state(&key));
        Self { bases, tracked, scheduled }
    }

    /// The newest build of the branch's pushes and that of the schedules.
    pub(super) fn newest(&self, component: &ComponentName) -> impl Iterator<Item = &BuildId> {
        [&self.tracked, &self.scheduled].into_iter().filter_map(|state| state.newest_build.get(component))
    }
}

/// Which of a component's newest builds is the last one. `None`: there is none, or one that is not among those that are known, or it
/// ended without an image: what somebody canceled, or what cannot be built, is not built for a base.
pub(super) fn last<'a>(
    known: &KnownRefs,
    component: &ComponentName,
    build: impl Fn(&BuildId) -> Option<&'a Build>,
) -> Option<&'a Build> {
    let newest: Option<Vec<&Build>> = known.newest(component).map(build).collect();
    let last = newest?.into_iter().max_by_key(|build| build.order);
    last.filter(|build| !build.is_over() || build.state == BuildState::Succeeded)
}

/// The trigger's settings where it is on. An image service has nothing to build.
fn followed(service: &Service) -> Option<&BaseImages> {
    let auto_ci = &service.settings.auto_ci;
    let is_on = auto_ci.enabled && auto_ci.base_image.enabled && service.source.git().is_some();
    is_on.then_some(&auto_ci.base_image)
}

/// The bases of a component by the text of its Dockerfile: those that the settings want. Pure.
///
/// An image that the service itself makes is none: each build would ask for the next one (E80).
pub(super) fn bases_of(service: &Service, component: &Component, dockerfile: &str) -> Bases {
    let mut found = bases(dockerfile, &component.build_args, component.target.as_deref());
    let settings = &service.settings;
    let own = |image: &ImageRef| {
        let target = settings.image.as_ref();
        let mut made = settings.components.iter().filter_map(|one| target?.image_of(one).ok());
        made.any(|name| name == image.name)
    };
    let wanted = &settings.auto_ci.base_image.images;
    found.images.retain(|image| !own(image) && (wanted.is_empty() || wanted.matched_by(image).is_some()));
    found
}

/// A base whose tag points elsewhere than it did.
struct Moved {
    image: ImageRef,
    from: Digest,
    to: Digest,
}

/// Builds every component of which a base moved, and notes what all of them are, both or neither.
pub(super) fn look(draft: &mut Draft<'_>, found: &FoundBases) -> Result<Reply> {
    let service = draft.service();
    let tracked = service.source.git().map(|git| &git.branch);
    if followed(service).is_none() || tracked != Some(&found.branch) {
        return Ok(Reply::Done);
    }
    let known = KnownRefs::of(&found.branch, |key| draft.ref_state(key));
    let is_last = |(component, of): (&ComponentName, &FoundComponent)| {
        last(&known, component, |id| draft.build(id)).is_some_and(|build| *build.commit() == of.commit.id)
    };
    // What was read of another commit says nothing of what is built by now: it is looked at again.
    if !found.components.iter().all(is_last) {
        return Ok(Reply::Done);
    }
    let mut state = known.bases;
    let before = state.bases.take();
    let since = before.as_ref().map(|before| before.at);
    if since != found.since {
        return Ok(Reply::Done);
    }
    let mut seen =
        SeenBases { at: draft.now, components: BTreeMap::new(), unfollowed: found.unfollowed.clone() };
    let mut all_moved = Vec::new();
    for component in &service.settings.components {
        let known = before.as_ref().and_then(|before| before.components.get(&component.name));
        let known = known.map_or(&[][..], Vec::as_slice);
        match found.components.get(&component.name) {
            Some(found) => {
                let (bases, moved) = compare(known, &found.bases);
                seen.components.insert(component.name.clone(), bases);
                if !moved.is_empty() {
                    all_moved.push((component.name.clone(), &found.commit, moved));
                }
            }
            // It could not be read: what is known counts on.
            None if known.is_empty() => {}
            None => drop(seen.components.insert(component.name.clone(), known.to_vec())),
        }
    }
    let mut builds = Vec::new();
    for (component, commit, moved) in all_moved {
        let nonce = nonce(since, &moved);
        let wanted = Wanted {
            scope: RefKey::BaseImages,
            git_ref: &GitRef::Branch(found.branch.clone()),
            commit,
            trigger: Trigger::BaseImage,
            nonce: &nonce,
        };
        let by = Subject::new(MemberId::parse("base-image")?, Role::Member);
        if let Reply::Builds(made) = build(draft, vec![component], &wanted, &by)? {
            for id in &made {
                for Moved { image, from, to } in &moved {
                    draft.log(id, Stage::Setup, format!("Base image {image} moved from {from} to {to}"));
                }
            }
            builds.extend(made);
        }
    }
    state.bases = Some(seen);
    draft.put_ref(RefKey::BaseImages, state);
    Ok(if builds.is_empty() { Reply::Done } else { Reply::Builds(builds) })
}

/// What is known from now on, and what moved. Of a base that is new nothing moved; one whose registry could not say stays as it was.
fn compare(known: &[SeenBase], found: &BTreeMap<ImageRef, Option<Digest>>) -> (Vec<SeenBase>, Vec<Moved>) {
    let (mut bases, mut moved) = (Vec::new(), Vec::new());
    for (image, now) in found {
        let before = known.iter().find(|base| base.image == *image).map(|base| &base.digest);
        if let (Some(from), Some(to)) = (before, now)
            && from != to
        {
            moved.push(Moved { image: image.clone(), from: from.clone(), to: to.clone() });
        }
        bases.extend(
            now.as_ref().or(before).map(|digest| SeenBase { image: image.clone(), digest: digest.clone() }),
        );
    }
    (bases, moved)
}

/// Tells one move from every other: a tag may move back and forth between the same digests, but not since the same moment.
fn nonce(since: Option<Timestamp>, moved: &[Moved]) -> String {
    let mut text = String::new();
    for Moved { image, from, to } in moved {
        // A text takes everything.
        let _ = writeln!(text, "{image} {from} {to}");
    }
    let since = since.map_or(0, Timestamp::as_nanosecond);
    format!("base-{since}-{}", &Digest::of(text.as_bytes()).hex()[..16])
}
