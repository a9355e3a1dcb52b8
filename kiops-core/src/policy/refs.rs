//! Pushes, tags and pipelines.

use super::decision::SkipReason;
use super::facts::RefKey;
use super::judge::{Candidate, Judge, Step};
use super::text::Saw;
use crate::access::Trust;
use crate::event::{ChangedFiles, Pipeline, Push, TagPush};
use crate::filter::RefFilter;
use crate::name::{BranchName, GitRef, GitTag};
use crate::service::GitSource;

impl Judge<'_> {
    pub(super) fn push(&mut self, git: &GitSource, push: &Push) -> Step<Candidate> {
        let Some(branch) = push.branch().cloned() else {
            let saw = Saw::text(format!("`{}` is no branch", push.git_ref));
            return self.stop("ref", SkipReason::NotRelevant, saw);
        };
        let filter = &self.service.settings.auto_ci.push.branches;
        self.branch_filter("branch filter", "branch", filter, &git.branch, &branch)?;
        let Some(head) = push.head.commit().cloned() else {
            return self.stop(
                "ref",
                SkipReason::RefDeleted,
                Saw::text(format!("branch `{branch}` was deleted")),
            );
        };
        Ok(Candidate {
            commit: head,
            git_ref: push.git_ref.clone(),
            scope: RefKey::Branch(branch.clone()),
            branch: Some(branch),
            tag: None,
            merge_request: None,
            trust: Trust::Trusted,
            before: push.before.commit().cloned(),
            files: push.files.clone(),
            message: push.message.clone(),
        })
    }

    pub(super) fn tag(&mut self, push: &TagPush) -> Step<Candidate> {
        let Some(tag) = push.tag().cloned() else {
            let saw = Saw::text(format!("`{}` is no tag", push.git_ref));
            return self.stop("ref", SkipReason::NotRelevant, saw);
        };
        self.tag_filter(&tag)?;
        // An annotated tag's `after` is the tag object: the commit behind it is what is built (E23, E40).
        let Some(head) = push.head.commit() else {
            return self.stop("ref", SkipReason::RefDeleted, Saw::text(format!("tag `{tag}` was deleted")));
        };
        let known = push.commit_id.is_some();
        let commit = push.commit_id.as_ref().unwrap_or(head).clone();
        Ok(Candidate {
            commit,
            git_ref: push.git_ref.clone(),
            scope: RefKey::Tag(tag.clone()),
            branch: None,
            tag: Some(tag),
            merge_request: None,
            trust: Trust::Trusted,
            before: push.before.commit().cloned(),
            files: push.files.clone(),
            // Without a commit the object may be a tag: leaving the message out makes the provider resolve it.
            message: push.message.clone().filter(|_| known),
        })
    }

    pub(super) fn pipeline(&mut self, git: &GitSource, pipeline: &Pipeline) -> Step<Candidate> {
        let auto_ci = &self.service.settings.auto_ci;
        self.switches(auto_ci, "pipeline", auto_ci.pipeline.enabled)?;
        if pipeline.status != "success" {
            let saw = Saw::text(format!("a pipeline that is `{}` builds nothing", pipeline.status));
            return self.stop("pipeline", SkipReason::NotRelevant, saw);
        }
        if pipeline.child {
            return self.stop(
                "pipeline",
                SkipReason::NotRelevant,
                Saw::text("a child pipeline builds nothing"),
            );
        }
        // Its ref is the source's, which may be a fork's.
        if pipeline.merge_request.is_some() || pipeline.source.as_deref().is_some_and(is_of_a_request) {
            let saw = Saw::text("a merge request's pipeline builds nothing: its own event does");
            return self.stop("pipeline", SkipReason::NotRelevant, saw);
        }
        // A fork's branch may have any name, the tracked one's too.
        if pipeline.fork == Some(true) {
            let saw = Saw::text("a pipeline of a fork's commit builds nothing");
            return self.stop("pipeline", SkipReason::NotRelevant, saw);
        }
        let Some(commit) = pipeline.head.clone() else {
            return self.stop("pipeline", SkipReason::NoCommit, Saw::text("the pipeline names no commit"));
        };
        let kind = if pipeline.is_tag { "tags" } else { "heads" };
        let Ok(git_ref) = GitRef::parse(&format!("refs/{kind}/{}", pipeline.ref_name)) else {
            let saw = Saw::text(format!("`{}` is no ref name", pipeline.ref_name));
            return self.stop("ref", SkipReason::NotRelevant, saw);
        };
        let (branch, tag) = (git_ref.branch().cloned(), git_ref.tag().cloned());
        let scope = match (&branch, &tag) {
            (Some(branch), _) => {
                self.branch_filter("branch filter", "branch", &auto_ci.push.branches, &git.branch, branch)?;
                RefKey::Branch(branch.clone())
            }
            (None, Some(tag)) => {
                self.tag_filter(tag)?;
                RefKey::Tag(tag.clone())
            }
            (None, None) => {
                return self.stop("ref", SkipReason::NotRelevant, Saw::text("neither branch nor tag"));
            }
        };
        Ok(Candidate {
            commit,
            git_ref,
            scope,
            branch,
            tag,
            merge_request: None,
            trust: Trust::Trusted,
            before: None,
            files: ChangedFiles::Unknown,
            message: pipeline.message.clone(),
        })
    }

    fn tag_filter(&mut self, tag: &GitTag) -> Step {
        let filter = &self.service.settings.auto_ci.tag.patterns;
        if filter.is_empty() {
            return Ok(());
        }
        let Some(pattern) = filter.matched_by(tag.as_str()) else {
            let patterns = filter.patterns().to_vec();
            let saw = Saw::NotMatched { what_name: "tag".into(), name: tag.to_string(), patterns };
            return self.stop("tag filter", SkipReason::RefNotMatched, saw);
        };
        let pattern = pattern.to_owned();
        self.pass("tag filter", Saw::Matched { what_name: "tag".into(), name: tag.to_string(), pattern });
        Ok(())
    }

    pub(super) fn branch_filter(
        &mut self,
        rule: &str,
        what: &str,
        filter: &RefFilter,
        tracked: &BranchName,
        branch: &BranchName,
    ) -> Step {
        let pattern = if filter.is_empty() {
            (tracked == branch).then(|| tracked.as_str())
        } else {
            filter.matched_by(branch.as_str())
        };
        let Some(pattern) = pattern else {
            let patterns =
                if filter.is_empty() { vec![tracked.to_string()] } else { filter.patterns().to_vec() };
            let saw = Saw::NotMatched { what_name: what.into(), name: branch.to_string(), patterns };
            return self.stop(rule, SkipReason::RefNotMatched, saw);
        };
        let pattern = pattern.to_owned();
        self.pass(rule, Saw::Matched { what_name: what.into(), name: branch.to_string(), pattern });
        Ok(())
    }
}

/// GitLab's words for pipelines that run for a merge request, its own or another host's, and GitHub's (`pull_request`,
/// `pull_request_target`, `pull_request_review`).
fn is_of_a_request(source: &str) -> bool {
    matches!(source, "merge_request_event" | "external_pull_request_event")
        || source.starts_with("pull_request")
}
