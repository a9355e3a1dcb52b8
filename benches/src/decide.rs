//! `decide` alone: a push of 20 commits with several hundred files, branch filters, and watched paths.

use kiops_core::event::{Event, Repository};
use kiops_core::filter::{PathFilter, RefFilter};
use kiops_core::image::TagTemplate;
use kiops_core::name::{BranchName, CommitId, ComponentName, ImageName, ProviderName, RepoId, ServiceName};
use kiops_core::policy::{Decision, Facts, Rules, decide};
use kiops_core::service::{Component, GitSource, ImageTarget, Service, Settings, Source};

use crate::Outcome;
use crate::push::{Push, commit_id};

/// What is decided on.
#[derive(Debug)]
pub struct Case {
    service: Service,
    event: Event,
    facts: Facts,
    rules: Rules,
}

impl Case {
    /// How long the body of the push was.
    pub const BYTES: usize = 50 << 10;

    /// A push of 50 KiB, 20 commits and several hundred files, for a service with five components: three watch paths that it
    /// touches, two watch paths that it does not touch, so that every file is looked at.
    pub fn new() -> Outcome<Self> {
        Ok(Self {
            service: service(5)?,
            event: Push::of(Self::BYTES)?.event()?,
            facts: facts(&commit_id(0)?),
            rules: Rules::none(),
        })
    }

    /// Decides.
    pub fn decide(&self) -> Decision {
        decide(&self.rules, &self.service, &self.event, &self.facts)
    }
}

/// What a component watches; the last two are not touched by the pushes made here.
const WATCHED: [&[&str]; 5] = [
    &["services/api/", "shared/**/*.rs"],
    &["services/web/**"],
    &["services/{billing,worker}/src/"],
    &["charts/", "**/*.tmpl"],
    &["services/*/migrations/**", "schema/*.sql"],
];

/// A service that builds `main`, features and releases, with the first so many of the components.
pub(crate) fn service(components: usize) -> Outcome<Service> {
    let mut settings = Settings::default();
    settings.auto_ci.push.branches = RefFilter::parse(["main", "feature/*", "release/*", "!feature/wip-*"])?;
    settings.components = Vec::new();
    for (at, watched) in WATCHED.iter().take(components).enumerate() {
        settings.components.push(Component {
            name: ComponentName::parse(format!("part-{at}"))?,
            watch_path: PathFilter::parse(watched.iter().copied())?,
            ..Component::default()
        });
    }
    settings.image = Some(ImageTarget {
        name: ImageName::parse("registry.example.com/group/app")?,
        candidate: TagTemplate::short_commit(),
        tags: Vec::new(),
    });
    settings.validate()?;
    let source = GitSource {
        provider: ProviderName::parse("gitlab")?,
        repository: Repository { id: Some(RepoId::parse("77")?), path: "group/app".into() },
        branch: BranchName::parse("main")?,
    };
    Ok(Service { name: ServiceName::parse("app")?, source: Source::Git(source), settings })
}

/// What a service knows that was decided and covered up to this commit.
pub(crate) fn facts(commit: &CommitId) -> Facts {
    let mut facts = Facts::default();
    facts.state.note(commit, false);
    for at in 0..WATCHED.len() {
        if let Ok(component) = ComponentName::parse(format!("part-{at}")) {
            facts.state.covered.insert(component, commit.clone());
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiops_core::event::EventKind;
    use kiops_core::policy::Outcome as Decided;

    #[test]
    fn several_hundred_files_touch_three_of_five_components() {
        let case = Case::new().unwrap();
        let EventKind::Push(push) = &case.event.kind else { panic!("it is no push") };
        let files = push.files.list().unwrap().iter().count();
        assert!((700..1000).contains(&files), "{files}");
        let Decided::Build(planned) = case.decide().outcome else { panic!("nothing is built") };
        let names: Vec<&str> = planned.iter().map(|planned| planned.component.as_str()).collect();
        assert_eq!(names, ["part-0", "part-1", "part-2"]);
    }
}
