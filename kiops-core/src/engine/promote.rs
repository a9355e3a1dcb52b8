//! Which tags stage `release` moves.

use crate::build::{Build, BuildState, Requester, Step};
use crate::name::{BuildId, Tag};
use crate::store::View;

/// The tags of a build that are to be moved to its digest now. A requester's tags stay where they are once a newer build of
/// the same ref has moved them, or is about to.
pub(super) fn tags_to_move(view: &View, id: &BuildId) -> Vec<Tag> {
    let Some(build) = view.builds.get(id) else { return Vec::new() };
    if !moves_tags(build) {
        return Vec::new();
    }
    let wanted = |by: &&Requester| !by.late && !is_outdated(view, build, by);
    let mut tags: Vec<Tag> =
        build.requesters.iter().filter(wanted).flat_map(|by| by.tags.iter().cloned()).collect();
    tags.sort();
    tags.dedup();
    tags
}

/// Whether it is at its tags, or past them.
const fn moves_tags(build: &Build) -> bool {
    matches!(build.state, BuildState::Running(Step::Promote) | BuildState::Succeeded)
}

fn is_outdated(view: &View, build: &Build, by: &Requester) -> bool {
    let Some(scope) = build.ref_of(by) else { return false };
    let covered = view.refs.get(&scope);
    covered.is_some_and(|state| state.is_covered_past(build.component(), build.commit()))
        || view.builds.values().any(|other| {
            other.id != build.id
                && other.component() == build.component()
                && moves_tags(other)
                && other.requesters.iter().any(|newer| {
                    !newer.late && newer.order > by.order && other.ref_of(newer).as_ref() == Some(&scope)
                })
        })
}
