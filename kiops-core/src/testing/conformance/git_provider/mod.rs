//! What [`GitProvider`] promises, as checks.
//!
//! An adapter's test opens a [`GitBench`]: the provider, and a [`GitHost`] that makes repositories for it to read. Whatever a
//! check makes has a name that nobody used before, so that a host which others use as well can be put through it. The checks
//! need a tokio runtime with time; one of several threads tells more.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a check fails by panicking, as a test does"
)]

mod archives;
mod commits;
mod comparing;
mod content;
mod contention;
mod fixtures;
mod hostile;
mod missing;
mod refs;
mod tar;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use super::suite::checks;
use crate::event::Repository;
use crate::name::{CommitId, GitRef, GitTag};
use crate::provider::GitProvider;

checks! { GitBench:
    refs {
        the_provider_has_a_name,
        repositories_are_found_by_a_text_in_their_path_page_by_page,
        every_branch_comes_once_in_name_order_page_by_page,
        branches_are_found_by_a_text_whatever_its_case,
        names_of_refs_are_taken_as_they_are,
        a_branch_and_a_tag_of_one_name_are_told_apart,
        a_ref_that_moves_shows_its_newest_commit_at_the_next_call,
        every_branch_and_tag_is_a_head_once,
        an_annotated_tag_is_the_commit_behind_it,
        an_empty_repository_has_no_refs,
        no_call_changes_anything,
    }
    commits {
        a_commit_says_its_whole_message_author_and_time,
        a_commit_names_its_parents_in_order,
        a_full_id_gives_the_same_answer_wherever_the_branches_go,
        what_was_read_is_read_again_after_a_restart,
    }
    comparing {
        a_comparison_lists_what_was_added_modified_and_removed,
        a_renamed_file_counts_by_both_names,
        what_was_changed_and_changed_back_is_no_difference,
        a_comparison_says_how_the_second_commit_is_related,
        commits_without_a_common_ancestor_compare,
        a_mode_or_a_link_is_a_difference,
        a_list_of_changes_that_is_not_whole_says_so,
    }
    content {
        a_folder_is_listed_in_name_order_with_kinds_and_sizes,
        everything_below_a_folder_is_listed_where_it_is_asked_for,
        a_list_has_as_many_entries_as_asked_for_at_most,
        a_file_comes_out_byte_for_byte,
        a_file_is_read_up_to_its_cap_and_never_in_part,
        a_file_is_read_by_whatever_name_it_has,
    }
    archives {
        an_archive_is_the_whole_tree_of_its_commit,
        links_and_modes_are_in_an_archive_as_they_were_committed,
        attributes_leave_nothing_out_of_an_archive,
        an_archive_that_is_let_go_of_harms_nothing,
        an_archive_over_its_limit_ends_with_an_error,
        what_a_clone_needs_shows_no_secret,
    }
    missing {
        an_unknown_repository_is_none_or_not_found,
        an_unknown_commit_is_none_or_not_found,
        a_ref_that_is_not_there_has_no_head,
        a_file_that_is_not_there_is_none,
        a_folder_that_is_not_there_is_not_found,
    }
    hostile {
        hostile_repository_names_reach_nothing,
        hostile_paths_reach_nothing,
        hostile_search_texts_find_what_contains_them,
    }
    contention {
        many_questions_at_once_each_get_their_own_answer,
        readers_of_a_branch_that_moves_see_it_before_or_after,
    }
}

/// A provider to be put to the proof, and what the checks need with it.
pub struct GitBench {
    /// The provider.
    pub provider: Arc<dyn GitProvider>,
    /// Where the repositories are that it reads.
    pub host: Arc<dyn GitHost>,
    /// The same provider with low limits. Without one, that limits are kept goes unproved.
    pub narrow: Option<Narrow>,
}

/// A provider over the same host that has limits.
#[derive(Debug)]
pub struct Narrow {
    /// The provider.
    pub provider: Arc<dyn GitProvider>,
    /// How many changed files its comparisons list at most. The checks commit about twice as many.
    pub changed_files: usize,
    /// How many bytes its archives have at most. The checks commit a file of that size.
    pub archive_bytes: usize,
}

/// Whatever keeps the repositories: it makes and fills them for the checks. It panics where it cannot.
#[async_trait]
pub trait GitHost: Send + Sync + fmt::Debug {
    /// Whether it has this. Where it does not, the checks leave out what is promised of it.
    fn has(&self, _: Feature) -> bool {
        true
    }

    /// How a repository would be called that has this word in its path. The checks give words that were drawn: 16 hexadecimal
    /// digits, and a few ASCII letters before or after them.
    fn named(&self, word: &str) -> Repository;

    /// Makes this repository, empty.
    async fn create(&self, repository: &Repository);

    /// Puts a commit in, and says its id. No branch points at it yet.
    async fn commit(&self, repository: &Repository, commit: &NewCommit) -> CommitId;

    /// Points a branch or tag at a commit, from wherever it was; `None`: removes it.
    async fn point(&self, repository: &Repository, git_ref: &GitRef, commit: Option<&CommitId>);

    /// Points a tag at a commit with an annotation, and says the id of the tag's own object.
    /// Only called where it has [`Feature::AnnotatedTags`].
    async fn annotate(&self, repository: &Repository, tag: &GitTag, commit: &CommitId) -> CommitId;
}

/// What not every host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Feature {
    /// Its repositories can be listed.
    Listing,
    /// Programs outside can clone from it.
    Cloning,
    /// A commit may have several parents.
    Merges,
    /// A tag may be an object of its own.
    AnnotatedTags,
    /// A file may be executable.
    Executables,
    /// A symbolic link can be committed.
    Symlinks,
    /// Archives are the tree as committed, whatever its attributes say.
    ExactArchives,
}

/// A commit to be made.
#[derive(Debug, Clone)]
pub struct NewCommit {
    /// Its parents, the first one first. More than one only where the host has [`Feature::Merges`].
    pub parents: Vec<CommitId>,
    /// Its message. It ends with a line break.
    pub message: String,
    /// The name of its author and committer.
    pub author: String,
    /// When it was committed, in whole seconds.
    pub timestamp: Timestamp,
    /// Its whole tree, by path.
    pub entries: BTreeMap<String, Entry>,
}

/// An entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A file with this content.
    File(Bytes),
    /// The same, and it may be executed.
    Executable(Bytes),
    /// A symbolic link to this path.
    Symlink(String),
}

impl fmt::Debug for GitBench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitBench").field("provider", &self.provider).finish_non_exhaustive()
    }
}
