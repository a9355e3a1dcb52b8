//! What people ask of the driver: commands, with what must be looked up before the engine can judge them.

use std::collections::{BTreeMap, BTreeSet};

use super::Driver;
use crate::access::{Protection, Role, Subject};
use crate::build::Trigger;
use crate::engine::command::Command;
use crate::engine::reply::Reply;
use crate::engine::step::{Input, explain};
use crate::engine::trigger::TriggerCall;
use crate::error::{Error, ErrorKind, Result};
use crate::name::{
    BuildId, CommitId, ComponentName, DeliveryId, EnvironmentName, GitRef, MemberId, ReleaseId, ServiceName,
};
use crate::policy::{Decision, Preview, Question};
use crate::provider::{Commit, GitProvider, Relation, Search};
use crate::release::{DeployTarget, Live, Revision};
use crate::service::{Environment, GitSource, Service, Settings, Source};

/// What a call of the API trigger led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Triggered {
    /// These builds, new or found.
    Builds(Vec<BuildId>),
    /// None, and why: nothing is wrong with the call.
    Skipped(String),
}

impl Driver {
    /// Carries a command out as one change, or says why not. See [`crate::engine::step`] for the kinds of error.
    ///
    /// Images that are to be deployed are looked for first, where the driver has a registry for their host. `Conflict`: the
    /// registry does not have one; `Unavailable` and the like: it cannot be asked. A rollback goes on without the answer.
    pub async fn command(&self, service: &ServiceName, command: Command, by: Subject) -> Result<Reply> {
        self.shared.check_images(service, &command, &by).await?;
        self.shared.step(service, Input::Command { command, by }, None).await
    }

    /// Builds the newest commit of the tracked branch (T12). `nonce` tells the request from every other: repeating it with
    /// the same one finds the same builds.
    pub async fn build_newest(
        &self,
        service: &ServiceName,
        component: Option<ComponentName>,
        trigger: Trigger,
        nonce: String,
        by: Subject,
    ) -> Result<Vec<BuildId>> {
        let known = self.service(service).await?;
        let Source::Git(git) = &known.source else {
            return Err(Error::invalid(
                "build",
                format!("`{service}` is an image service: there is nothing to build"),
            )
            .with_remedy("deploy its images instead"));
        };
        let git_ref = GitRef::Branch(git.branch.clone());
        let commit = self.commit_at(git, &git_ref, None).await?;
        self.build(
            service,
            Command::Build { component, git_ref, commit: Box::new(commit), trigger, nonce },
            by,
        )
        .await
    }

    /// Builds what a call of the API trigger asks for (R04). `nonce` stands for the call where it has no idempotency key.
    pub async fn trigger(&self, call: TriggerCall, nonce: String) -> Result<Triggered> {
        let TriggerCall { service, git_ref, commit, idempotency_key } = call;
        let known = self.service(&service).await?;
        let auto_ci = &known.settings.auto_ci;
        let skipped = |why: &str| Ok(Triggered::Skipped(why.to_owned()));
        if !auto_ci.enabled {
            return skipped("Auto CI is off");
        }
        if !auto_ci.api.enabled {
            return skipped("the API trigger is off");
        }
        let Source::Git(git) = &known.source else {
            return skipped("an image service has nothing to build");
        };
        let git_ref = git_ref.unwrap_or_else(|| GitRef::Branch(git.branch.clone()));
        let commit = self.commit_at(git, &git_ref, commit.as_ref()).await?;
        if let Some(keyword) = auto_ci.keyword.as_deref().filter(|keyword| !commit.message.contains(keyword))
        {
            return Ok(Triggered::Skipped(format!("the commit's message lacks `{keyword}`")));
        }
        let nonce = idempotency_key.map_or(nonce, |key| format!("api-{key}"));
        let (trigger, commit) = (Trigger::Api, Box::new(commit));
        let command = Command::Build { component: None, git_ref, commit, trigger, nonce };
        let by = Subject::new(MemberId::parse("api-trigger")?, Role::Member);
        self.build(&service, command, by).await.map(Triggered::Builds)
    }

    async fn build(&self, service: &ServiceName, command: Command, by: Subject) -> Result<Vec<BuildId>> {
        match self.command(service, command, by).await? {
            Reply::Builds(builds) => Ok(builds),
            other => Err(Error::internal("build", format!("unexpected reply {other:?}"))),
        }
    }

    /// The newest commit of a ref, or a given one that the ref has: hosts show the commits of forks in every repository of their network.
    pub(super) async fn commit_at(
        &self,
        git: &GitSource,
        git_ref: &GitRef,
        wanted: Option<&CommitId>,
    ) -> Result<Commit> {
        let provider = self.shared.adapters.provider(&git.provider)?;
        let Some(head) = provider.head(&git.repository, git_ref).await? else {
            return Err(match git_ref {
                GitRef::Branch(branch) if *branch == git.branch => no_branch(provider.as_ref(), git).await,
                _ => Error::not_found("build", format!("the repository has no `{git_ref}`")),
            });
        };
        let id = wanted.unwrap_or(&head);
        if *id != head {
            let elsewhere = || {
                Error::conflict("build", format!("commit {id} is not on `{git_ref}`"))
                    .with_remedy("name a branch or tag that has the commit")
            };
            match provider.compare(&git.repository, &head, id).await {
                Ok(found) if found.relation == Relation::Behind => {}
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => return Err(elsewhere()),
            }
        }
        provider.commit(&git.repository, id).await?.ok_or_else(|| {
            Error::conflict("build", format!("commit {id} is not in the repository any more"))
                .with_remedy("try again")
        })
    }

    /// Releases the images that an image service's settings name, each at what its tag points at now (S22). `None` stands for the only
    /// component, and for the service's own environment.
    pub async fn deploy_ready(
        &self,
        service: &ServiceName,
        component: Option<ComponentName>,
        environment: Option<EnvironmentName>,
        nonce: String,
        by: Subject,
    ) -> Result<ReleaseId> {
        let known = self.service(service).await?;
        let target = self.target(&known, component, environment).await?;
        let component = known.settings.component(&target.component).ok_or_else(|| {
            Error::not_found("make release", format!("there is no component `{}`", target.component))
        })?;
        // Whoever may not deploy learns nothing about images: the engine refuses them.
        let images = match Protection::may_request(&by) {
            true => self.shared.ready_images(component).await?,
            false => BTreeMap::new(),
        };
        let (component, environment) = (Some(target.component), Some(target.environment));
        let command = Command::DeployImages { component, images, environment, nonce };
        match self.shared.step(service, Input::Command { command, by }, None).await? {
            Reply::Release(release) => Ok(release),
            other => Err(Error::internal("make release", format!("unexpected reply {other:?}"))),
        }
    }

    /// Goes back to revision `to`; `None`: to the newest older one whose images differ from what is live.
    pub async fn rollback(
        &self,
        service: &ServiceName,
        component: Option<ComponentName>,
        environment: Option<EnvironmentName>,
        to: Option<Revision>,
        nonce: String,
        by: Subject,
    ) -> Result<ReleaseId> {
        let known = self.service(service).await?;
        let target = self.target(&known, component, environment).await?;
        let runtime = self.shared.runtime(&target).await?;
        let deployer = self.shared.adapters.deployer(&runtime)?;
        let live: Live = deployer.observed(&target).await?.ok_or_else(|| {
            Error::conflict("roll back", format!("nothing is live in `{}`", target.environment))
                .with_remedy("deploy something first")
        })?;
        let history = deployer.history(&target).await?;
        let chosen = match to {
            Some(to) => history
                .into_iter()
                .find(|info| info.revision == to)
                .ok_or_else(|| Error::not_found("roll back", format!("there is no revision {to}")))?,
            None => history
                .into_iter()
                .find(|info| info.revision < live.revision && info.images != live.images)
                .ok_or_else(|| {
                    Error::conflict("roll back", "there is no older revision")
                        .with_remedy("deploy a build by hand")
                })?,
        };
        let command = Command::Rollback {
            component: Some(target.component),
            environment: Some(target.environment),
            to: chosen.revision,
            images: chosen.images,
            commit: chosen.commit,
            nonce,
        };
        match self.command(service, command, by).await? {
            Reply::Release(release) => Ok(release),
            other => Err(Error::internal("roll back", format!("unexpected reply {other:?}"))),
        }
    }

    /// What these settings, or today's, would make of a delivery's events (K42). Changes nothing.
    pub async fn explain(&self, id: &DeliveryId, settings: Option<Settings>) -> Result<Vec<Decision>> {
        let record = self
            .shared
            .store
            .delivery(id)
            .await?
            .ok_or_else(|| Error::not_found("explain", format!("there is no delivery `{id}`")))?;
        let mut service = self.service(&record.service).await?;
        if let Some(settings) = settings {
            settings.validate()?;
            service.settings = settings;
        }
        let (mut answers, mut rounds) = (Vec::new(), 0);
        loop {
            let rules = &self.shared.rules;
            let explained: Vec<Decision> = record
                .events
                .iter()
                .map(|event| explain(rules, &service, &record, event, &answers, rounds))
                .collect();
            let asked: BTreeSet<&Question> = explained.iter().flat_map(Decision::questions).collect();
            if asked.is_empty() {
                return Ok(explained);
            }
            for question in asked {
                answers.push(self.shared.answer(Some(&service), question.clone()).await);
            }
            rounds += 1;
        }
    }

    /// Where a release of this component to this environment goes; `None` stands for the only one, and the service's own.
    pub async fn target(
        &self,
        service: &Service,
        component: Option<ComponentName>,
        environment: Option<EnvironmentName>,
    ) -> Result<DeployTarget> {
        let name = environment.or_else(|| service.settings.deploy.environment.clone()).ok_or_else(|| {
            Error::invalid("find target", "no environment is named")
                .with_remedy("name one, or set the service's own")
        })?;
        let environments = self.shared.store.environments().await?;
        let environment = Environment::find(&environments, &service.name, &name).ok_or_else(|| {
            Error::not_found("find target", format!("environment `{name}` is not registered"))
        })?;
        let component = match (component, service.settings.components.as_slice()) {
            (Some(name), _) => service
                .settings
                .component(&name)
                .ok_or_else(|| Error::not_found("find target", format!("there is no component `{name}`")))?,
            (None, [only]) => only,
            (None, _) => {
                return Err(Error::invalid("find target", "the service has several components: name one"));
            }
        };
        Ok(super::super::lanes::target_of(&service.name, &environment, component))
    }

    /// The previews of a service that there are, by merge request, those that are being removed too.
    pub async fn previews(&self, service: &ServiceName) -> Result<BTreeMap<u64, Preview>> {
        self.shared.previews(&self.service(service).await?.name).await
    }

    pub(super) async fn service(&self, name: &ServiceName) -> Result<Service> {
        let stored = self.shared.store.service(name).await?;
        stored
            .map(|stored| stored.value)
            .ok_or_else(|| Error::not_found("find service", format!("there is no service `{name}`")))
    }
}

/// Why there is no head to build: providers answer the same where the whole repository is gone.
async fn no_branch(provider: &dyn GitProvider, git: &GitSource) -> Error {
    match provider.branches(&git.repository, &Search::all().limit(1)).await {
        Ok(_) => Error::conflict("build", format!("branch `{}` does not exist", git.branch))
            .with_remedy("push to the tracked branch first, or track another"),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let message = format!("the repository `{}` is not there any more", git.repository.path);
            Error::conflict("build", message)
                .with_remedy("bring the repository back, or give the service the one that took its place")
                .with_source(error)
        }
        Err(error) => error,
    }
}
