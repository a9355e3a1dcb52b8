//! Releases as commits, on a Git host in memory that moves a branch only from where the caller saw it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use kiops_core::event::Repository;
use kiops_core::name::{
    BranchName, CommitId, ContainerName, DnsLabel, EnvironmentName, GitRef, ProviderName, ReleaseId,
    ServiceName,
};
use kiops_core::provider::{
    CloneAccess, Commit, Comparison, FileChange, GitProvider, Head, Import, ImportProgress, MergeRequestInfo,
    MergeRequestState, NewCommit, NewMergeRequest, NewRepository, Owner, Page, RepositoryInfo, Search,
    TreeEntry, TreeQuery, Writes,
};
use kiops_core::release::{DeployTarget, Deployer, Proposal, Proposals as _, Revision, RolloutStatus};
use kiops_core::service::{GitChange, GitFile, Target};
use kiops_core::stream::ByteStream;
use kiops_core::testing::conformance::deployer::DeployBench;
use kiops_core::testing::conformance::{self, Subject};
use kiops_core::{Error, ErrorKind, Result};
use kiops_kube::{GitOps, GitOpsConfig};

use crate::common::{image, release, request_of};

/// What a file that nobody committed says.
const MANIFEST: &str = "# the site\nspec:\n  containers:\n  - name: web\n    image: old:1\n";

type Files = BTreeMap<String, Bytes>;

/// One repository. Files below `apps/` are there from the start.
#[derive(Debug, Default)]
struct Host {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    commits: HashMap<CommitId, Files>,
    /// Where the branches are, besides a `main` that nobody committed to.
    branches: BTreeMap<String, CommitId>,
    /// The messages of all commits, in their order.
    log: Vec<String>,
    requests: Vec<Request>,
    down: bool,
    /// Answers the next commit with a fault after it was made.
    deaf: bool,
    /// Nothing can be closed: somebody is merging it.
    locked: bool,
    /// What of the target was there when a branch was made.
    starts: HashMap<String, Files>,
}

#[derive(Debug)]
struct Request {
    source: String,
    target: String,
    title: String,
    state: MergeRequestState,
}

fn commit_id(n: usize) -> CommitId {
    CommitId::parse(format!("{:040x}", n + 1)).unwrap()
}

impl State {
    fn head_of(&self, branch: &str) -> Option<CommitId> {
        let first = || (branch == "main").then(|| commit_id(0));
        self.branches.get(branch).cloned().or_else(first)
    }

    fn files_of(&self, branch: &str) -> Files {
        self.head_of(branch).and_then(|head| self.commits.get(&head).cloned()).unwrap_or_default()
    }

    fn up(&self) -> Result<()> {
        if self.down { Err(Error::unavailable("ask host", "it is down")) } else { Ok(()) }
    }

    fn commit(&mut self, branch: &str, mut files: Files, changes: &[FileChange], message: &str) -> CommitId {
        for change in changes {
            match &change.content {
                Some(content) => drop(files.insert(change.path.clone(), content.clone())),
                None => drop(files.remove(&change.path)),
            }
        }
        self.log.push(message.to_owned());
        let head = commit_id(self.log.len());
        self.commits.insert(head.clone(), files);
        self.branches.insert(branch.to_owned(), head.clone());
        head
    }

    /// Merges a request if it is open, as Git does: what both sides changed is a conflict, and nothing happens.
    fn merge(&mut self, at: usize) {
        let Request { source, target, state, .. } = &self.requests[at];
        let (source, target) = (source.clone(), target.clone());
        if *state != MergeRequestState::Open {
            return;
        }
        let (start, mut files, theirs) =
            (self.starts[&source].clone(), self.files_of(&target), self.files_of(&source));
        let changed: Vec<_> = theirs.iter().filter(|(path, text)| start.get(*path) != Some(text)).collect();
        if changed.iter().any(|(path, _)| start.get(*path) != files.get(*path)) {
            return;
        }
        files.extend(changed.into_iter().map(|(path, text)| (path.clone(), text.clone())));
        self.requests[at].state = MergeRequestState::Merged;
        self.commit(&target, files, &[], "merge");
    }

    fn close(&mut self, at: usize) {
        if self.requests[at].state == MergeRequestState::Open {
            self.requests[at].state = MergeRequestState::Closed;
        }
    }
}

impl Host {
    fn text(&self, path: &str) -> String {
        let found = self.state.lock().unwrap().files_of("main").get(path).cloned();
        found.map_or_else(|| MANIFEST.to_owned(), |bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn by_hand(&self, path: &str, text: &str) {
        let change = FileChange { path: path.to_owned(), content: Some(Bytes::from(text.to_owned())) };
        let mut state = self.state.lock().unwrap();
        let files = state.files_of("main");
        state.commit("main", files, &[change], "by hand");
    }

    fn messages(&self) -> Vec<String> {
        self.state.lock().unwrap().log.clone()
    }

    /// The merge requests that there were, by title and state.
    fn requests(&self) -> Vec<(String, MergeRequestState)> {
        let state = self.state.lock().unwrap();
        state.requests.iter().map(|request| (request.title.clone(), request.state)).collect()
    }

    /// Somebody answers the newest request of a release.
    fn answer(&self, release: &ReleaseId, yes: bool) {
        let mut state = self.state.lock().unwrap();
        let digits = release.as_str().trim_start_matches("r-");
        let of_release = |request: &Request| request.source.ends_with(digits);
        match (state.requests.iter().rposition(of_release), yes) {
            (Some(at), true) => state.merge(at),
            (Some(at), false) => state.close(at),
            (None, _) => {}
        }
    }
}

impl Host {
    fn found(&self, source: &BranchName, target: &BranchName) -> Result<Option<MergeRequestInfo>> {
        let state = self.state.lock().unwrap();
        state.up()?;
        let same = |request: &Request| request.source == source.as_str() && request.target == target.as_str();
        let at = state.requests.iter().rposition(same);
        Ok(at.map(|at| MergeRequestInfo {
            number: at as u64 + 1,
            web_url: Some(format!("https://host/mr/{}", at + 1)),
            state: state.requests[at].state,
        }))
    }
}

fn never<T>() -> Result<T> {
    Err(Error::unsupported("ask host", "not asked in these tests"))
}

#[async_trait]
impl GitProvider for Host {
    fn name(&self) -> ProviderName {
        ProviderName::parse("host").unwrap()
    }
    async fn repositories(&self, _: &Search) -> Result<Page<RepositoryInfo>> {
        never()
    }
    /// One a page, so that nobody forgets the next.
    async fn branches(&self, _: &Repository, search: &Search) -> Result<Page<Head>> {
        let state = self.state.lock().unwrap();
        state.up()?;
        let after = search.after.clone().unwrap_or_default();
        let mut found =
            state.branches.iter().filter(|(name, _)| name.contains(&search.text) && **name > after);
        let items = found.next().map(|(name, commit)| Head {
            git_ref: GitRef::parse(&format!("refs/heads/{name}")).unwrap(),
            commit: commit.clone(),
            object: None,
        });
        let next = items.as_ref().filter(|_| found.next().is_some());
        let next = next.and_then(|head| head.git_ref.branch()).map(ToString::to_string);
        Ok(Page { items: items.into_iter().collect(), next })
    }
    async fn heads(&self, _: &Repository) -> Result<Vec<Head>> {
        never()
    }
    async fn head(&self, _: &Repository, git_ref: &GitRef) -> Result<Option<CommitId>> {
        let state = self.state.lock().unwrap();
        state.up()?;
        Ok(git_ref.branch().and_then(|branch| state.head_of(branch.as_str())))
    }
    async fn commit(&self, _: &Repository, _: &CommitId) -> Result<Option<Commit>> {
        never()
    }
    async fn compare(&self, _: &Repository, _: &CommitId, _: &CommitId) -> Result<Comparison> {
        never()
    }
    async fn tree(&self, _: &Repository, _: &CommitId, _: &TreeQuery) -> Result<Vec<TreeEntry>> {
        never()
    }
    async fn file(&self, _: &Repository, commit: &CommitId, path: &str, _: usize) -> Result<Option<Bytes>> {
        let state = self.state.lock().unwrap();
        state.up()?;
        let found = state.commits.get(commit).and_then(|files| files.get(path)).cloned();
        Ok(found.or_else(|| path.starts_with("apps/").then(|| Bytes::from(MANIFEST))))
    }
    async fn archive(&self, _: &Repository, _: &CommitId) -> Result<ByteStream> {
        never()
    }
    async fn clone_access(&self, _: &Repository, _: &CommitId) -> Result<CloneAccess> {
        never()
    }
    fn writes(&self) -> Option<&dyn Writes> {
        Some(self)
    }
}

#[async_trait]
impl Writes for Host {
    async fn owners(&self, _: &Search) -> Result<Page<Owner>> {
        never()
    }
    async fn create_repository(&self, _: &NewRepository) -> Result<RepositoryInfo> {
        never()
    }
    async fn commit_files(&self, _: &Repository, commit: &NewCommit) -> Result<CommitId> {
        // Others get a turn between reading and writing.
        tokio::task::yield_now().await;
        let mut state = self.state.lock().unwrap();
        state.up()?;
        let branch = commit.branch.as_str();
        let at = state.head_of(branch).or_else(|| commit.parent.clone());
        if commit.parent != at {
            return Err(Error::conflict("commit", "the branch has moved"));
        }
        let files = at.and_then(|at| state.commits.get(&at).cloned()).unwrap_or_default();
        state.starts.entry(branch.to_owned()).or_insert_with(|| files.clone());
        let made = state.commit(branch, files, &commit.files, &commit.message);
        if std::mem::take(&mut state.deaf) {
            return Err(Error::unavailable("commit", "the answer was lost"));
        }
        Ok(made)
    }
    async fn open_merge_request(&self, _: &Repository, new: &NewMergeRequest) -> Result<MergeRequestInfo> {
        if let Some(found) = self.found(&new.source, &new.target)?
            && found.state == MergeRequestState::Open
        {
            return Ok(found);
        }
        let mut state = self.state.lock().unwrap();
        state.requests.push(Request {
            source: new.source.to_string(),
            target: new.target.to_string(),
            title: new.title.clone(),
            state: MergeRequestState::Open,
        });
        drop(state);
        Ok(self.found(&new.source, &new.target)?.unwrap())
    }
    async fn merge_request(
        &self,
        _: &Repository,
        source: &BranchName,
        target: &BranchName,
    ) -> Result<Option<MergeRequestInfo>> {
        self.found(source, target)
    }
    async fn close_merge_request(&self, _: &Repository, number: u64) -> Result<()> {
        let mut state = self.state.lock().unwrap();
        state.up()?;
        if !state.locked {
            state.close(usize::try_from(number).unwrap() - 1);
        }
        Ok(())
    }
    async fn import_repository(&self, _: &Import) -> Result<RepositoryInfo> {
        never()
    }
    async fn import_progress(&self, _: &Repository) -> Result<ImportProgress> {
        never()
    }
}

fn target(word: &str) -> DeployTarget {
    DeployTarget {
        service: ServiceName::parse(format!("s{word}")).unwrap(),
        component: Default::default(),
        environment: EnvironmentName::parse("dev").unwrap(),
        namespace: DnsLabel::parse("shop").unwrap(),
        target: Target::GitFile(GitFile {
            provider: ProviderName::parse("host").unwrap(),
            repository: Repository { id: None, path: "ops/clusters".into() },
            branch: BranchName::parse("main").unwrap(),
            path: format!("apps/{word}.yaml"),
            container: ContainerName::parse("web").unwrap(),
            by: GitChange::Commit,
        }),
        preview: None,
    }
}

/// The same by merge request.
fn reviewed(word: &str) -> DeployTarget {
    let mut target = target(word);
    let Target::GitFile(file) = &mut target.target else { unreachable!() };
    file.by = GitChange::MergeRequest;
    target
}

fn gitops(host: &Arc<Host>) -> GitOps {
    GitOps::new(GitOpsConfig::default(), [Arc::clone(host) as Arc<dyn GitProvider>]).unwrap()
}

fn site(id: &str) -> kiops_core::release::DeployRequest {
    request_of(id, &[("web", &format!("reg.example/site:{id}"))])
}

struct Hosts(Mutex<Arc<Host>>);

#[async_trait]
impl Subject<DeployBench> for Hosts {
    async fn open(&self) -> Arc<DeployBench> {
        *self.0.lock().unwrap() = Arc::default();
        self.reopen().await.unwrap()
    }

    async fn reopen(&self) -> Option<Arc<DeployBench>> {
        let host = Arc::clone(&self.0.lock().unwrap());
        let people = Arc::clone(&host);
        let bench =
            DeployBench::new(Arc::new(gitops(&host)), target).with_people(reviewed, move |release, yes| {
                people.answer(&release, yes);
                std::future::ready(())
            });
        let bench = bench.with_refused(|_, request| request.images.clear());
        Some(Arc::new(bench.with_fault(move |on| host.state.lock().unwrap().down = on)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn commits_keep_every_promise_of_a_deployer() {
    conformance::deployer::all(&Hosts(Mutex::default())).await;
}

/// What a release is proposed as.
fn open(number: u64) -> Proposal {
    Proposal::Open(format!("merge request {number} (https://host/mr/{number})"))
}

fn closed(number: u64) -> Proposal {
    Proposal::Rejected(format!("merge request {number} (https://host/mr/{number}) was closed"))
}

#[tokio::test]
async fn a_release_is_proposed_and_what_others_commit_meanwhile_stays() {
    let host = Arc::<Host>::default();
    let (deployer, target, site) = (gitops(&host), reviewed("a"), site("1"));
    assert_eq!(deployer.propose(&target, &site).await.unwrap(), open(1));
    assert_eq!(host.text("apps/a.yaml"), MANIFEST, "nothing has changed yet");
    assert_eq!(host.requests(), [("Deploy sa to dev".into(), MergeRequestState::Open)]);
    let message = host.messages().pop().unwrap();
    assert!(message.starts_with("Deploy sa to dev\n"), "the proposal's own pipelines run: {message}");
    host.by_hand("apps/b.yaml", "of others");
    assert_eq!(deployer.propose(&target, &site).await.unwrap(), open(1), "another file is no conflict");
    host.answer(&site.release, true);
    assert_eq!(deployer.propose(&target, &site).await.unwrap(), Proposal::Accepted(Revision(1)));
    assert_eq!(deployer.status(&target, Revision(1)).await.unwrap(), RolloutStatus::Complete);
    assert_eq!(host.text("apps/a.yaml"), MANIFEST.replace("old:1", &image("reg.example/site:1").to_string()));
    assert_eq!(host.text("apps/b.yaml"), "of others");
    assert_eq!(host.requests().len(), 1);
}

/// It cannot be merged any more: another release became its revision.
#[tokio::test]
async fn what_cannot_be_merged_any_more_is_closed_and_proposed_anew() {
    let host = Arc::<Host>::default();
    let (deployer, target) = (gitops(&host), reviewed("a"));
    let (one, two) = (site("1"), site("2"));
    deployer.propose(&target, &one).await.unwrap();
    assert_eq!(deployer.propose(&target, &two).await.unwrap(), open(2));
    host.answer(&one.release, true);
    host.answer(&two.release, true);
    assert!(host.text("apps/a.yaml").contains("site:1"), "the second is a conflict");
    assert_eq!(deployer.propose(&target, &two).await.unwrap(), open(3));
    use MergeRequestState::{Closed, Merged, Open};
    let states: Vec<_> = host.requests().into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, [Merged, Closed, Open]);
    deployer.withdraw(&target, &two.release).await.unwrap();
    assert_eq!(host.requests()[2].1, Closed);
    assert_eq!(deployer.propose(&target, &two).await.unwrap(), closed(3));
}

#[tokio::test]
async fn a_merge_that_left_the_release_out_is_waited_for_and_not_taken_back() {
    let host = Arc::<Host>::default();
    let (deployer, target, site) = (gitops(&host), reviewed("a"), site("1"));
    deployer.propose(&target, &site).await.unwrap();
    host.state.lock().unwrap().requests[0].state = MergeRequestState::Merged;
    assert_eq!(deployer.propose(&target, &site).await.unwrap(), open(1));
    let error = deployer.withdraw(&target, &site.release).await.unwrap_err();
    let text = "merge request 1 (https://host/mr/1) was merged, and main does not have it";
    assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, text));
}

/// Somebody has pressed the button: nothing closes it any more, and it is merged a moment later.
#[tokio::test]
async fn what_is_being_merged_is_not_said_to_be_taken_back() {
    let host = Arc::<Host>::default();
    let (deployer, target, site) = (gitops(&host), reviewed("a"), site("1"));
    deployer.propose(&target, &site).await.unwrap();
    host.state.lock().unwrap().locked = true;
    let error = deployer.withdraw(&target, &site.release).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    host.answer(&site.release, true);
    assert_eq!(deployer.withdraw(&target, &site.release).await.unwrap(), Some(Revision(1)));
}

/// As at hosts that make the branch before the commit.
#[tokio::test]
async fn a_proposal_that_was_cut_off_after_its_branch_was_made_is_completed() {
    let host = Arc::<Host>::default();
    let (deployer, target, site) = (gitops(&host), reviewed("a"), site("1"));
    host.by_hand("apps/b.yaml", "of others");
    let name = proposal("sa", 1, &site.release);
    {
        let mut state = host.state.lock().unwrap();
        let (head, files) = (state.head_of("main").unwrap(), state.files_of("main"));
        state.branches.insert(name.clone(), head);
        state.starts.insert(name, files);
    }
    assert_eq!(deployer.propose(&target, &site).await.unwrap(), open(1));
    host.answer(&site.release, true);
    assert_eq!(deployer.propose(&target, &site).await.unwrap(), Proposal::Accepted(Revision(1)));
}

fn proposal(service: &str, revision: u64, release: &ReleaseId) -> String {
    let place = kiops_core::name::dns_label([service, "main", "dev"]);
    BranchName::of_proposal(&place, revision, release).to_string()
}

/// The answer to what was proposed is lost: the same call finds it.
#[tokio::test]
async fn a_proposal_whose_answer_was_lost_is_not_made_twice() {
    let host = Arc::<Host>::default();
    host.state.lock().unwrap().deaf = true;
    let (deployer, target) = (gitops(&host), reviewed("a"));
    assert_eq!(deployer.propose(&target, &site("1")).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(host.requests(), []);
    assert_eq!(deployer.propose(&target, &site("1")).await.unwrap(), open(1));
    assert_eq!((host.messages().len(), host.requests().len()), (1, 1));
}

#[tokio::test]
async fn a_branch_that_has_another_release_is_not_written_to() {
    let host = Arc::<Host>::default();
    let (deployer, target, one) = (gitops(&host), reviewed("a"), site("1"));
    deployer.propose(&target, &one).await.unwrap();
    let two = site("2");
    let (from, to) = (proposal("sa", 1, &one.release), proposal("sa", 1, &two.release));
    {
        let mut state = host.state.lock().unwrap();
        let head = state.head_of(&from).unwrap();
        state.branches.insert(to.clone(), head);
    }
    let error = deployer.propose(&target, &two).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.message().contains(&to), "{error}");
    assert_eq!((host.messages().len(), host.requests().len()), (1, 1));
}

#[tokio::test]
async fn a_history_in_which_a_revision_is_twice_is_said_to_be_broken() {
    let host = Arc::<Host>::default();
    let (deployer, target) = (gitops(&host), target("a"));
    deployer.apply(&target, &site("1")).await.unwrap();
    let path = ".kiops/sa/main/dev.json";
    let mut history: serde_json::Value = serde_json::from_str(&host.text(path)).unwrap();
    let again = history["revisions"][0].clone();
    history["revisions"].as_array_mut().unwrap().push(again);
    host.by_hand(path, &history.to_string());
    let error = deployer.history(&target).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.message().contains("revision 1 is there twice"), "{error}");
}

#[tokio::test]
async fn what_changes_by_merge_request_goes_back_by_nothing_else() {
    let host = Arc::<Host>::default();
    let (deployer, target) = (gitops(&host), reviewed("a"));
    for n in ["1", "2"] {
        deployer.propose(&target, &site(n)).await.unwrap();
        host.answer(&site(n).release, true);
    }
    let error = deployer.rollback(&target, Revision(1), &release("back")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("by merge request only"), "{error}");
}

#[tokio::test]
async fn a_release_is_one_commit_that_changes_the_image_and_nothing_else() {
    let host = Arc::<Host>::default();
    gitops(&host).apply(&target("a"), &site("1.0")).await.unwrap();
    let pinned = image("reg.example/site:1.0").to_string();
    assert_eq!(host.text("apps/a.yaml"), MANIFEST.replace("old:1", &pinned));
    let [message] = &host.messages()[..] else { panic!("one commit: {:?}", host.messages()) };
    assert!(message.starts_with("Deploy sa to dev [skip ci]\n"), "{message}");
    assert!(message.contains(&format!("Kiops-Release: {}", release("1.0"))), "{message}");
}

/// The answer to a commit that was made is lost: the same call finds it.
#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_not_made_twice() {
    let host = Arc::<Host>::default();
    host.state.lock().unwrap().deaf = true;
    assert_eq!(
        gitops(&host).apply(&target("a"), &site("1")).await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    assert_eq!(gitops(&host).apply(&target("a"), &site("1")).await.unwrap(), Revision(1));
    assert_eq!(host.messages().len(), 1);
}

#[tokio::test]
async fn what_others_commit_to_the_same_file_is_kept_and_a_changed_image_is_a_failed_rollout() {
    let host = Arc::<Host>::default();
    let (deployer, target) = (gitops(&host), target("a"));
    deployer.apply(&target, &site("1")).await.unwrap();
    let text = host.text("apps/a.yaml");
    host.by_hand("apps/a.yaml", &format!("{text}replicas: 3\n"));
    assert_eq!(deployer.status(&target, Revision(1)).await.unwrap(), RolloutStatus::Complete);
    host.by_hand("apps/a.yaml", &text.replace("site:1", "site:9"));
    let status = deployer.status(&target, Revision(1)).await.unwrap();
    let RolloutStatus::Failed(failure) = status else { panic!("{status:?}") };
    assert!(failure.message.contains("apps/a.yaml has another image"), "{failure}");
    host.by_hand("apps/a.yaml", &format!("{text}replicas: 3\n"));
    deployer.apply(&target, &site("2")).await.unwrap();
    assert!(host.text("apps/a.yaml").ends_with("replicas: 3\n"));
}

#[tokio::test]
async fn a_missing_branch_file_provider_or_container_is_named() {
    let host = Arc::<Host>::default();
    let mut wrong = target("a");
    let Target::GitFile(file) = &mut wrong.target else { unreachable!() };
    file.branch = BranchName::parse("gone").unwrap();
    let refused = async |target: &DeployTarget| gitops(&host).apply(target, &site("1")).await.unwrap_err();
    assert!(refused(&wrong).await.message().contains("there is no branch gone in ops/clusters"));
    let Target::GitFile(file) = &mut wrong.target else { unreachable!() };
    (file.branch, file.path) = (BranchName::parse("main").unwrap(), "missing.yaml".into());
    assert!(refused(&wrong).await.message().contains("missing.yaml is not in main"));
    let Target::GitFile(file) = &mut wrong.target else { unreachable!() };
    file.provider = ProviderName::parse("other").unwrap();
    assert!(refused(&wrong).await.message().contains("provider `other` is not registered"));
    host.by_hand("apps/a.yaml", "containers: []\n");
    let error = refused(&target("a")).await;
    assert!(error.message().starts_with("apps/a.yaml: there is no container `web`"), "{error}");
    assert!(error.remedy().is_some());
    assert_eq!(host.messages(), ["by hand"]);
}

#[tokio::test]
async fn a_history_that_somebody_broke_is_said_to_be_broken_and_stays() {
    let host = Arc::<Host>::default();
    host.by_hand(".kiops/sa/main/dev.json", "{");
    let error = gitops(&host).apply(&target("a"), &site("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains(".kiops/sa/main/dev.json"), "{error}");
    assert_eq!(host.messages(), ["by hand"]);
}

#[tokio::test]
async fn a_target_whose_file_is_gone_is_removed_all_the_same() {
    let host = Arc::<Host>::default();
    let (deployer, mut target) = (gitops(&host), target("a"));
    deployer.apply(&target, &site("1")).await.unwrap();
    let Target::GitFile(file) = &mut target.target else { unreachable!() };
    file.path = "gone.yaml".into();
    for _ in 0..2 {
        deployer.remove(&target).await.unwrap();
    }
    assert_eq!(host.messages().len(), 2);
    let Target::GitFile(file) = &mut target.target else { unreachable!() };
    file.branch = BranchName::parse("gone").unwrap();
    deployer.remove(&target).await.unwrap();
}

#[tokio::test]
async fn a_revision_after_which_there_is_none_is_refused() {
    let host = Arc::<Host>::default();
    gitops(&host).apply(&target("a"), &site("1")).await.unwrap();
    let path = ".kiops/sa/main/dev.json";
    let record = host.text(path).replace("\"revision\": 1", &format!("\"revision\": {}", u64::MAX));
    host.by_hand(path, &record);
    let error = gitops(&host).apply(&target("a"), &site("2")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}
