//! Merge requests that come and go, and what must become of their previews.

use std::collections::BTreeMap;

use super::super::chaos::Draw;
use super::{BROKEN, World, owner};
use crate::build::{Build, BuildState, Requester};
use crate::engine::{Clock as _, Command, Driver};
use crate::event::{Actor, CommitFacts, Event, EventKind, MergeRequest, MergeRequestChange};
use crate::name::{CommitId, EnvironmentName, GitRef};
use crate::policy::{Preview, PreviewState, RefKey};
use crate::release::{Release, ReleaseState};
use crate::service::Previews;
use crate::store::{Store as _, Wants};

/// The merge requests of a world. They are drawn apart, so that worlds without any stay what they were.
#[derive(Debug)]
pub(super) struct Requests {
    draw: Draw,
    all: BTreeMap<u64, Request>,
}

#[derive(Debug, Clone)]
struct Request {
    head: CommitId,
    open: bool,
    /// Whether the newest of it was answered 2xx.
    told: bool,
    /// Whether somebody removed its preview, or deployed something to it.
    by_hand: bool,
}

impl Requests {
    pub(super) const fn of_seed(seed: u64) -> Self {
        Self { draw: Draw::new(seed ^ 0x7e91), all: BTreeMap::new() }
    }
}

pub(super) fn review() -> EnvironmentName {
    EnvironmentName::parse("review").expect("an environment")
}

pub(super) const AT_ONCE: u32 = 2;

pub(super) fn settings() -> Previews {
    Previews { at_once: AT_ONCE, hours: 1, ..Previews::after(review()) }
}

impl World {
    /// One thing that happens to one of three merge requests, in the order in which its host tells of it.
    pub(super) async fn step_of_requests(&mut self, driver: &Driver) {
        let number = 1 + self.requests.draw.below(3);
        let known = self.requests.all.get(&number).cloned();
        let change = match (&known, self.requests.draw.below(6)) {
            (None, _) => MergeRequestChange::Opened,
            (Some(Request { open: true, .. }), 0..=2) => MergeRequestChange::Code,
            (Some(Request { open: true, .. }), 3) => MergeRequestChange::Closed,
            (Some(Request { open: false, .. }), 0..=3) => MergeRequestChange::Reopened,
            (_, 4) => return self.by_hand_to_preview(driver, number).await,
            _ => return,
        };
        let by_hand = known.as_ref().is_some_and(|known| known.by_hand);
        let head = match (change, known) {
            (MergeRequestChange::Closed | MergeRequestChange::Reopened, Some(known)) => known.head,
            (_, known) => self.request_commit(known.map(|known| known.head)),
        };
        let told = self.tell_of_request(number, &head, change).await;
        let open = change != MergeRequestChange::Closed;
        self.requests.all.insert(number, Request { head, open, told, by_hand });
        driver.wake();
    }

    fn request_commit(&mut self, parent: Option<CommitId>) -> CommitId {
        let label = format!("mr-{}-{}", self.plan.seed, self.requests.draw.next());
        let message = if self.requests.draw.hits(100) { BROKEN } else { "change" };
        let head = self.git.commit(&label, parent.as_ref(), message, &[("Dockerfile", "FROM scratch")]);
        if self.requests.draw.hits(100) {
            self.deployer.make_unhealthy(&head);
        }
        head
    }

    async fn tell_of_request(&mut self, number: u64, head: &CommitId, change: MergeRequestChange) -> bool {
        let id = format!("mr-{number}-{}", self.requests.draw.next());
        let request = MergeRequest {
            number: Some(number),
            action: change.name().to_owned(),
            change,
            head: Some(head.clone()),
            abbreviated_head: None,
            previous_head: None,
            source_branch: format!("topic-{number}"),
            target_branch: "main".into(),
            head_ref: GitRef::parse(&format!("refs/merge-requests/{number}/head")).ok(),
            fork: false,
            source_repository: None,
            target_repository: None,
            draft: false,
            labels: Vec::new(),
            author_id: None,
            author_name: None,
            // No host sends the same body twice: it has times in it.
            title: Some(id.clone()),
            commit: CommitFacts::default(),
            commit_message: None,
        };
        let event = Event {
            repository: self.git.repository().clone(),
            actor: Some(Actor { id: None, name: "ada".into() }),
            kind: EventKind::MergeRequest(request),
        };
        let request = self.sender.request(&id, &[event], &self.secret, self.clock.now()).expect("a request");
        self.deliver(request).await
    }

    /// Somebody removes a preview, or deploys something to it.
    async fn by_hand_to_preview(&mut self, driver: &Driver, number: u64) {
        if let Some(request) = self.requests.all.get_mut(&number) {
            request.by_hand = true;
        }
        let command = match (self.requests.draw.below(2), self.some_build().await) {
            (0, _) => Command::RemovePreview { number },
            (_, Some(build)) => Command::DeployBuild {
                build: build.id,
                environment: review().preview_of(number),
                nonce: format!("p{}", self.requests.draw.next()),
            },
            (_, None) => return,
        };
        let _ = driver.command(&self.service, command, owner()).await;
    }

    async fn previews(&self) -> BTreeMap<u64, Preview> {
        let mut wants = Wants::of(self.service.clone());
        wants.refs.insert(RefKey::Previews);
        let view = self.store.view(&wants).await.expect("the memory store reads");
        view.refs.get(&RefKey::Previews).map(|state| state.previews.clone()).unwrap_or_default()
    }

    /// Whether none is on its way out, nor left of a request of which it was told that it is closed.
    pub(super) async fn previews_are_settled(&self) -> bool {
        let left = |number: &u64| self.requests.all.get(number).is_some_and(|of| !of.open && of.told);
        self.previews().await.iter().all(|(number, of)| of.state == PreviewState::Open && !left(number))
    }

    /// A request that is open has no preview: nothing was built of its head, its time was over, or somebody took the release back.
    fn check_missing(&self, seed: u64, number: u64, head: &CommitId, builds: &[Build], releases: &[Release]) {
        let wants = |build: &&Build| {
            let asked = |by: &Requester| by.scope == RefKey::MergeRequest(number) && !by.late;
            *build.commit() == *head
                && build.state == BuildState::Succeeded
                && build.requesters.iter().any(asked)
        };
        let Some(build) = builds.iter().find(wants) else { return };
        let of_preview = |release: &&Release| release.target.preview == Some(number);
        let newest = releases.iter().filter(of_preview).max_by_key(|release| release.order);
        let expired = |release: &Release| {
            let last = release.deploy_started_at.unwrap_or(release.created_at);
            self.clock.now().duration_since(last) >= settings().kept()
        };
        let explained = newest.is_some_and(|release| {
            release.commit.as_ref() == Some(head)
                && (expired(release) || matches!(release.state, ReleaseState::Canceled { .. }))
        });
        assert!(
            explained,
            "seed {seed}: request {number} is open, {} succeeded, and it has no preview",
            build.id
        );
    }

    /// What runs in previews is what is noted, and nothing runs in one that is gone; and who should have one has one.
    pub(super) async fn check_previews(&self, seed: u64, builds: &[Build], releases: &[Release]) {
        let previews = self.previews().await;
        // With as many requests as there may be previews none was ever refused for want of a place.
        let room = self.requests.all.len() <= AT_ONCE as usize;
        for (number, request) in self.requests.all.iter().filter(|_| room) {
            if request.open && request.told && !request.by_hand && !previews.contains_key(number) {
                self.check_missing(seed, *number, &request.head, builds, releases);
            }
        }
        assert!(previews.len() <= AT_ONCE as usize, "seed {seed}: there are {} previews", previews.len());
        for release in releases {
            let Some(number) = release.target.preview else { continue };
            let noted =
                self.store.lane(&self.service, &release.lane()).await.expect("the memory store reads");
            let running = self.deployer.live(&release.target);
            if !previews.contains_key(&number) {
                assert!(
                    noted.is_none(),
                    "seed {seed}: something is noted as live in preview {number}, which is gone"
                );
                assert!(running.is_none(), "seed {seed}: something runs in preview {number}, which is gone");
            }
            if let Some(noted) = noted.filter(|noted| !noted.unsure) {
                let running = running.expect("what is noted runs");
                assert_eq!(running.images, noted.images, "seed {seed}: preview {number} runs something else");
            }
        }
    }
}
