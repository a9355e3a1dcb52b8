//! Carrying a retention plan out, on a registry that changes and fails meanwhile.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use kiops_core::filter::TagFilter;
use kiops_core::image::{
    ImageAccess, ImageUse, Manifest, PruneOutcome, PruneReport, Registry, RegistryCredential, RetentionFacts,
    RetentionPlan, RetentionPolicy, TagGroup, TagPage, plan_retention, prune, referrers_tag,
};
use kiops_core::name::{Digest, ImageName, ImageRef, Tag};
use kiops_core::stream::ByteStream;
use kiops_core::testing::Chaos;
use kiops_core::testing::fakes::FakeRegistry;
use kiops_core::{Error, ErrorKind, Result};

type Trouble = dyn Fn(&ImageRef) -> Option<Error> + Send + Sync;

/// A registry in memory that fails where it is told to, and that others change.
struct World {
    inner: FakeRegistry,
    image: ImageName,
    trouble: Mutex<Arc<Trouble>>,
    /// A manifest that is there and is not given out.
    withheld: Mutex<Option<Digest>>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}

fn tag(name: &str) -> Tag {
    Tag::parse(name).unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn days_ago(days: i64) -> Timestamp {
    now() - SignedDuration::from_hours(24 * days)
}

fn newest(n: u32) -> RetentionPolicy {
    let tags = TagFilter::parse(["*"]).unwrap();
    let group = TagGroup { tags, newest: Some(n), ..TagGroup::default() };
    RetentionPolicy { groups: vec![group], ..RetentionPolicy::default() }
}

impl World {
    fn new() -> Self {
        let image = ImageName::parse("h.io/team/app").unwrap();
        let trouble: Arc<Trouble> = Arc::new(|_| None);
        let inner = FakeRegistry::new(Chaos::none());
        Self { inner, image, trouble: Mutex::new(trouble), withheld: Mutex::default() }
    }

    /// Five images, `v1` the oldest, and another tag at `v2`'s.
    fn with_five() -> (Self, ImageUse) {
        let (world, mut used) = (Self::new(), ImageUse::default());
        for n in 1..=5 {
            let digest = world.push(&format!("v{n}"));
            used.built.insert(digest, days_ago(10 - n));
        }
        (world, used)
    }

    fn push(&self, name: &str) -> Digest {
        self.inner.push(&self.image, &tag(name), &format!(r#"{{"layers":[],"name":"{name}"}}"#))
    }

    fn in_the_way(&self, trouble: impl Fn(&ImageRef) -> Option<Error> + Send + Sync + 'static) {
        *self.trouble.lock().unwrap() = Arc::new(trouble);
    }

    async fn plan(&self, policy: &RetentionPolicy, used: &ImageUse) -> RetentionPlan {
        let facts = RetentionFacts::read(self, &self.image, used.clone()).await.unwrap();
        plan_retention(policy, &facts, now())
    }

    async fn names(&self) -> Vec<String> {
        let tags = self.inner.tags(&self.image, &TagPage::default()).await.unwrap();
        tags.iter().map(ToString::to_string).collect()
    }
}

#[async_trait]
impl Registry for World {
    async fn check(&self, image: &ImageName) -> Result<()> {
        self.inner.check(image).await
    }
    async fn tags(&self, image: &ImageName, page: &TagPage) -> Result<Vec<Tag>> {
        // A page of two, so that there is always another one.
        let limit = if page.limit == 0 { 2 } else { page.limit };
        let mut page = page.clone();
        page.limit = limit;
        self.inner.tags(image, &page).await
    }
    async fn resolve(&self, image: &ImageRef) -> Result<Option<Digest>> {
        self.inner.resolve(image).await
    }
    async fn manifest(&self, image: &ImageName, digest: &Digest) -> Result<Manifest> {
        if self.withheld.lock().unwrap().as_ref() == Some(digest) {
            return Err(Error::not_found("read manifest", "it is not given out"));
        }
        self.inner.manifest(image, digest).await
    }
    async fn put_manifest(&self, image: &ImageName, manifest: &Manifest) -> Result<Digest> {
        self.inner.put_manifest(image, manifest).await
    }
    async fn blob(&self, image: &ImageName, digest: &Digest) -> Result<ByteStream> {
        self.inner.blob(image, digest).await
    }
    async fn blob_size(&self, image: &ImageName, digest: &Digest) -> Result<Option<u64>> {
        self.inner.blob_size(image, digest).await
    }
    async fn put_blob(
        &self,
        image: &ImageName,
        digest: &Digest,
        size: u64,
        content: ByteStream,
    ) -> Result<()> {
        self.inner.put_blob(image, digest, size, content).await
    }
    async fn mount_blob(&self, image: &ImageName, from: &ImageName, digest: &Digest) -> Result<bool> {
        self.inner.mount_blob(image, from, digest).await
    }
    async fn tag(&self, image: &ImageName, tag: &Tag, digest: &Digest) -> Result<()> {
        self.inner.tag(image, tag, digest).await
    }
    async fn delete(&self, image: &ImageRef) -> Result<()> {
        let trouble = Arc::clone(&*self.trouble.lock().unwrap());
        match trouble(image) {
            Some(error) => Err(error),
            None => self.inner.delete(image).await,
        }
    }
    async fn credential(&self, image: &ImageName, access: ImageAccess) -> Result<Option<RegistryCredential>> {
        self.inner.credential(image, access).await
    }
}

fn words(report: &PruneReport) -> Vec<&'static str> {
    let word = |outcome: &PruneOutcome| match outcome {
        PruneOutcome::Deleted => "deleted",
        PruneOutcome::Gone => "gone",
        PruneOutcome::Changed(_) => "changed",
        PruneOutcome::Failed(_) => "failed",
        PruneOutcome::NotTried(_) => "not tried",
        _ => "?",
    };
    report.items.iter().map(|item| word(&item.outcome)).collect()
}

#[tokio::test]
async fn what_a_plan_lets_go_is_gone_and_a_repeat_finds_nothing_to_do() {
    let (world, mut used) = World::with_five();
    let two = world.inner.tagged(&world.image, &tag("v2")).unwrap();
    world.tag(&world.image, &tag("stable"), &two).await.unwrap();
    used.deployed.insert(world.inner.tagged(&world.image, &tag("v1")).unwrap());
    let plan = world.plan(&newest(2), &used).await;
    let report = prune(&world, &plan).await.unwrap();
    assert_eq!(words(&report), ["deleted", "deleted"]);
    assert!(report.is_done() && report.unsupported.is_none());
    assert_eq!(world.names().await, ["v1", "v4", "v5"]);
    assert_eq!(world.resolve(&world.image.at(two)).await.unwrap(), None, "its manifest too");
    let again = prune(&world, &plan).await.unwrap();
    assert_eq!(words(&again), ["gone", "gone"]);
    assert_eq!(world.plan(&newest(2), &used).await.delete, []);
}

#[tokio::test]
async fn a_manifest_with_a_tag_that_stays_loses_only_its_other_tags() {
    let (world, used) = World::with_five();
    let one = world.inner.tagged(&world.image, &tag("v1")).unwrap();
    world.tag(&world.image, &tag("stable"), &one).await.unwrap();
    let mut policy = newest(4);
    policy.keep = TagFilter::parse(["stable"]).unwrap();
    let plan = world.plan(&policy, &used).await;
    assert_eq!(words(&prune(&world, &plan).await.unwrap()), ["deleted"]);
    assert_eq!(world.inner.tagged(&world.image, &tag("stable")), Some(one));
    assert_eq!(world.inner.tagged(&world.image, &tag("v1")), None);
}

#[tokio::test]
async fn what_changed_since_the_plan_is_left_alone() {
    let (world, used) = World::with_five();
    let at = |name: &str| world.inner.tagged(&world.image, &tag(name)).unwrap();
    let (one, five) = (at("v1"), at("v5"));
    let plan = world.plan(&newest(2), &used).await;
    // `v3` moves, somebody goes back to `v1`, and `v2` is as it was.
    world.tag(&world.image, &tag("v3"), &five).await.unwrap();
    world.tag(&world.image, &tag("live"), &one).await.unwrap();
    let report = prune(&world, &plan).await.unwrap();
    assert_eq!(words(&report), ["changed", "deleted", "changed"]);
    assert!(!report.is_done());
    assert_eq!((at("v3"), at("live"), at("v1")), (five, one.clone(), one));
}

#[tokio::test]
async fn a_failure_stops_nothing_else_and_the_next_time_does_the_rest() {
    let (world, used) = World::with_five();
    let two = world.inner.tagged(&world.image, &tag("v2")).unwrap();
    let plan = world.plan(&newest(1), &used).await;
    world.in_the_way(move |image| {
        (image.digest.as_ref() == Some(&two)).then(|| Error::unavailable("delete manifest", "it broke"))
    });
    let report = prune(&world, &plan).await.unwrap();
    assert_eq!(words(&report), ["deleted", "deleted", "failed", "deleted"]);
    world.in_the_way(|_| None);
    assert_eq!(words(&prune(&world, &plan).await.unwrap()), ["gone", "gone", "deleted", "gone"]);
    assert_eq!(world.names().await, ["v5"]);
}

#[tokio::test]
async fn a_registry_that_deletes_nothing_says_so_once() {
    let (world, used) = World::with_five();
    let calls = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&calls);
    world.in_the_way(move |_| {
        *counted.lock().unwrap() += 1;
        Some(Error::unsupported("delete manifest", "the registry deletes nothing").with_remedy("allow it"))
    });
    let report = prune(&world, &world.plan(&newest(1), &used).await).await.unwrap();
    assert_eq!(words(&report), ["not tried"; 4]);
    let error = report.unsupported.unwrap();
    assert_eq!((error.kind(), error.remedy()), (ErrorKind::Unsupported, Some("allow it")));
    assert_eq!(*calls.lock().unwrap(), 1);
}

#[tokio::test]
async fn one_that_deletes_no_tags_alone_still_loses_whole_manifests() {
    let (world, used) = World::with_five();
    for (name, at) in [("a", "v1"), ("b", "v2")] {
        let digest = world.inner.tagged(&world.image, &tag(at)).unwrap();
        world.tag(&world.image, &tag(name), &digest).await.unwrap();
    }
    let mut policy = newest(2);
    policy.keep = TagFilter::parse(["a", "b"]).unwrap();
    world.in_the_way(|image| {
        image.digest.is_none().then(|| Error::unsupported("delete tag", "no tags alone"))
    });
    let report = prune(&world, &world.plan(&policy, &used).await).await.unwrap();
    assert_eq!(words(&report), ["deleted", "not tried", "not tried"]);
    assert!(report.unsupported.unwrap().message().contains("no tags alone"));
}

#[tokio::test]
async fn what_is_attached_goes_after_what_it_is_about_and_stays_with_it() {
    let (world, used) = World::with_five();
    let at = |name: &str| world.inner.tagged(&world.image, &tag(name)).unwrap();
    let (one, five) = (at("v1"), at("v5"));
    let attached = [&one, &five].map(|digest| referrers_tag(digest).unwrap().to_string());
    for name in &attached {
        world.push(name);
    }
    let plan = world.plan(&newest(4), &used).await;
    let fails = one.clone();
    world.in_the_way(move |image| {
        (image.digest.as_ref() == Some(&fails)).then(|| Error::unavailable("delete manifest", "it broke"))
    });
    assert_eq!(words(&prune(&world, &plan).await.unwrap()), ["failed", "not tried"]);
    world.in_the_way(|_| None);
    assert_eq!(words(&prune(&world, &plan).await.unwrap()), ["deleted", "deleted"]);
    assert_eq!(world.inner.tagged(&world.image, &tag(&attached[0])), None);
    assert!(world.inner.tagged(&world.image, &tag(&attached[1])).is_some());
}

#[tokio::test]
async fn what_an_older_run_left_attached_to_nothing_goes_too() {
    let (world, used) = World::with_five();
    let orphan = referrers_tag(&Digest::of(b"not there")).unwrap();
    world.push(orphan.as_str());
    let plan = world.plan(&newest(5), &used).await;
    assert_eq!(words(&prune(&world, &plan).await.unwrap()), ["deleted"]);
    assert_eq!(world.inner.tagged(&world.image, &orphan), None);
}

#[tokio::test]
async fn facts_tell_what_indexes_hold_also_those_that_only_run() {
    let (world, mut used) = World::with_five();
    let at = |name: &str| world.inner.tagged(&world.image, &tag(name)).unwrap();
    let (platform, below) = (at("v1"), at("v2"));
    let index = |child: &Digest| {
        format!(
            r#"{{"manifests":[{{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"{child}"}},{{"digest":"sha512:x"}}]}}"#
        )
    };
    let inner = world.inner.push(&world.image, &tag("inner"), &index(&platform));
    let outer = world.inner.push(&world.image, &tag("outer"), &index(&inner));
    let subject = format!(r#"{{"layers":[],"subject":{{"digest":"{outer}"}}}}"#);
    let sbom = world.inner.push(&world.image, &tag("sbom"), &subject);
    for name in ["inner", "outer"] {
        world.delete(&world.image.tagged(tag(name))).await.unwrap();
    }
    used.deployed.insert(outer.clone());
    let facts = RetentionFacts::read(&world, &world.image, used.clone()).await.unwrap();
    assert_eq!(facts.holds[&outer], BTreeSet::from([inner.clone(), sbom]));
    assert_eq!(facts.holds[&inner], BTreeSet::from([platform]));
    let plan = plan_retention(&newest(0), &facts, now());
    assert!(plan.digests().contains(&below));
    let kept: Vec<&str> = plan.keep.iter().map(|kept| kept.tag.as_str()).collect();
    assert_eq!(kept, ["v1", "sbom"]);
}

#[tokio::test]
async fn what_a_manifest_says_oddly_hides_nothing_that_it_names() {
    let (world, _) = World::with_five();
    let at = |name: &str| world.inner.tagged(&world.image, &tag(name)).unwrap();
    let (subject, child) = (at("v1"), at("v2"));
    let odd = [
        format!(r#"{{"manifests":null,"subject":{{"digest":"{subject}"}}}}"#),
        format!(r#"{{"manifests":[{{"size":1}},{{"mediaType":null,"digest":"{child}"}}],"subject":7}}"#),
    ];
    let [attached, index] =
        [0, 1].map(|n| world.inner.push(&world.image, &tag(&format!("odd{n}")), odd[n].as_str()));
    let facts = RetentionFacts::read(&world, &world.image, ImageUse::default()).await.unwrap();
    assert_eq!(facts.holds[&subject], BTreeSet::from([attached]));
    assert_eq!(facts.holds[&index], BTreeSet::from([child]));
}

#[tokio::test]
async fn of_what_is_there_and_cannot_be_read_no_plan_is_made() {
    let (world, used) = World::with_five();
    let one = world.inner.tagged(&world.image, &tag("v1")).unwrap();
    *world.withheld.lock().unwrap() = Some(one.clone());
    let error = RetentionFacts::read(&world, &world.image, used.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    // What is named by an index and was never pushed is nothing to wait for.
    *world.withheld.lock().unwrap() = None;
    let index = format!(r#"{{"manifests":[{{"digest":"{}"}}]}}"#, Digest::of(b"never pushed"));
    world.inner.push(&world.image, &tag("index"), &index);
    RetentionFacts::read(&world, &world.image, used).await.unwrap();
}
