//! A rule of the host's own: it runs after the built-in ones, its finding stands among theirs, and it may block.
//!
//! ```text
//! cargo run -p kiops-examples --example custom_rule
//! ```

use std::error::Error;
use std::io::{Write as _, stdout};
use std::sync::Arc;

use kiops_core::event::{ChangedFiles, CommitFacts, Event, EventKind, Push, Repository, Tip};
use kiops_core::image::TagTemplate;
use kiops_core::name::{BranchName, CommitId, GitRef, ImageName, ProviderName, ServiceName};
use kiops_core::policy::{Facts, Finding, Outcome, Rule, Rules, Saw, decide};
use kiops_core::service::{GitSource, ImageTarget, Service, Settings, Source};

/// A commit on the tracked branch names its ticket (`OPS-123`).
#[derive(Debug)]
struct TicketNamed {
    prefix: &'static str,
}

impl Rule for TicketNamed {
    fn judge(&self, service: &Service, event: &Event, _: &Facts) -> Finding {
        let tracked = service.source.git().map(|git| &git.branch);
        let message = match &event.kind {
            EventKind::Push(push) if push.branch() == tracked => push.message.as_deref().unwrap_or_default(),
            _ => return Finding::note("ticket", Saw::text("asked for on the tracked branch only")),
        };
        let named = message.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').find(|word| {
            let number = word.strip_prefix(self.prefix).unwrap_or_default();
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        });
        match named {
            Some(ticket) => Finding::pass("ticket", Saw::text(format!("the commit names {ticket}"))),
            None => Finding::block(
                "ticket",
                Saw::text(format!("the commit names no `{}...` ticket", self.prefix)),
            ),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let rule: Arc<dyn Rule> = Arc::new(TicketNamed { prefix: "OPS-" });
    let rules = Rules::new([rule]);
    let service = service()?;
    let mut out = stdout().lock();
    for message in ["OPS-42: fix the login", "fix the login"] {
        let decision = decide(&rules, &service, &push(message)?, &Facts { rounds: 2, ..Facts::default() });
        let outcome = match &decision.outcome {
            Outcome::Build(_) => "builds".to_owned(),
            Outcome::Skip(skip) => format!("skips: {}", skip.text),
            other => format!("{other:?}"),
        };
        writeln!(out, "\"{message}\"\n  {outcome}")?;
        for finding in &decision.findings {
            writeln!(out, "    {finding}")?;
        }
    }
    Ok(())
}

fn service() -> Result<Service, Box<dyn Error>> {
    let image = ImageTarget {
        name: ImageName::parse("registry.example.com/team/api")?,
        candidate: TagTemplate::short_commit(),
        tags: Vec::new(),
    };
    let source = GitSource {
        provider: ProviderName::parse("gitlab")?,
        repository: Repository { id: None, path: "team/api".into() },
        branch: BranchName::parse("main")?,
    };
    let settings = Settings { image: Some(image), ..Settings::default() };
    Ok(Service { name: ServiceName::parse("api")?, source: Source::Git(source), settings })
}

fn push(message: &str) -> Result<Event, Box<dyn Error>> {
    let push = Push {
        action: None,
        git_ref: GitRef::parse("refs/heads/main")?,
        before: Tip::At(CommitId::parse("a".repeat(40))?),
        head: Tip::At(CommitId::parse("b".repeat(40))?),
        files: ChangedFiles::Unknown,
        message: Some(message.into()),
        commit: CommitFacts::default(),
    };
    let repository = Repository { id: None, path: "team/api".into() };
    Ok(Event { repository, actor: None, kind: EventKind::Push(push) })
}
