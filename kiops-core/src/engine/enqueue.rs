//! From a plan to a build: joining, reusing, superseding, or a new one.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use super::draft::Draft;
use crate::access::{Subject, Trust};
use crate::build::{
    Build, BuildIdentity, BuildInput, BuildMetadata, BuildOutput, BuildSpec, BuildState, CheckRecord,
    CheckState, Requester, Step, Trigger,
};
use crate::effect::Effect;
use crate::error::{Error, Result};
use crate::event::{CommitFacts, EventKind};
use crate::image::TagFacts;
use crate::name::{BuildId, DeliveryId, Tag};
use crate::policy::{Answer, Planned, RefKey, Standing};
use crate::provider::Commit;
use crate::service::{Component, GitSource, ImageTarget, Supersede};
use crate::stage::{Progress, Stage};
use crate::store::EventRecord;

/// Where a plan comes from.
pub(super) struct Source<'a> {
    pub(super) delivery: &'a DeliveryId,
    pub(super) repeat: bool,
    pub(super) trigger: Trigger,
    pub(super) subject: &'a Subject,
}

/// Who asks for a build, and what is known of its commit.
pub(super) struct Asked<'a> {
    pub(super) trigger: Trigger,
    pub(super) delivery: Option<&'a DeliveryId>,
    pub(super) subject: &'a Subject,
    pub(super) label: String,
    /// Not empty for what must be a build of its own.
    pub(super) nonce: String,
    pub(super) metadata: BuildMetadata,
}

impl Draft<'_> {
    /// Enqueues what an event planned.
    pub(super) fn enqueue(
        &mut self,
        planned: &Planned,
        source: &Source<'_>,
        record: &EventRecord,
    ) -> Result<BuildId> {
        let actor = record.event.actor.as_ref();
        let label = actor.map_or_else(|| source.subject.label().to_owned(), |actor| actor.name.clone());
        // The same body under a new key is somebody pressing the host's Test button: they expect a build (K36). Where it moves
        // the ref, it went elsewhere meanwhile, and this is a push that only reads like an earlier one.
        let pressed = source.repeat && planned.standing != Standing::Newest;
        let nonce = if pressed { source.delivery.to_string() } else { String::new() };
        let asked = Asked {
            trigger: source.trigger,
            delivery: Some(source.delivery),
            subject: source.subject,
            label,
            nonce,
            metadata: self.metadata(planned, record),
        };
        self.enqueue_asked(planned, asked)
    }

    pub(super) fn enqueue_asked(&mut self, planned: &Planned, asked: Asked<'_>) -> Result<BuildId> {
        let service = self.service();
        let (Some(git), Some(component)) =
            (service.source.git(), service.settings.component(&planned.component))
        else {
            return Err(Error::not_found("enqueue build", format!("no component `{}`", planned.component)));
        };
        let mut identity = BuildIdentity {
            service: service.name.clone(),
            component: component.name.clone(),
            commit: planned.commit.clone(),
            settings: self.settings_digest(component),
            trust: planned.trust,
            nonce: asked.nonce.clone(),
        };
        if !asked.nonce.is_empty() && self.build(&identity.id()).is_some() {
            // The same request once more.
            return Ok(identity.id());
        }
        let order = self.next_order();
        let requester = Requester {
            scope: planned.scope.clone(),
            order,
            late: planned.standing == Standing::Late,
            delivery: asked.delivery.cloned(),
            subject: asked.subject.clone(),
            label: asked.label.clone(),
            superseded_by: None,
            tags: self.tags(planned)?,
        };
        let known = if asked.nonce.is_empty() { self.serving(&identity) } else { None };
        let id = match known {
            Some(build) if !build.is_over() => self.join(build, requester, planned),
            Some(build) => self.reuse(build, requester, planned),
            None => {
                if asked.nonce.is_empty() {
                    identity.nonce = self.next_nonce(&identity);
                }
                let build = self.new_build(git, component, planned, identity, requester, &asked)?;
                let id = build.id.clone();
                self.log(&id, Stage::Setup, format!("Triggered by {}", asked.trigger.title()));
                self.put_build(build);
                id
            }
        };
        if planned.standing != Standing::Late {
            self.supersede_older(planned, &id, order)?;
            self.note_newest(&planned.scope, component, &id);
        }
        Ok(id)
    }

    /// The newest build of the same content that goes on or succeeded, whatever its nonce.
    fn serving(&self, identity: &BuildIdentity) -> Option<Build> {
        self.builds()
            .filter(|build| build.identity.same_content(identity))
            .filter(|build| !build.is_over() || build.state == BuildState::Succeeded)
            .max_by_key(|build| build.order)
            .cloned()
    }

    /// The nonce of the next build by itself: empty for the first, then a counter over those that ended badly.
    fn next_nonce(&self, identity: &BuildIdentity) -> String {
        let mut identity = identity.clone();
        let mut count = 0_u64;
        while self.build(&identity.id()).is_some() {
            count += 1;
            identity.nonce = format!("#{count}");
        }
        identity.nonce
    }

    fn join(&mut self, mut build: Build, requester: Requester, planned: &Planned) -> BuildId {
        let id = build.id.clone();
        self.log(&id, Stage::Setup, format!("Also asked for by {} ({})", requester.scope, requester.label));
        let more_tags = build.add_requester(requester);
        name_refs(&mut build, planned);
        if more_tags && build.state == BuildState::Running(Step::Promote) {
            self.ask_for(Effect::Promote { build: id.clone() });
        }
        self.put_build(build);
        id
    }

    /// What succeeded before is not built again; where something else is live by now, it is released again.
    fn reuse(&mut self, mut build: Build, requester: Requester, planned: &Planned) -> BuildId {
        let id = build.id.clone();
        if build.add_requester(requester.clone()) && build.image().is_some() {
            self.log(&id, Stage::Promote, build.promote_line());
            self.ask_for(Effect::Promote { build: id.clone() });
        }
        name_refs(&mut build, planned);
        self.put_build(build);
        if !requester.late && !matches!(requester.scope, RefKey::Manual(_)) {
            let mut state = self.ref_state(&requester.scope);
            state.covered.insert(planned.component.clone(), planned.commit.clone());
            self.put_ref(requester.scope.clone(), state);
        }
        self.release_again(&id, &requester);
        id
    }

    /// The tags that stage `release` moves for this plan. A merge request's image is not what is merged, and what came late
    /// is not the newest: they move none.
    fn tags(&self, planned: &Planned) -> Result<Vec<Tag>> {
        let moves = planned.trust == Trust::Trusted
            && planned.standing != Standing::Late
            && !matches!(planned.scope, RefKey::MergeRequest(_));
        let Some(target) = self.service().settings.image.as_ref().filter(|_| moves) else {
            return Ok(Vec::new());
        };
        let (facts, candidate) = (tag_facts(planned), candidate(target, planned)?);
        let filled = target.tags.iter().filter_map(|template| template.fill(&facts));
        let tags: BTreeSet<Tag> = filled.filter(|tag| *tag != candidate).collect();
        Ok(tags.into_iter().collect())
    }

    fn new_build(
        &self,
        git: &GitSource,
        component: &Component,
        planned: &Planned,
        identity: BuildIdentity,
        requester: Requester,
        asked: &Asked<'_>,
    ) -> Result<Build> {
        let service = self.service();
        let target = service.settings.image.as_ref().ok_or_else(|| {
            Error::invalid("enqueue build", format!("service `{}` has no registry settings", service.name))
                .with_remedy("complete the registry settings of the service")
        })?;
        let trusted = planned.trust == Trust::Trusted;
        let output = if trusted {
            BuildOutput::Push { image: target.image_of(component)?, tag: candidate(target, planned)? }
        } else {
            BuildOutput::Discard
        };
        let id = identity.id();
        let spec = BuildSpec {
            build: id.clone(),
            service: service.name.clone(),
            component: component.name.clone(),
            provider: git.provider.clone(),
            repository: git.repository.clone(),
            commit: planned.commit.clone(),
            git_ref: planned.git_ref.clone(),
            context: component.context().to_owned(),
            dockerfile: component.dockerfile_path(),
            target: component.target.clone(),
            build_args: component.build_args.clone(),
            secrets: if trusted { component.build_secrets.clone() } else { Default::default() },
            labels: labels(&asked.metadata),
            metadata: asked.metadata.clone(),
            output,
        };
        let checks = service.settings.checks.iter().map(|spec| CheckRecord {
            spec: without_secrets(spec.clone(), trusted),
            state: CheckState::Waiting,
            lost: 0,
            attempt: 0,
            findings: None,
        });
        Ok(Build {
            id,
            identity,
            spec,
            trigger: asked.trigger,
            branch: planned.branch.as_ref().map(ToString::to_string),
            tag: planned.tag.as_ref().map(ToString::to_string),
            order: requester.order,
            tags: requester.tags.clone(),
            requesters: vec![requester],
            state: BuildState::Queued,
            progress: Progress::START,
            attempt: 0,
            executor: None,
            refused_by: Vec::new(),
            lost: 0,
            lost_by_us: 0,
            not_before: None,
            timers: service.settings.timers.clone(),
            checks: checks.collect(),
            live_checks: None,
            digest: None,
            release: None,
            created_at: self.now,
            started_at: None,
            run_started_at: None,
            last_sign: None,
            warned: false,
            finished_at: None,
            armed: None,
        })
    }

    /// Older builds of the same scope and component give way, as the settings say.
    fn supersede_older(&mut self, planned: &Planned, by: &BuildId, order: u64) -> Result<()> {
        let supersede = self.service().settings.auto_ci.supersede;
        if supersede == Supersede::Never || matches!(planned.scope, RefKey::Manual(_)) {
            return Ok(());
        }
        let older: Vec<BuildId> = self
            .builds()
            .filter(|build| !build.is_over() && build.id != *by && *build.component() == planned.component)
            .filter(|build| {
                build.requesters.iter().any(|other| other.scope == planned.scope && other.order < order)
            })
            .map(|build| build.id.clone())
            .collect();
        for id in older {
            let input = BuildInput::Supersede {
                scope: planned.scope.clone(),
                by: by.clone(),
                running: supersede == Supersede::Running,
            };
            self.apply_build(&id, input)?;
        }
        Ok(())
    }

    /// A build whose run was lost waits again, and what waits gives way to what is newer: otherwise a process that is ended again and
    /// again would run it again and again, beside the newer one.
    pub(super) fn give_way(&mut self, id: &BuildId) -> Result<()> {
        if self.service().settings.auto_ci.supersede == Supersede::Never {
            return Ok(());
        }
        let Some(build) = self.build(id).cloned() else { return Ok(()) };
        for requester in build.requesters.iter().filter(|by| by.superseded_by.is_none()) {
            let newer = |other: &&Build| {
                let is_newer = |by: &Requester| {
                    by.scope == requester.scope
                        && by.order > requester.order
                        && by.superseded_by.is_none()
                        && !by.late
                };
                !other.is_over()
                    && other.id != build.id
                    && other.component() == build.component()
                    && other.requesters.iter().any(is_newer)
            };
            let newest = self.builds().filter(newer).max_by_key(|other| other.order);
            if let Some(by) = newest.map(|newest| newest.id.clone()) {
                let scope = requester.scope.clone();
                self.apply_build(id, BuildInput::Supersede { scope, by, running: false })?;
            }
        }
        Ok(())
    }

    fn note_newest(&mut self, scope: &RefKey, component: &Component, build: &BuildId) {
        if matches!(scope, RefKey::Manual(_)) {
            return;
        }
        let mut state = self.ref_state(scope);
        state.newest_build.insert(component.name.clone(), build.clone());
        self.put_ref(scope.clone(), state);
    }

    /// A digest over every setting that changes what is made.
    fn settings_digest(&self, component: &Component) -> String {
        let settings = &self.service().settings;
        let parts = serde_json::json!({
            "path": component.context(),
            "dockerfile": component.dockerfile_path(),
            "target": component.target,
            "args": component.build_args,
            "secrets": component.build_secrets,
            "image": settings.image,
            "component_image": component.image,
            "checks": settings.checks,
        });
        crate::name::hex(&Sha256::digest(parts.to_string().as_bytes())[..8])
    }

    fn metadata(&self, planned: &Planned, record: &EventRecord) -> BuildMetadata {
        let none = CommitFacts::default();
        let (facts, message) = match &record.event.kind {
            EventKind::Push(push) => (&push.commit, push.message.as_deref()),
            EventKind::Tag(tag) => (&tag.commit, tag.message.as_deref()),
            EventKind::MergeRequest(request) => {
                (&request.commit, request.commit_message.as_deref().or(request.title.as_deref()))
            }
            EventKind::Pipeline(pipeline) => (&pipeline.commit, pipeline.message.as_deref()),
            _ => (&none, None),
        };
        let told = record.answers.iter().find_map(|answered| match &answered.answer {
            Some(Answer::Commit(Some(commit))) if commit.id == planned.commit => Some(commit),
            _ => None,
        });
        let mut metadata = BuildMetadata {
            git_committer_username: bounded(facts.author.as_deref().unwrap_or_default(), NAME_MAX),
            git_commit_message: bounded(message.unwrap_or_default(), MESSAGE_MAX),
            git_commit_timestamp: facts.timestamp.as_deref().map(utc).unwrap_or_default(),
            git_commit_url: facts.url.clone().unwrap_or_default(),
            ..self.metadata_of(planned)
        };
        if let Some(commit) = told {
            fill(&mut metadata, commit);
        }
        metadata
    }

    pub(super) fn metadata_of(&self, planned: &Planned) -> BuildMetadata {
        let branch = planned.branch.as_ref().map(ToString::to_string);
        BuildMetadata {
            git_repo: self.service().source.git().map(|git| git.repository.path.clone()).unwrap_or_default(),
            git_branch: branch.or_else(|| planned.tag.as_ref().map(ToString::to_string)).unwrap_or_default(),
            git_revision: planned.commit.to_string(),
            ..BuildMetadata::default()
        }
    }
}

/// How much of a commit's message a build keeps, in bytes: it is stored anew with every step of the build, and Linux starts no
/// program with a variable of 128 KiB.
const MESSAGE_MAX: usize = 16 * 1024;

/// The same for a person's name.
const NAME_MAX: usize = 256;

/// What a pusher wrote, as a variable can hold it: at most `max` bytes and what says that there was more, no NUL.
fn bounded(text: &str, max: usize) -> String {
    let mut kept = text[..text.floor_char_boundary(max)].replace('\0', "");
    if text.len() > max {
        kept.push_str("... [cut]");
    }
    kept
}

/// The provider's word counts where it was asked: a payload may leave things out.
pub(super) fn fill(metadata: &mut BuildMetadata, commit: &Commit) {
    metadata.git_commit_message = bounded(&commit.message, MESSAGE_MAX);
    metadata.git_committer_username = bounded(&commit.author, NAME_MAX);
    metadata.git_commit_timestamp = commit.timestamp.to_string();
    if let Some(url) = &commit.web_url {
        metadata.git_commit_url.clone_from(url);
    }
}

/// A payload's time as T10 wants it: UTC, ending in Z. What is no time is left as it is.
fn utc(text: &str) -> String {
    text.parse::<jiff::Timestamp>().map_or_else(|_| text.to_owned(), |time| time.to_string())
}

const fn tag_facts(planned: &Planned) -> TagFacts<'_> {
    TagFacts {
        commit: &planned.commit,
        branch: planned.branch.as_ref(),
        tag: planned.tag.as_ref(),
        merge_request: planned.merge_request,
    }
}

/// The tag that stage Push writes.
fn candidate(target: &ImageTarget, planned: &Planned) -> Result<Tag> {
    match target.candidate.fill(&tag_facts(planned)) {
        Some(tag) => Ok(tag),
        // A candidate such as {branch} has no value for a tag push: the short commit id always has one.
        None => Ok(Tag::parse(planned.commit.short())?),
    }
}

/// A build names the first branch and the first Git tag that it was asked for by.
fn name_refs(build: &mut Build, planned: &Planned) {
    if build.branch.is_none() {
        build.branch = planned.branch.as_ref().map(ToString::to_string);
    }
    if build.tag.is_none() {
        build.tag = planned.tag.as_ref().map(ToString::to_string);
    }
}

/// A fork's build gets no secrets, its checks neither.
fn without_secrets(mut check: crate::service::CheckSpec, trusted: bool) -> crate::service::CheckSpec {
    if !trusted {
        check.secrets.clear();
    }
    check
}

/// The OCI annotations that an image carries as labels.
fn labels(metadata: &BuildMetadata) -> std::collections::BTreeMap<String, String> {
    [
        ("org.opencontainers.image.revision", &metadata.git_revision),
        ("org.opencontainers.image.source", &metadata.git_repo),
        ("org.opencontainers.image.version", &metadata.git_branch),
        ("org.opencontainers.image.created", &metadata.git_commit_timestamp),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| (name.to_owned(), value.clone()))
    .collect()
}
