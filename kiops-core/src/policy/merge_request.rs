//! Merge requests: which changes matter, drafts, and forks.

use super::decision::{HoldReason, Outcome, SkipReason};
use super::facts::{Answer, Known, Question, RefKey};
use super::judge::{Candidate, Judge, Step};
use super::text::{Finding, Saw};
use crate::access::Trust;
use crate::event::{ChangedFiles, MergeRequest, MergeRequestChange};
use crate::name::{BranchName, CommitId, GitRef};
use crate::service::{Forks, GitSource};

impl Judge<'_> {
    pub(super) fn merge_request(&mut self, git: &GitSource, request: &MergeRequest) -> Step<Candidate> {
        let settings = &self.service.settings.auto_ci;
        if !relevant(request.change) {
            let saw =
                Saw::text(format!("a merge request's change `{}` builds nothing", request.change.name()));
            return self.stop("merge request", SkipReason::NotRelevant, saw);
        }
        self.switches(settings, "merge request", settings.merge_request.enabled)?;
        if request.change == MergeRequestChange::Merged && !settings.merge_request.merged {
            let saw = Saw::Switch { name: "building merged requests".into(), on: false };
            return self.stop("merge request", SkipReason::TriggerOff, saw);
        }
        let Ok(target) = BranchName::parse(&request.target_branch) else {
            return self.stop(
                "target branch",
                SkipReason::NotRelevant,
                Saw::text("the target is no branch name"),
            );
        };
        let targets = &settings.merge_request.targets;
        self.branch_filter("target filter", "target branch", targets, &git.branch, &target)?;
        if request.draft && !settings.merge_request.drafts {
            return self.stop("draft", SkipReason::Draft, Saw::text("the merge request is a draft"));
        }
        let Some(number) = request.number else {
            let saw = Saw::text("the merge request names no number");
            return self.stop("merge request", SkipReason::NoCommit, saw);
        };
        if request.fork && settings.merge_request.forks == Forks::Never {
            return self.stop(
                "fork",
                SkipReason::ForkNever,
                Saw::text("merge requests from forks are never built"),
            );
        }
        let branch = BranchName::parse(&request.source_branch).ok();
        let own = branch.clone().filter(|_| !request.fork).map(GitRef::Branch);
        let Some(git_ref) = request.head_ref.clone().or(own) else {
            let saw = Saw::text("the head can be fetched from no ref of the target repository");
            return self.stop("merge request", SkipReason::NoCommit, saw);
        };
        Ok(Candidate {
            commit: self.head_of(request, &git_ref)?,
            git_ref,
            scope: RefKey::MergeRequest(number),
            branch,
            tag: None,
            merge_request: Some(number),
            trust: if request.fork { Trust::Fork } else { Trust::Trusted },
            before: request.previous_head.clone(),
            // The payload lists no files, and the request as a whole is what would be merged.
            files: ChangedFiles::Unknown,
            message: request.commit_message.clone(),
        })
    }

    /// The whole id of the head: where the sender gives the first digits only, the provider is asked where the ref points.
    fn head_of(&mut self, request: &MergeRequest, git_ref: &GitRef) -> Step<CommitId> {
        if let Some(head) = &request.head {
            return Ok(head.clone());
        }
        let Some(digits) = request.abbreviated_head.as_deref().filter(|digits| digits.len() >= 7) else {
            let saw = Saw::text("the merge request names no head commit");
            return self.stop("merge request", SkipReason::NoCommit, saw);
        };
        let question = Question::Head { git_ref: git_ref.clone() };
        match self.facts.know(&question) {
            Known::Answer(Answer::Head(Some(head))) if head.as_str().starts_with(digits) => Ok(head.clone()),
            Known::Open => Err(Outcome::Ask(vec![question])),
            Known::Answer(_) | Known::Unanswered => {
                let saw = Saw::text(format!(
                    "`{git_ref}` is not known to point at a commit that begins with {digits}"
                ));
                self.stop("merge request", SkipReason::NoCommit, saw)
            }
        }
    }

    /// Comes last: nothing that a host's rule says can let a fork's commit through.
    pub(super) fn fork_trust(&mut self, candidate: &Candidate) -> Step {
        if candidate.trust != Trust::Fork || !self.questions.is_empty() {
            return Ok(());
        }
        let approved = self.facts.state.approved.contains(&candidate.commit);
        let saw = Saw::Fork { commit: candidate.commit.clone(), approved };
        if approved {
            self.pass("fork", saw);
            return Ok(());
        }
        self.findings.push(Finding::block("fork", saw));
        let number = candidate.merge_request.unwrap_or_default();
        Err(Outcome::Hold(HoldReason::Fork { commit: candidate.commit.clone(), number }))
    }
}

const fn relevant(change: MergeRequestChange) -> bool {
    matches!(
        change,
        MergeRequestChange::Opened
            | MergeRequestChange::Code
            | MergeRequestChange::ReadyForReview
            | MergeRequestChange::Reopened
            | MergeRequestChange::Retargeted
            | MergeRequestChange::Merged
    )
}
