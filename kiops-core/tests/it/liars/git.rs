//! Git providers that break one promise each.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use kiops_core::event::{ChangedFiles, FileList, Repository};
use kiops_core::name::{CommitId, GitRef, ProviderName};
use kiops_core::provider::{
    CloneAccess, Commit, Comparison, GitProvider, Head, Page, Relation, RepositoryInfo, Search, TreeEntry,
    TreeEntryKind, TreeQuery,
};
use kiops_core::stream::{ByteStream, collect, once};
use kiops_core::testing::Chaos;
use kiops_core::testing::conformance::Subject;
use kiops_core::testing::conformance::git_provider::{CHECKS, GitBench};
use kiops_core::testing::fakes::FakeGit;
use kiops_core::{ErrorKind, Result};

use super::finds;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    None,
    /// The second page is the first one again.
    PagesRepeat,
    /// The last branch is on no page.
    LosesABranch,
    MindsCase,
    /// A tag stands in for a branch that is not there.
    TakesATagForABranch,
    RemembersHeads,
    /// As a host whose lists have pages of a hundred.
    ListsAHundredHeads,
    SubjectOnly,
    LosesParents,
    AlwaysAhead,
    /// A renamed file counts by its new name.
    NewNameOnly,
    /// And calls it whole.
    CutsChanges,
    FoldersLeftOut,
    LimitIgnored,
    CutsFiles,
    /// `./a` is `a`.
    TidiesPaths,
    /// As hosts do: `{repository}-{commit}/`.
    FolderAroundArchive,
    CutsArchives,
    /// An empty answer instead of `NotFound`.
    UnknownIsEmpty,
    /// Spaces around a repository's path do not count.
    TrimsNames,
    TokenInAddress,
    NoRemedy,
    /// Only the newest question is answered.
    MixesAnswers,
}

#[derive(Debug)]
struct Liar {
    git: FakeGit,
    lie: Lie,
    heads: Mutex<Option<Option<CommitId>>>,
    asked: Mutex<Option<CommitId>>,
}

impl Liar {
    fn is(&self, lie: Lie) -> bool {
        self.lie == lie
    }

    fn named(&self, repository: &Repository) -> Repository {
        let path = if self.is(Lie::TrimsNames) { repository.path.trim() } else { &repository.path };
        Repository { path: path.to_owned(), ..repository.clone() }
    }

    fn told<T>(&self, result: Result<T>) -> Result<T> {
        match result {
            Err(error) if self.is(Lie::NoRemedy) => {
                let (operation, message) = (error.operation().to_owned(), error.message().to_owned());
                Err(kiops_core::Error::new(error.kind(), operation, message))
            }
            other => other,
        }
    }
}

fn lists(mut files: FileList, lie: Lie) -> FileList {
    if lie == Lie::CutsChanges && files.added.len() > 100 {
        files.added = files.added.sorted().into_iter().take(100).map(str::to_owned).collect();
    }
    if lie == Lie::NewNameOnly && files.added.len() == 1 {
        files.removed = std::iter::empty::<String>().collect();
    }
    files
}

#[async_trait]
impl GitProvider for Liar {
    fn name(&self) -> ProviderName {
        self.git.name()
    }

    async fn repositories(&self, search: &Search) -> Result<Page<RepositoryInfo>> {
        self.git.repositories(search).await
    }

    async fn branches(&self, repository: &Repository, search: &Search) -> Result<Page<Head>> {
        let mut search = search.clone();
        if self.is(Lie::PagesRepeat) {
            search.after = None;
        }
        let mut page = match self.git.branches(&self.named(repository), &search).await {
            Err(_) if self.is(Lie::UnknownIsEmpty) => return Ok(Page { items: Vec::new(), next: None }),
            page => self.told(page)?,
        };
        if self.is(Lie::LosesABranch) && page.next.is_none() && page.items.len() > 1 {
            page.items.pop();
        }
        if self.is(Lie::MindsCase) {
            page.items.retain(|head| head.git_ref.branch().unwrap().as_str().contains(&search.text));
        }
        Ok(page)
    }

    async fn heads(&self, repository: &Repository) -> Result<Vec<Head>> {
        let mut heads = self.told(self.git.heads(&self.named(repository)).await)?;
        if self.is(Lie::ListsAHundredHeads) {
            heads.truncate(100);
        }
        Ok(heads)
    }

    async fn head(&self, repository: &Repository, git_ref: &GitRef) -> Result<Option<CommitId>> {
        let repository = &self.named(repository);
        let mut found = self.git.head(repository, git_ref).await?;
        if self.is(Lie::TakesATagForABranch) && found.is_none() && git_ref.branch().is_some() {
            let tag = GitRef::parse(&git_ref.to_string().replace("heads", "tags")).unwrap();
            found = self.git.head(repository, &tag).await?;
        }
        if self.is(Lie::RemembersHeads) {
            found = self.heads.lock().unwrap().get_or_insert(found).clone();
        }
        Ok(found)
    }

    async fn commit(&self, repository: &Repository, commit: &CommitId) -> Result<Option<Commit>> {
        let mut commit = commit.clone();
        if self.is(Lie::MixesAnswers) {
            *self.asked.lock().unwrap() = Some(commit.clone());
            tokio::task::yield_now().await;
            commit = self.asked.lock().unwrap().clone().unwrap();
        }
        let mut found = GitProvider::commit(&self.git, &self.named(repository), &commit).await?;
        if let Some(found) = &mut found {
            if self.is(Lie::SubjectOnly) {
                found.message = found.message.lines().next().unwrap().to_owned();
            }
            if self.is(Lie::LosesParents) {
                found.parents.truncate(1);
            }
        }
        Ok(found)
    }

    async fn compare(&self, repository: &Repository, from: &CommitId, to: &CommitId) -> Result<Comparison> {
        let mut found = self.told(self.git.compare(&self.named(repository), from, to).await)?;
        if self.is(Lie::AlwaysAhead) && from != to {
            found.relation = Relation::Ahead;
        }
        if let ChangedFiles::Complete(files) = found.files {
            found.files = ChangedFiles::Complete(lists(files, self.lie));
        }
        Ok(found)
    }

    async fn tree(
        &self,
        repository: &Repository,
        commit: &CommitId,
        query: &TreeQuery,
    ) -> Result<Vec<TreeEntry>> {
        let mut query = query.clone();
        if self.is(Lie::LimitIgnored) {
            query.limit = 1000;
        }
        let mut entries = self.told(self.git.tree(&self.named(repository), commit, &query).await)?;
        if self.is(Lie::FoldersLeftOut) {
            entries.retain(|entry| entry.kind != TreeEntryKind::Folder);
        }
        Ok(entries)
    }

    async fn file(
        &self,
        repository: &Repository,
        commit: &CommitId,
        path: &str,
        cap: usize,
    ) -> Result<Option<Bytes>> {
        let repository = &self.named(repository);
        let path = if self.is(Lie::TidiesPaths) { path.trim_start_matches("./") } else { path };
        match self.git.file(repository, commit, path, cap).await {
            Err(error) if self.is(Lie::CutsFiles) && error.kind() == ErrorKind::TooLarge => {
                let whole = self.git.file(repository, commit, path, usize::MAX).await?;
                Ok(whole.map(|whole| whole.slice(..cap)))
            }
            other => other,
        }
    }

    async fn archive(&self, repository: &Repository, commit: &CommitId) -> Result<ByteStream> {
        let archive = self.told(self.git.archive(&self.named(repository), commit).await)?;
        let mut bytes = collect(archive, 64 << 20).await?.to_vec();
        if self.is(Lie::CutsArchives) {
            bytes.truncate(bytes.len() / 2);
        }
        if self.is(Lie::FolderAroundArchive) {
            bytes = around(&bytes);
        }
        Ok(once(bytes.into()))
    }

    async fn clone_access(&self, repository: &Repository, commit: &CommitId) -> Result<CloneAccess> {
        let mut access = self.git.clone_access(repository, commit).await?;
        if self.is(Lie::TokenInAddress) {
            access.url = access.url.replace("https://", "https://oauth2:token@");
        }
        Ok(access)
    }
}

/// The first entry of a tar file, put into a folder.
fn around(archive: &[u8]) -> Vec<u8> {
    let mut bytes = archive.to_vec();
    let header = &mut bytes[..512];
    header.copy_within(0..94, 6);
    header[..6].copy_from_slice(b"sites/");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    bytes
}

#[async_trait]
impl Subject<GitBench> for Lie {
    async fn open(&self) -> Arc<GitBench> {
        let repository = Repository { id: None, path: "team/first".into() };
        let git = FakeGit::new(ProviderName::parse("fake").unwrap(), repository, Chaos::none());
        let host = Arc::new(git.clone());
        let liar = Liar { git, lie: *self, heads: Mutex::default(), asked: Mutex::default() };
        Arc::new(GitBench { provider: Arc::new(liar), host, narrow: None })
    }

    async fn reopen(&self) -> Option<Arc<GitBench>> {
        None
    }
}

#[tokio::test]
async fn a_provider_that_breaks_a_promise_is_found_out() {
    let cases = [
        (Lie::PagesRepeat, "every_branch_comes_once_in_name_order_page_by_page"),
        (Lie::LosesABranch, "every_branch_comes_once_in_name_order_page_by_page"),
        (Lie::MindsCase, "branches_are_found_by_a_text_whatever_its_case"),
        (Lie::TakesATagForABranch, "a_branch_and_a_tag_of_one_name_are_told_apart"),
        (Lie::RemembersHeads, "a_ref_that_moves_shows_its_newest_commit_at_the_next_call"),
        (Lie::ListsAHundredHeads, "every_branch_and_tag_is_a_head_once"),
        (Lie::SubjectOnly, "a_commit_says_its_whole_message_author_and_time"),
        (Lie::LosesParents, "a_commit_names_its_parents_in_order"),
        (Lie::AlwaysAhead, "a_comparison_says_how_the_second_commit_is_related"),
        (Lie::AlwaysAhead, "commits_without_a_common_ancestor_compare"),
        (Lie::NewNameOnly, "a_renamed_file_counts_by_both_names"),
        (Lie::CutsChanges, "a_list_of_changes_that_is_not_whole_says_so"),
        (Lie::FoldersLeftOut, "everything_below_a_folder_is_listed_where_it_is_asked_for"),
        (Lie::LimitIgnored, "a_list_has_as_many_entries_as_asked_for_at_most"),
        (Lie::CutsFiles, "a_file_is_read_up_to_its_cap_and_never_in_part"),
        (Lie::TidiesPaths, "hostile_paths_reach_nothing"),
        (Lie::FolderAroundArchive, "an_archive_is_the_whole_tree_of_its_commit"),
        (Lie::CutsArchives, "an_archive_is_the_whole_tree_of_its_commit"),
        (Lie::UnknownIsEmpty, "an_unknown_repository_is_none_or_not_found"),
        (Lie::UnknownIsEmpty, "hostile_repository_names_reach_nothing"),
        (Lie::TrimsNames, "hostile_repository_names_reach_nothing"),
        (Lie::TokenInAddress, "what_a_clone_needs_shows_no_secret"),
        (Lie::NoRemedy, "an_unknown_commit_is_none_or_not_found"),
        (Lie::MixesAnswers, "many_questions_at_once_each_get_their_own_answer"),
    ];
    for (lie, check) in cases {
        assert!(!finds(CHECKS, check, &Lie::None).await, "{check} finds something where nothing is wrong");
        assert!(finds(CHECKS, check, &lie).await, "{check} does not find {lie:?}");
    }
}
