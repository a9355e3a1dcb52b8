//! Decides without async, without a store and without a network: what an event means for a service, and why.
//!
//! ```text
//! cargo run -p kiops-examples --example policy_only
//! ```

use std::error::Error;
use std::io::{Write as _, stdout};

use kiops_core::event::{ChangedFiles, CommitFacts, Event, EventKind, FileList, Push, Repository, Tip};
use kiops_core::filter::{PathFilter, RefFilter};
use kiops_core::image::TagTemplate;
use kiops_core::name::{BranchName, CommitId, GitRef, ImageName, ProviderName, ServiceName};
use kiops_core::policy::{Facts, Outcome, Rules, decide};
use kiops_core::service::{GitSource, ImageTarget, Service, Settings, Source};

fn main() -> Result<(), Box<dyn Error>> {
    let service = service()?;
    let pushes = [
        ("refs/heads/main", "services/api/main.go", "Fix the login"),
        ("refs/heads/feature/a/b", "services/api/main.go", "Try something"),
        ("refs/heads/main", "docs/readme.md", "Explain the login"),
        ("refs/heads/main", "services/api/main.go", "Tidy up [skip ci]"),
        ("refs/heads/wip", "services/api/main.go", "Not yet"),
    ];
    let mut out = stdout().lock();
    for (git_ref, file, message) in pushes {
        let event = push(git_ref, file, message)?;
        // Nothing was decided before, and nobody can be asked: with two rounds counted, what is unknown stays so.
        let facts = Facts { rounds: 2, ..Facts::default() };
        let decision = decide(&Rules::none(), &service, &event, &facts);
        let outcome = match &decision.outcome {
            Outcome::Build(planned) => format!("builds {} component", planned.len()),
            Outcome::Skip(skip) => format!("skips: {}", skip.text),
            other => format!("{other:?}"),
        };
        writeln!(out, "{git_ref}, `{file}`, \"{message}\"\n  {outcome}")?;
        for finding in &decision.findings {
            writeln!(out, "    {finding}")?;
        }
    }
    Ok(())
}

/// Builds `main` and features, and only where `services/api` changed.
fn service() -> Result<Service, Box<dyn Error>> {
    let mut settings = Settings::default();
    settings.auto_ci.push.branches = RefFilter::parse(["main", "feature/*"])?;
    settings.components[0].watch_path = PathFilter::parse(["services/api/"])?;
    settings.image = Some(ImageTarget {
        name: ImageName::parse("registry.example.com/team/api")?,
        candidate: TagTemplate::short_commit(),
        tags: Vec::new(),
    });
    settings.validate()?;
    let source = GitSource {
        provider: ProviderName::parse("gitlab")?,
        repository: repository(),
        branch: BranchName::parse("main")?,
    };
    Ok(Service { name: ServiceName::parse("api")?, source: Source::Git(source), settings })
}

fn repository() -> Repository {
    Repository { id: None, path: "team/api".into() }
}

fn push(git_ref: &str, file: &str, message: &str) -> Result<Event, Box<dyn Error>> {
    let mut files = FileList::default();
    files.modified.push(file);
    let push = Push {
        action: None,
        git_ref: GitRef::parse(git_ref)?,
        before: Tip::At(CommitId::parse("a".repeat(40))?),
        head: Tip::At(CommitId::parse("b".repeat(40))?),
        files: ChangedFiles::Complete(files),
        message: Some(message.into()),
        commit: CommitFacts::default(),
    };
    Ok(Event { repository: repository(), actor: None, kind: EventKind::Push(push) })
}
