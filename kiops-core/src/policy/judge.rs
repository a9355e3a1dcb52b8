//! `decide`: the rules in their order.

use std::fmt;
use std::sync::Arc;

use super::decision::{Decision, Outcome, Planned, Skip, SkipReason, Standing};
use super::facts::{Answer, Facts, Known, Question, RefKey, RefState};
use super::text::{Finding, Saw, Weight};
use crate::access::Trust;
use crate::event::{ChangedFiles, Event, EventKind};
use crate::filter::PathVerdict;
use crate::name::{BranchName, CommitId, GitRef, GitTag};
use crate::provider::Relation;
use crate::service::{AutoCi, Component, GitSource, Service, Source, Supersede};

/// A rule of the host's own: pure, run after ours, its finding stored with the others. It may block, and never unblocks.
/// Any time that it needs is in the facts.
pub trait Rule: Send + Sync + fmt::Debug {
    /// Judges an event that our own rules let through.
    fn judge(&self, service: &Service, event: &Event, facts: &Facts) -> Finding;
}

/// The host's rules, in order; given to the driver once.
#[derive(Debug, Clone, Default)]
pub struct Rules(Vec<Arc<dyn Rule>>);

impl Rules {
    /// No rules besides ours.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// These rules, in this order.
    pub fn new(rules: impl IntoIterator<Item = Arc<dyn Rule>>) -> Self {
        Self(rules.into_iter().collect())
    }
}

/// What an event means for a service.
///
/// Pure. Where something is missing the outcome is [`Outcome::Ask`]; the caller adds the answers to the facts, counts the
/// round and decides again. After two rounds nothing more is asked: an unknown file list counts as touching every watched path.
pub fn decide(rules: &Rules, service: &Service, event: &Event, facts: &Facts) -> Decision {
    let mut judge = Judge { service, event, facts, findings: Vec::new(), questions: Vec::new(), files: None };
    let outcome = match judge.run(rules) {
        Ok(_) if !judge.questions.is_empty() => {
            judge.questions.sort();
            judge.questions.dedup();
            Outcome::Ask(judge.questions)
        }
        Ok(outcome) | Err(outcome) => outcome,
    };
    Decision { outcome, findings: judge.findings }
}

/// What is going to be built, before it is split into components.
pub(super) struct Candidate {
    pub(super) commit: CommitId,
    pub(super) git_ref: GitRef,
    pub(super) scope: RefKey,
    pub(super) branch: Option<BranchName>,
    pub(super) tag: Option<GitTag>,
    pub(super) merge_request: Option<u64>,
    pub(super) trust: Trust,
    /// The head before, where the sender says.
    pub(super) before: Option<CommitId>,
    pub(super) files: ChangedFiles,
    pub(super) message: Option<String>,
}

pub(super) struct Judge<'a> {
    pub(super) service: &'a Service,
    pub(super) event: &'a Event,
    pub(super) facts: &'a Facts,
    pub(super) findings: Vec<Finding>,
    pub(super) questions: Vec<Question>,
    /// How many files the event names, once somebody asked.
    files: Option<usize>,
}

/// A step of the judgement: a value to go on with, or the outcome.
pub(super) type Step<T = ()> = Result<T, Outcome>;

impl<'a> Judge<'a> {
    fn run(&mut self, rules: &Rules) -> Step<Outcome> {
        match &self.service.source {
            Source::Git(git) => self.build(git, rules).map(Outcome::Build),
            Source::Image => self.redeploy(rules).map(Outcome::Deploy),
        }
    }

    fn build(&mut self, git: &GitSource, rules: &Rules) -> Step<Vec<Planned>> {
        self.not_our_own()?;
        let auto_ci = &self.service.settings.auto_ci;
        let candidate = match &self.event.kind {
            EventKind::Push(push) => {
                self.switches(auto_ci, "push", auto_ci.push.enabled)?;
                self.push(git, push)?
            }
            EventKind::Tag(tag) => {
                self.switches(auto_ci, "tag", auto_ci.tag.enabled)?;
                self.tag(tag)?
            }
            EventKind::MergeRequest(request) => self.merge_request(git, request)?,
            EventKind::Pipeline(pipeline) => self.pipeline(git, pipeline)?,
            EventKind::EmptyPush | EventKind::Ping | EventKind::Other(_) => return self.says_nothing(),
            EventKind::ImagePush(_) => return self.not_relevant("an image push builds nothing from Git"),
        };
        let candidate = self.known_commit(candidate)?;
        self.message_rules(auto_ci, candidate.message.as_deref())?;
        let standing = self.standing(auto_ci, &candidate)?;
        let planned = self.components(&candidate, standing)?;
        if self.questions.is_empty() {
            self.host_rules(rules)?;
            self.fork_trust(&candidate)?;
            self.ready()?;
        }
        Ok(planned)
    }

    /// What kiops pushes to propose a release builds nothing, or each would bring the next (E80).
    fn not_our_own(&mut self) -> Step {
        let branch = match &self.event.kind {
            EventKind::Push(push) => push.git_ref.branch().map(BranchName::as_str),
            EventKind::MergeRequest(request) => Some(request.source_branch.as_str()),
            _ => None,
        };
        match branch.filter(|branch| BranchName::is_of_proposal(branch)) {
            Some(branch) => self.not_relevant(format!("on `{branch}` kiops proposes a release")),
            None => Ok(()),
        }
    }

    /// Ends with what a kind of event that starts nothing anywhere has to say.
    pub(super) fn says_nothing<T>(&mut self) -> Step<T> {
        match &self.event.kind {
            EventKind::EmptyPush => self.not_relevant("the push names no ref"),
            EventKind::Ping => self.not_relevant("a ping: the webhook works"),
            EventKind::Other(other) => {
                let why = other.note.as_deref().unwrap_or("builds nothing");
                self.not_relevant(format!("`{}` {why}", other.name))
            }
            kind => self.not_relevant(format!("{} starts nothing", kind.name())),
        }
    }

    pub(super) fn not_relevant<T>(&mut self, text: impl Into<String>) -> Step<T> {
        self.stop("event", SkipReason::NotRelevant, Saw::text(text))
    }

    /// Notes the finding and ends with a skip.
    pub(super) fn stop<T>(&mut self, rule: &str, reason: SkipReason, saw: Saw) -> Step<T> {
        let text = saw.to_string();
        self.findings.push(Finding::block(rule, saw));
        Err(Outcome::Skip(Skip { reason, text }))
    }

    pub(super) fn pass(&mut self, rule: &str, saw: Saw) {
        self.findings.push(Finding::pass(rule, saw));
    }

    pub(super) fn note(&mut self, rule: &str, saw: Saw) {
        self.findings.push(Finding::note(rule, saw));
    }

    /// The main switch, the trigger's switch, and senders that start nothing.
    pub(super) fn switches(&mut self, auto_ci: &AutoCi, trigger: &str, on: bool) -> Step {
        let switch = |name: &str, on| Saw::Switch { name: name.to_owned(), on };
        if !auto_ci.enabled {
            return self.stop("auto ci", SkipReason::AutoCiOff, switch("Auto CI", false));
        }
        let name = format!("the {trigger} trigger");
        if !on {
            return self.stop("trigger", SkipReason::TriggerOff, switch(&name, false));
        }
        self.pass("trigger", switch(&name, true));
        let actor = self.event.actor.as_ref().and_then(|actor| actor.id.as_ref());
        if let Some(id) = actor.filter(|id| auto_ci.ignored_actors.contains(id)) {
            let saw = Saw::text(format!("sender {id} starts nothing"));
            return self.stop("sender", SkipReason::ActorIgnored, saw);
        }
        Ok(())
    }

    /// Where the message or the commit behind a tag object is missing, the provider is asked. Nothing that an unsigned
    /// delivery says counts before the provider has said so too.
    fn known_commit(&mut self, mut candidate: Candidate) -> Step<Candidate> {
        if self.facts.unsigned {
            candidate.before = None;
            candidate.files = ChangedFiles::Unknown;
            candidate.message = None;
        } else if candidate.message.is_some() {
            return Ok(candidate);
        }
        let question = Question::Commit { id: candidate.commit.clone() };
        match self.facts.know(&question) {
            Known::Answer(Answer::Commit(Some(commit))) => {
                candidate.commit = commit.id.clone();
                candidate.message = Some(commit.message.clone());
            }
            Known::Answer(_) => {
                let saw = Saw::text(format!("commit {} is not in the repository", candidate.commit.short()));
                return self.stop("commit", SkipReason::NoCommit, saw);
            }
            Known::Unanswered if self.facts.unsigned => {
                let saw = Saw::text("an unsigned delivery's commit could not be confirmed");
                return self.stop("commit", SkipReason::NoCommit, saw);
            }
            Known::Unanswered => self.note("commit", Saw::text("the commit's message is not known")),
            Known::Open => self.questions.push(question),
        }
        if self.facts.unsigned {
            self.confirm_head(&candidate)?;
        }
        Ok(candidate)
    }

    /// Any commit that the repository has could be named for any ref: the ref must really point at it.
    fn confirm_head(&mut self, candidate: &Candidate) -> Step {
        let question = Question::Head { git_ref: candidate.git_ref.clone() };
        match self.facts.know(&question) {
            Known::Answer(Answer::Head(Some(head))) if *head == candidate.commit => Ok(()),
            // Of a tag object the commit is known once the other question is answered.
            Known::Answer(_) if !self.questions.is_empty() => Ok(()),
            Known::Open => {
                self.questions.push(question);
                Ok(())
            }
            Known::Answer(_) | Known::Unanswered => {
                let saw = Saw::text(format!(
                    "an unsigned delivery names commit {}, and `{}` is not known to point at it",
                    candidate.commit.short(),
                    candidate.git_ref
                ));
                self.stop("commit", SkipReason::NoCommit, saw)
            }
        }
    }

    fn message_rules(&mut self, auto_ci: &AutoCi, message: Option<&str>) -> Step {
        let message = message.unwrap_or_default();
        // Squashed or not: our own commit has the trailer, and a merge's message names the branch.
        if message.contains("\nKiops-Release: ") || BranchName::is_of_proposal(message) {
            return self.stop("commit", SkipReason::NotRelevant, Saw::text("kiops deployed a release by it"));
        }
        if auto_ci.skip_markers {
            const MARKERS: [&str; 5] = ["[skip ci]", "[ci skip]", "[no ci]", "[skip actions]", "***no_ci***"];
            let lower = message.to_lowercase();
            if let Some(marker) = MARKERS.into_iter().find(|marker| lower.contains(marker)) {
                let saw = Saw::Message { marker: marker.into(), found: true };
                return self.stop("skip marker", SkipReason::SkipMarker, saw);
            }
        }
        if let Some(keyword) = auto_ci.keyword.as_deref().filter(|_| self.questions.is_empty()) {
            let saw = |found| Saw::Message { marker: keyword.to_owned(), found };
            if !message.contains(keyword) {
                return self.stop("keyword", SkipReason::KeywordMissing, saw(false));
            }
            self.pass("keyword", saw(true));
        }
        Ok(())
    }

    /// Whether the head is newer than what was decided before (E57): by the before/after chain where it is whole, else by asking.
    fn standing(&mut self, auto_ci: &AutoCi, candidate: &Candidate) -> Step<Standing> {
        let state = &self.facts.state;
        let (standing, by) = match &state.newest {
            Some(newest) if *newest == candidate.commit => (Standing::Same, "the same commit"),
            newest if self.has_left(candidate) => match newest {
                Some(_) => (Standing::Late, "the ref points at that one"),
                None => (Standing::Late, "the branch was deleted"),
            },
            None => (Standing::Newest, "nothing was decided before"),
            Some(newest) if candidate.before.as_ref() == Some(newest) => {
                (Standing::Newest, "it follows on that one")
            }
            Some(newest) => self.ask_standing(state, newest, candidate),
        };
        let saw = Saw::Standing { standing, newest: state.newest.clone(), by: by.to_owned() };
        if standing == Standing::Late && auto_ci.supersede != Supersede::Never {
            return self.stop("order", SkipReason::Late, saw);
        }
        self.pass("order", saw);
        Ok(standing)
    }

    /// Of a branch that goes to and fro the before/after chain proves nothing: what came late fits as well as what is new. So a
    /// head that was decided before is asked for, and is late where the branch is surely elsewhere. Without an answer the chain
    /// counts.
    fn has_left(&mut self, candidate: &Candidate) -> bool {
        let state = &self.facts.state;
        let fits = state.newest.is_none() || candidate.before == state.newest;
        let returns =
            matches!(candidate.scope, RefKey::Branch(_)) && state.decided.contains(&candidate.commit);
        if !fits || !returns {
            return false;
        }
        let question = Question::Head { git_ref: candidate.git_ref.clone() };
        match self.facts.know(&question) {
            Known::Open => {
                self.questions.push(question);
                false
            }
            // Where it is at a third head, that one's delivery is on its way.
            Known::Answer(Answer::Head(head)) => *head == state.newest,
            Known::Answer(_) | Known::Unanswered => false,
        }
    }

    fn ask_standing(
        &mut self,
        state: &RefState,
        newest: &CommitId,
        candidate: &Candidate,
    ) -> (Standing, &'static str) {
        let head = Question::Head { git_ref: candidate.git_ref.clone() };
        let compare = Question::Compare { from: newest.clone(), to: candidate.commit.clone() };
        match self.facts.know(&head) {
            Known::Open => {
                self.questions.push(head);
                (Standing::Newest, "not known yet")
            }
            Known::Answer(Answer::Head(Some(head))) if *head == candidate.commit => {
                (Standing::Newest, "the ref points at it")
            }
            Known::Answer(Answer::Head(Some(head))) if head == newest => {
                (Standing::Late, "the ref points at that one")
            }
            // A tag has no history of its own: whoever moves it means it.
            _ if matches!(candidate.scope, RefKey::Tag(_)) => (Standing::Newest, "the tag was moved"),
            Known::Answer(_) => match self.facts.know(&compare) {
                Known::Open => {
                    self.questions.push(compare);
                    (Standing::Newest, "not known yet")
                }
                Known::Answer(Answer::Compare(comparison)) if comparison.relation == Relation::Behind => {
                    (Standing::Late, "an ancestor of that one")
                }
                _ if state.decided.contains(&candidate.commit) => {
                    (Standing::Late, "it was decided before that one")
                }
                _ => (Standing::Newest, "it is no ancestor of that one"),
            },
            Known::Unanswered if state.decided.contains(&candidate.commit) => {
                (Standing::Late, "it was decided before that one")
            }
            Known::Unanswered => (Standing::Newest, "the provider could not say"),
        }
    }

    /// One planned build for each component whose watched paths were touched.
    fn components(&mut self, candidate: &Candidate, standing: Standing) -> Step<Vec<Planned>> {
        let mut planned = Vec::new();
        for component in &self.service.settings.components {
            if self.touched(component, candidate, standing) {
                planned.push(Planned {
                    component: component.name.clone(),
                    commit: candidate.commit.clone(),
                    git_ref: candidate.git_ref.clone(),
                    scope: candidate.scope.clone(),
                    branch: candidate.branch.clone(),
                    tag: candidate.tag.clone(),
                    merge_request: candidate.merge_request,
                    trust: candidate.trust,
                    standing,
                });
            }
        }
        if planned.is_empty() && self.questions.is_empty() {
            let text = "no watched path changed".to_owned();
            return Err(Outcome::Skip(Skip { reason: SkipReason::PathsNotTouched, text }));
        }
        Ok(planned)
    }

    fn touched(&mut self, component: &Component, candidate: &Candidate, standing: Standing) -> bool {
        let filter = &component.watch_path;
        // A tag says nothing of what changed, and the head reported again was judged before.
        if filter.is_empty() || candidate.tag.is_some() {
            return true;
        }
        if standing == Standing::Same && self.facts.state.newest_build.contains_key(&component.name) {
            return true;
        }
        // An incomplete list may already decide, whatever it is compared with.
        if let PathVerdict::Matched { pattern, path } = filter.verdict(&candidate.files) {
            let (pattern, path) = (pattern.to_owned(), path.to_owned());
            self.pass("watch path", Saw::PathTouched { component: component.name.clone(), path, pattern });
            return true;
        }
        let from = match self.base(component, candidate) {
            Base::Event if candidate.files.is_complete() => {
                // Counting sorts the paths: once for all components.
                let count = || candidate.files.list().map_or(0, |list| list.paths().count());
                let files = *self.files.get_or_insert_with(count);
                return self.untouched(component, files, candidate.before.clone());
            }
            Base::From(from) if from == candidate.commit => return self.untouched(component, 0, Some(from)),
            Base::Event => candidate.before.clone(),
            Base::From(from) => Some(from),
            Base::Unknown => None,
        };
        self.compared(component, candidate, from)
    }

    fn untouched(&mut self, component: &Component, files: usize, since: Option<CommitId>) -> bool {
        let saw = Saw::PathsNotTouched { component: component.name.clone(), files, since };
        self.findings.push(Finding::block("watch path", saw));
        false
    }

    fn compared(&mut self, component: &Component, candidate: &Candidate, from: Option<CommitId>) -> bool {
        if let Some(from) = from {
            let question = Question::Compare { from: from.clone(), to: candidate.commit.clone() };
            match self.facts.know(&question) {
                Known::Open => {
                    self.questions.push(question);
                    return true;
                }
                Known::Answer(Answer::Compare(comparison)) => {
                    match component.watch_path.verdict(&comparison.files) {
                        PathVerdict::Matched { pattern, path } => {
                            let (pattern, path) = (pattern.to_owned(), path.to_owned());
                            self.pass(
                                "watch path",
                                Saw::PathTouched { component: component.name.clone(), path, pattern },
                            );
                            return true;
                        }
                        PathVerdict::NotMatched => {
                            let files = comparison.files.list().map_or(0, |list| list.paths().count());
                            return self.untouched(component, files, Some(from));
                        }
                        PathVerdict::Unknown => {}
                    }
                }
                _ => {}
            }
        }
        self.pass("watch path", Saw::FilesUnknown { component: component.name.clone() });
        true
    }

    /// From which commit the changed files count: the payload's own list only if it starts where the last covered
    /// commit stands; a superseded or failed build in between would otherwise lose its changes (E61). Where nothing is
    /// covered, only the first push of all may count from where it says that it starts.
    fn base(&self, component: &Component, candidate: &Candidate) -> Base {
        let state = &self.facts.state;
        let covered = state.covered.get(&component.name).or_else(|| self.facts.tracked.get(&component.name));
        let first = state.newest.is_none() && matches!(candidate.scope, RefKey::Branch(_));
        match (covered, &candidate.before) {
            (Some(covered), Some(before)) if covered == before => Base::Event,
            (Some(covered), _) => Base::From(covered.clone()),
            (None, Some(_)) if first => Base::Event,
            (None, _) => Base::Unknown,
        }
    }

    /// Comes last: a service that lacks something still says what it would have done.
    fn ready(&mut self) -> Step {
        if self.service.settings.image.is_some() {
            return Ok(());
        }
        let saw = Saw::text(
            "the service has no registry settings: complete them, then push again or build by hand",
        );
        self.stop("registry", SkipReason::NotReady, saw)
    }

    pub(super) fn host_rules(&mut self, rules: &Rules) -> Step {
        for rule in &rules.0 {
            let finding = rule.judge(self.service, self.event, self.facts);
            let blocks = finding.weight == Weight::Block;
            let text = finding.to_string();
            self.findings.push(finding);
            if blocks {
                return Err(Outcome::Skip(Skip { reason: SkipReason::HostRule, text }));
            }
        }
        Ok(())
    }
}

enum Base {
    Event,
    From(CommitId),
    Unknown,
}
