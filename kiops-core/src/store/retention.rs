//! What retention has to know of all services.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::{Page, Store, Wants};
use crate::error::Result;
use crate::image::ImageUse;
use crate::name::{ContainerName, Digest, PinnedImage, ServiceName};
use crate::policy::RefKey;
use crate::release::{Lane, LaneState, ReleaseState, Revision};

/// How much is read at once.
const PAGE: u32 = 200;

/// Which images of all services are in use, and when each was built: what [`plan_retention`](crate::image::plan_retention) needs
/// besides the registry's tags.
///
/// - In use is what is live in any lane, what a release that is not over brings, what was applied after what is live and failed, and
///   what was live before: `back` different sets of images for each lane. 1 is enough for "one back"; take as many as people go
///   back by hand.
///   Of a preview that was removed nothing is in use.
/// - So is what a build that is not over has pushed. What running builds stand on (`FROM`) no record tells.
/// - A digest counts as built when the last build that made it ended.
///
/// Reads every build and release once, in pages: for a task that runs now and then. What is stored meanwhile may be in or not; a
/// digest that only a newer build made is of unknown age then, and stays.
///
/// # Errors
/// Those of the store: of what is known by halves nothing may be deleted.
pub async fn image_use(store: &dyn Store, back: usize) -> Result<ImageUse> {
    let mut used = ImageUse::default();
    let mut page = Page::first(PAGE);
    loop {
        let services = store.services(page).await?;
        for service in &services.items {
            of_service(store, &service.value.name, back, &mut used).await?;
        }
        if !next(&mut page, services.items.len()) {
            break;
        }
    }
    let mut page = Page::first(PAGE);
    let (mut live, mut made) = (BTreeSet::new(), BTreeMap::<_, BTreeSet<Digest>>::new());
    loop {
        let builds = store.builds(None, page).await?;
        for build in &builds.items {
            let what = (build.service().clone(), build.component().clone(), build.commit().clone());
            let Some(digest) = &build.digest else {
                if !build.is_over() {
                    live.insert(what);
                }
                continue;
            };
            made.entry(what).or_default().insert(digest.clone());
            if !build.is_over() {
                used.building.insert(digest.clone());
            } else if let Some(at) = build.finished_at {
                let built = used.built.entry(digest.clone()).or_insert(at);
                *built = at.max(*built);
            }
        }
        if !next(&mut page, builds.items.len()) {
            break;
        }
    }
    // A build that goes on may just be pushing what an earlier one of its commit made, and tells its digest at its end only.
    used.building.extend(live.iter().filter_map(|what| made.remove(what)).flatten());
    Ok(used)
}

async fn of_service(store: &dyn Store, name: &ServiceName, back: usize, used: &mut ImageUse) -> Result<()> {
    let mut lanes: BTreeMap<Lane, Vec<Applied>> = BTreeMap::new();
    let mut page = Page::first(PAGE);
    loop {
        let releases = store.releases(Some(name), page).await?;
        for release in &releases.items {
            if !release.is_over() {
                used.deployed.extend(digests(&release.images));
            }
            if let Some(revision) = release.revision {
                let (images, went_live) = (digests(&release.images), release.state == ReleaseState::Live);
                let preview = release.target.preview;
                lanes.entry(release.lane()).or_default().push(Applied {
                    revision,
                    images,
                    went_live,
                    preview,
                });
            }
        }
        if !next(&mut page, releases.items.len()) {
            break;
        }
    }
    // Read after the releases: what became live meanwhile is not missed.
    let mut wants = Wants::of(name.clone());
    wants.refs.insert(RefKey::Previews);
    let mut view = store.view(&wants).await?;
    let previews = view.refs.remove(&RefKey::Previews).unwrap_or_default().previews;
    used.deployed.extend(view.releases.values().flat_map(|release| digests(&release.images)));
    used.deployed.extend(view.lanes.iter().flat_map(|live| digests(&live.images)));
    for (lane, applied) in &mut lanes {
        // Of a preview that was removed nothing is wanted back.
        let is_there =
            |number: u64| previews.get(&number).is_some_and(|of| of.environment == lane.environment);
        applied.retain(|one| one.preview.is_none_or(is_there));
    }
    for (lane, applied) in lanes {
        let live = view.lanes.iter().find(|live| live.lane == lane);
        used.deployed.extend(wanted_back(applied, live, back));
    }
    Ok(())
}

/// A release that the runtime has, or had.
struct Applied {
    revision: Revision,
    images: BTreeSet<Digest>,
    went_live: bool,
    /// The merge request of the preview that it went to.
    preview: Option<u64>,
}

/// What a lane may still run, and what it goes back to. Where nothing is noted as live, that is all it was ever told to run.
fn wanted_back(mut applied: Vec<Applied>, live: Option<&LaneState>, back: usize) -> BTreeSet<Digest> {
    applied.sort_by_key(|one| Reverse(one.revision));
    let Some(live) = live else { return applied.into_iter().flat_map(|one| one.images).collect() };
    let mut wanted = BTreeSet::new();
    let mut sets = vec![digests(&live.images)];
    for one in applied {
        if one.revision > live.revision {
            wanted.extend(one.images);
        } else if one.went_live && sets.len() <= back && !sets.contains(&one.images) {
            sets.push(one.images);
        }
    }
    wanted.extend(sets.into_iter().flatten());
    wanted
}

fn next(page: &mut Page, found: usize) -> bool {
    page.offset += found as u64;
    found > 0
}

fn digests(images: &BTreeMap<ContainerName, PinnedImage>) -> BTreeSet<Digest> {
    images.values().map(|image| image.digest.clone()).collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::build::tests::{at, finish, queued, started, success};
    use crate::build::{Build, BuildState};
    use crate::name::EnvironmentName;
    use crate::policy::{Preview, PreviewState, RefState};
    use crate::release::Release;
    use crate::release::tests::{image, images, pending};
    use crate::service::Service;
    use crate::stage::{Failure, FailureKind, Stage};
    use crate::store::{Changes, MemoryStore};

    fn service(name: &str) -> Service {
        let settings = serde_json::from_str("{}").unwrap();
        let source = serde_json::from_str(r#"{"type": "image"}"#).unwrap();
        Service { name: ServiceName::parse(name).unwrap(), source, settings }
    }

    /// A release of the service `app` that was applied as this revision.
    fn release(revision: u64, content: &str, state: ReleaseState) -> Release {
        let id = crate::name::ReleaseId::derive([content, &revision.to_string()]);
        let revision = (revision > 0).then_some(Revision(revision));
        Release { id, images: images(content), state, revision, ..pending() }
    }

    fn live(release: &Release) -> LaneState {
        LaneState {
            lane: release.lane(),
            release: release.id.clone(),
            revision: release.revision.unwrap(),
            order: release.order,
            commit: release.commit.clone(),
            told: BTreeMap::new(),
            unsure: false,
            images: release.images.clone(),
        }
    }

    fn failed() -> ReleaseState {
        ReleaseState::Failed(Failure::new(Stage::Deploy, FailureKind::RolloutFailed, "no"))
    }

    fn nothing(expect: u64) -> Changes {
        Changes {
            service: service("app").name,
            expect,
            order: 1,
            builds: Vec::new(),
            releases: Vec::new(),
            refs: Vec::new(),
            lanes: Vec::new(),
            gone_lanes: Vec::new(),
            delivery: None,
            free_slots: Vec::new(),
            take_slots: Vec::new(),
            cancel_work: Vec::new(),
            work: Vec::new(),
            events: Vec::new(),
        }
    }

    async fn store(builds: Vec<Build>, releases: Vec<Release>, lanes: Vec<LaneState>) -> MemoryStore {
        let store = MemoryStore::new();
        let service = service("app");
        store.put_service(&service, None, at(0)).await.unwrap();
        let changes = Changes { builds, releases, lanes, ..nothing(0) };
        store.save(&changes, None).await.unwrap();
        store
    }

    fn of(content: &[&str]) -> BTreeSet<Digest> {
        content.iter().map(|content| image(content).digest).collect()
    }

    #[tokio::test]
    async fn what_is_live_what_comes_and_what_was_live_before_is_in_use() {
        let releases = vec![
            release(1, "ancient", ReleaseState::Live),
            release(2, "before", ReleaseState::Live),
            release(
                3,
                "bad",
                ReleaseState::RolledBack(Failure::new(Stage::Deploy, FailureKind::RolloutFailed, "")),
            ),
            release(4, "live", ReleaseState::Live),
            release(5, "live", ReleaseState::Live),
            release(6, "stuck", failed()),
            release(0, "waiting", ReleaseState::AwaitingApproval),
            release(0, "refused", ReleaseState::Rejected { by: "ada".into() }),
        ];
        let lanes = vec![live(&releases[4])];
        let store = store(Vec::new(), releases, lanes).await;
        let deployed = image_use(&store, 1).await.unwrap().deployed;
        assert_eq!(deployed, of(&["live", "before", "stuck", "waiting"]));
    }

    #[tokio::test]
    async fn one_may_go_back_as_far_as_it_was_asked_for() {
        for (back, expected) in
            [(0, &["c"][..]), (1, &["c", "b"]), (2, &["c", "b", "a"]), (9, &["c", "b", "a"])]
        {
            let releases = vec![
                release(1, "a", ReleaseState::Live),
                release(2, "b", ReleaseState::Live),
                release(3, "b", ReleaseState::Live),
                release(4, "c", ReleaseState::Live),
            ];
            let lanes = vec![live(&releases[3])];
            let store = store(Vec::new(), releases, lanes).await;
            assert_eq!(image_use(&store, back).await.unwrap().deployed, of(expected), "{back}");
        }
    }

    #[tokio::test]
    async fn where_nothing_is_live_all_that_was_applied_may_still_run() {
        let releases = vec![release(1, "a", failed()), release(2, "b", failed()), release(0, "c", failed())];
        let store = store(Vec::new(), releases, Vec::new()).await;
        assert_eq!(image_use(&store, 1).await.unwrap().deployed, of(&["a", "b"]));
    }

    #[tokio::test]
    async fn of_a_preview_only_what_is_there_is_in_use() {
        let mut releases = vec![release(1, "preview", ReleaseState::Live), release(2, "dev", failed())];
        releases[0].target.environment = EnvironmentName::parse("review-mr-7").unwrap();
        releases[0].target.preview = Some(7);
        let target = releases[0].target.clone();
        let store = store(Vec::new(), releases, Vec::new()).await;
        assert_eq!(image_use(&store, 1).await.unwrap().deployed, of(&["dev"]), "it was removed");
        let preview = Preview {
            environment: target.environment.clone(),
            runtime: "here".into(),
            namespace: target.namespace.clone(),
            targets: [(target.component.clone(), target.target)].into(),
            state: PreviewState::Open,
            until: at(0),
            problem: None,
        };
        let state = RefState { previews: [(7, preview)].into(), ..RefState::default() };
        let changes = Changes { refs: vec![(RefKey::Previews, state)], ..nothing(1) };
        store.save(&changes, None).await.unwrap();
        assert_eq!(
            image_use(&store, 1).await.unwrap().deployed,
            of(&["dev", "preview"]),
            "it was told to run"
        );
    }

    #[tokio::test]
    async fn a_digest_is_as_old_as_the_last_build_that_made_it_and_in_use_while_one_runs() {
        let build = |nonce: &str, ended: Option<Timestamp>, content: &str| {
            let mut build = started(queued());
            finish(&mut build, success(), 5);
            build.identity.nonce = nonce.into();
            build.id = build.identity.id();
            build.digest = Some(image(content).digest);
            build.finished_at = ended;
            if ended.is_none() {
                build.state = BuildState::Running(crate::build::Step::Promote);
            }
            build
        };
        let builds = vec![
            build("1", Some(at(100)), "a"),
            build("2", Some(at(50)), "a"),
            build("3", Some(at(70)), "b"),
            build("4", None, "b"),
            build("5", None, "c"),
        ];
        let used = image_use(&store(builds, Vec::new(), Vec::new()).await, 1).await.unwrap();
        assert_eq!(used.building, of(&["b", "c"]));
        let digest = |content: &str| image(content).digest;
        assert_eq!(used.built, [(digest("a"), at(100)), (digest("b"), at(70))].into());
    }

    #[tokio::test]
    async fn what_an_earlier_build_of_the_commit_made_is_in_use_while_another_one_goes_on() {
        let mut done = started(queued());
        finish(&mut done, success(), 5);
        let mut again = started(queued());
        again.identity.nonce = "again".into();
        again.id = again.identity.id();
        assert_eq!(again.digest, None);
        let digest = done.digest.clone().unwrap();
        let used = image_use(&store(vec![done, again], Vec::new(), Vec::new()).await, 1).await.unwrap();
        assert_eq!(used.building, [digest].into());
    }
}
