//! From a plan to a build: joining, reusing, superseding, or a new one.

use sha2::{Digest as _, Sha256};

use super::decide::Source;
use super::draft::Draft;
use crate::access::{Subject, Trust};
use crate::build::{
    Build, BuildIdentity, BuildInput, BuildMetadata, BuildOutput, BuildSpec, BuildState, CheckRecord,
    CheckState, Requester, Trigger,
};
use crate::error::{Error, Result};
use crate::event::{CommitFacts, EventKind};
use crate::image::TagFacts;
use crate::name::{BuildId, DeliveryId, Tag};
use crate::policy::{Answer, Planned, RefKey, Standing};
use crate::provider::Commit;
use crate::service::{Component, GitSource, Supersede};
use crate::stage::{Progress, Stage};
use crate::store::EventRecord;

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
        // The same body under a new key is somebody pressing the host's Test button: they expect a build (K36).
        let nonce = if source.repeat { source.delivery.to_string() } else { String::new() };
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
        let order = self.next_order();
        let requester = Requester {
            scope: planned.scope.clone(),
            order,
            late: planned.standing == Standing::Late,
            delivery: asked.delivery.cloned(),
            subject: asked.subject.clone(),
            label: asked.label.clone(),
            superseded_by: None,
        };
        let known = if asked.nonce.is_empty() {
            self.newest_of(&identity)
        } else {
            self.build(&identity.id()).cloned()
        };
        let id = match known {
            Some(build) if !build.is_over() => self.join(build, requester),
            Some(build) if build.state == BuildState::Succeeded => self.reuse(build, requester)?,
            other => {
                if let Some(ended) = other {
                    identity.nonce = next_nonce(&ended);
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

    /// The newest build of the same content, whatever its nonce.
    fn newest_of(&self, identity: &BuildIdentity) -> Option<Build> {
        let mut known: Vec<&Build> =
            self.builds().filter(|build| build.identity.same_content(identity)).collect();
        // One that goes on or succeeded serves; of those that ended otherwise the last tells the next nonce.
        known.sort_by_key(|build| (!build.is_over() || build.state == BuildState::Succeeded, build.order));
        known.last().map(|build| (*build).clone())
    }

    fn join(&mut self, mut build: Build, requester: Requester) -> BuildId {
        let id = build.id.clone();
        self.log(&id, Stage::Setup, format!("Also asked for by {} ({})", requester.scope, requester.label));
        build.requesters.retain(|by| by.scope != requester.scope);
        build.requesters.push(requester);
        self.put_build(build);
        id
    }

    /// What succeeded before is not built again; where something else is live by now, it is released again.
    fn reuse(&mut self, mut build: Build, requester: Requester) -> Result<BuildId> {
        let id = build.id.clone();
        build.requesters.retain(|by| by.scope != requester.scope);
        build.requesters.push(requester.clone());
        self.put_build(build);
        self.release_again(&id, &requester)?;
        Ok(id)
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
        let facts = TagFacts {
            commit: &planned.commit,
            branch: planned.branch.as_ref(),
            tag: planned.tag.as_ref(),
            merge_request: planned.merge_request,
        };
        let target = service.settings.image.as_ref().ok_or_else(|| {
            Error::invalid("enqueue build", format!("service `{}` has no registry settings", service.name))
                .with_remedy("complete the registry settings of the service")
        })?;
        let image = target.image_of(component)?;
        let candidate = match target.candidate.fill(&facts) {
            Some(tag) => tag,
            // A candidate such as {branch} has no value for a tag push: the short commit id always has one.
            None => Tag::parse(planned.commit.short())?,
        };
        let trusted = planned.trust == Trust::Trusted;
        let output = if trusted {
            BuildOutput::Push { image: image.clone(), tag: candidate.clone() }
        } else {
            BuildOutput::Discard
        };
        // A merge request's image is not what is merged: only its own tag may move.
        let mut tags: Vec<Tag> = Vec::new();
        if trusted && !matches!(planned.scope, RefKey::MergeRequest(_)) && planned.standing != Standing::Late
        {
            tags.extend(
                target
                    .tags
                    .iter()
                    .filter_map(|template| template.fill(&facts))
                    .filter(|tag| *tag != candidate),
            );
            tags.sort();
            tags.dedup();
        }
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
            tags,
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
            git_committer_username: facts.author.clone().unwrap_or_default(),
            git_commit_message: message.unwrap_or_default().to_owned(),
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

/// The provider's word counts where it was asked: a payload may leave things out.
pub(super) fn fill(metadata: &mut BuildMetadata, commit: &Commit) {
    metadata.git_commit_message.clone_from(&commit.message);
    metadata.git_committer_username.clone_from(&commit.author);
    metadata.git_commit_timestamp = commit.timestamp.to_string();
    if let Some(url) = &commit.web_url {
        metadata.git_commit_url.clone_from(url);
    }
}

/// A payload's time as T10 wants it: UTC, ending in Z. What is no time is left as it is.
fn utc(text: &str) -> String {
    text.parse::<jiff::Timestamp>().map_or_else(|_| text.to_owned(), |time| time.to_string())
}

/// The nonce of the build after one that ended badly: a counter behind its own nonce.
fn next_nonce(ended: &Build) -> String {
    let nonce = &ended.identity.nonce;
    let (start, count) = match nonce.rsplit_once('#') {
        Some((start, count)) => (start, count.parse::<u32>().unwrap_or(0)),
        None => (nonce.as_str(), 0),
    };
    format!("{start}#{}", count + 1)
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
