//! The laws of a plan, and what carrying it out does.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use super::*;
use crate::filter::TagFilter;
use crate::image::referrers_tag;
use crate::name::{Digest, ImageName, Tag};

fn digest(n: u8) -> Digest {
    Digest::of(&[n])
}

fn tag(name: &str) -> Tag {
    Tag::parse(name).unwrap()
}

fn day(n: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap() + SignedDuration::from_hours(24 * n)
}

fn group(tags: &[&str], newest: Option<u32>, days: Option<u32>) -> TagGroup {
    TagGroup { tags: TagFilter::parse(tags.iter().copied()).unwrap(), newest, days, ..TagGroup::default() }
}

/// Tags with the number of their digest, and when digests were built, in days.
fn facts(tags: &[(&str, u8)], built: &[(u8, i64)]) -> RetentionFacts {
    RetentionFacts {
        image: ImageName::parse("h.io/app").unwrap(),
        tags: tags.iter().map(|(name, n)| (tag(name), digest(*n))).collect(),
        holds: BTreeMap::new(),
        absent: BTreeSet::new(),
        used: ImageUse {
            built: built.iter().map(|(n, at)| (digest(*n), day(*at))).collect(),
            ..ImageUse::default()
        },
    }
}

fn limits(groups: Vec<TagGroup>) -> RetentionPolicy {
    RetentionPolicy { groups, ..RetentionPolicy::default() }
}

fn gone(plan: &RetentionPlan) -> Vec<&str> {
    plan.delete.iter().flat_map(Deletion::tags).map(Tag::as_str).collect()
}

fn reason<'a>(plan: &'a RetentionPlan, name: &str) -> &'a KeepReason {
    &plan.keep.iter().find(|kept| kept.tag.as_str() == name).unwrap().reason
}

#[test]
fn the_newest_of_a_group_stay_and_the_rest_goes_newest_first() {
    let tags = [("a", 1), ("b", 2), ("c", 3), ("d", 4), ("latest", 4)];
    let facts = facts(&tags, &[(1, 1), (2, 2), (3, 3), (4, 4)]);
    let plan = plan_retention(&limits(vec![group(&["*"], Some(2), None)]), &facts, day(100));
    assert_eq!(gone(&plan), ["b", "a"]);
    let kept: Vec<&str> = plan.keep.iter().map(|kept| kept.tag.as_str()).collect();
    assert_eq!(kept, ["d", "latest", "c"], "two tags of one digest are one");
    assert_eq!(reason(&plan, "c"), &KeepReason::Newest(2));
}

#[test]
fn with_two_limits_both_must_let_go() {
    let facts = facts(&[("a", 1), ("b", 2), ("c", 3)], &[(1, 1), (2, 8), (3, 9)]);
    let plan = plan_retention(&limits(vec![group(&["*"], Some(1), Some(5))]), &facts, day(10));
    assert_eq!(gone(&plan), ["a"]);
    assert_eq!(reason(&plan, "b"), &KeepReason::Young(day(13)));
    let plan = plan_retention(&limits(vec![group(&["*"], Some(1), Some(5))]), &facts, day(13));
    assert_eq!(gone(&plan), ["b", "a"], "on the day itself it is old enough");
}

#[test]
fn a_tag_belongs_to_the_first_group_that_matches() {
    let tags = [("mr-1", 1), ("main-1", 2), ("main-2", 3), ("other", 4)];
    let facts = facts(&tags, &[(1, 1), (2, 1), (3, 2), (4, 1)]);
    let groups = vec![group(&["mr-*"], None, Some(7)), group(&["m*"], Some(1), None)];
    let plan = plan_retention(&limits(groups), &facts, day(20));
    assert_eq!(gone(&plan), ["main-1", "mr-1"]);
    assert_eq!(reason(&plan, "other"), &KeepReason::NoGroup);
}

#[test]
fn what_nobody_knows_the_age_of_stays() {
    let facts = facts(&[("a", 1), ("b", 2)], &[(1, 1)]);
    for group in [group(&["*"], Some(0), None), group(&["*"], None, Some(0))] {
        let plan = plan_retention(&limits(vec![group]), &facts, day(100));
        assert_eq!((gone(&plan), reason(&plan, "b")), (vec!["a"], &KeepReason::UnknownAge));
    }
}

#[test]
fn versions_need_no_records() {
    let tags = [("1.9.0", 1), ("v1.10.0", 2), ("1.10.0-rc.1", 3), ("latest", 2), ("stable", 1)];
    let facts = facts(&tags, &[]);
    let group = TagGroup { order: TagOrder::Version, ..group(&["*"], Some(1), None) };
    let plan = plan_retention(&limits(vec![group.clone()]), &facts, day(0));
    assert_eq!(gone(&plan), ["1.10.0-rc.1", "1.9.0"]);
    assert_eq!(reason(&plan, "latest"), &KeepReason::NoVersion);
    assert!(plan.delete.contains(&Deletion::Tag { tag: tag("1.9.0"), digest: digest(1) }), "{plan:?}");
    // A limit of days asks for a record all the same.
    let plan = plan_retention(&limits(vec![TagGroup { days: Some(1), ..group }]), &facts, day(100));
    assert_eq!(gone(&plan), [""; 0]);
}

#[test]
fn what_is_deployed_or_being_built_keeps_all_its_tags() {
    let mut facts = facts(&[("a", 1), ("b", 2), ("c", 3)], &[(1, 1), (2, 1), (3, 1)]);
    facts.used.deployed.insert(digest(1));
    facts.used.building.insert(digest(2));
    let plan = plan_retention(&limits(vec![group(&["*"], Some(0), None)]), &facts, day(100));
    assert_eq!(gone(&plan), ["c"]);
    assert_eq!(reason(&plan, "a"), &KeepReason::Deployed);
    assert_eq!(reason(&plan, "b"), &KeepReason::Building);
}

#[test]
fn an_index_that_stays_keeps_its_platforms_and_a_subject_what_is_attached() {
    let tags = [("v1", 1), ("v1-amd64", 2), ("v1-sbom", 3), ("v0-amd64", 4)];
    let mut facts = facts(&tags, &[(1, 9), (2, 1), (3, 1), (4, 1)]);
    facts.holds.insert(digest(1), [digest(2)].into());
    facts.holds.insert(digest(2), [digest(3)].into());
    let plan = plan_retention(&limits(vec![group(&["*"], Some(1), None)]), &facts, day(100));
    assert_eq!(gone(&plan), ["v0-amd64"]);
    assert_eq!(reason(&plan, "v1-sbom"), &KeepReason::PartOf(digest(2)));
}

#[test]
fn what_is_attached_by_a_tag_goes_with_what_it_is_about() {
    let attached = |n: u8, end: &str| format!("{}{end}", referrers_tag(&digest(n)).unwrap());
    let names =
        [attached(1, ""), attached(2, ".sig"), attached(3, ""), attached(4, ""), attached(12, ".sig")];
    let mut tags = vec![("old", 1), ("new", 2)];
    tags.extend(names.iter().enumerate().map(|(n, name)| (name.as_str(), 11 + u8::try_from(n).unwrap())));
    let mut facts = facts(&tags, &[(1, 1), (2, 2)]);
    facts.absent.insert(digest(3));
    let policy = limits(vec![group(&["*"], Some(1), None)]);
    let plan = plan_retention(&policy, &facts, day(100));
    assert_eq!(gone(&plan), ["old", names[0].as_str(), names[2].as_str()]);
    assert_eq!(reason(&plan, &names[1]), &KeepReason::PartOf(digest(2)));
    assert_eq!(reason(&plan, &names[3]), &KeepReason::AboutUnknown(digest(4)));
    assert_eq!(reason(&plan, &names[4]), &KeepReason::PartOf(digest(12)), "a signature of a signature");
    assert_eq!(gone(&plan_retention(&RetentionPolicy::default(), &facts, day(100))), [""; 0]);
}

#[test]
fn an_index_stays_with_a_platform_that_is_in_use() {
    let tags = [("v2", 9), ("v1", 1), ("v0", 5)];
    let mut facts = facts(&tags, &[(9, 9), (1, 1), (5, 1)]);
    // An index in the index of `v1` has what is deployed.
    facts.holds.insert(digest(1), [digest(2), digest(3)].into());
    facts.holds.insert(digest(2), [digest(4)].into());
    facts.holds.insert(digest(5), [digest(3)].into());
    facts.used.deployed.insert(digest(4));
    let plan = plan_retention(&limits(vec![group(&["*"], Some(1), None)]), &facts, day(100));
    assert_eq!(gone(&plan), ["v0"]);
    assert_eq!(reason(&plan, "v1"), &KeepReason::Holds(digest(4)));
}

#[test]
fn signatures_of_images_that_are_elsewhere_stay() {
    let signature = format!("{}.sig", referrers_tag(&digest(1)).unwrap());
    let policy = limits(vec![group(&["*"], Some(0), None)]);
    let mut facts = facts(&[(signature.as_str(), 2)], &[]);
    facts.absent.insert(digest(1));
    let plan = plan_retention(&policy, &facts, day(100));
    assert_eq!((gone(&plan), reason(&plan, &signature)), (vec![], &KeepReason::AboutUnknown(digest(1))));
    facts.tags.insert(tag("v1"), digest(3));
    assert_eq!(gone(&plan_retention(&policy, &facts, day(100))), [signature.as_str()]);
}

#[test]
fn an_image_that_is_tagged_as_if_about_itself_is_not_taken_for_its_own_attachment() {
    let name = referrers_tag(&digest(1)).unwrap().to_string();
    let facts = facts(&[(name.as_str(), 1), ("v1", 2)], &[]);
    let plan = plan_retention(&limits(vec![group(&["*"], Some(0), None)]), &facts, day(100));
    assert_eq!((gone(&plan), reason(&plan, &name)), (vec![], &KeepReason::AboutUnknown(digest(1))));
}

#[test]
fn a_policy_says_what_it_does_not_know() {
    let parsed = serde_json::from_str::<RetentionPolicy>(r#"{"groups": [{"tags": "*", "newset": 3}]}"#);
    assert!(parsed.unwrap_err().to_string().contains("newset"));
    assert_eq!(serde_json::from_str::<RetentionPolicy>("{}").unwrap(), RetentionPolicy::default());
}

const NAMES: [&str; 8] = ["latest", "main-1", "main-2", "mr-1", "1.0.0", "1.2.0", "v2.0.0", "x"];

fn any_tags() -> impl Strategy<Value = BTreeMap<Tag, Digest>> {
    let ordinary = prop::sample::select(&NAMES[..]).prop_map(tag);
    let attached = (0u8..10).prop_map(|n| referrers_tag(&digest(n)).unwrap());
    btree_map(prop_oneof![3 => ordinary, 1 => attached], (0u8..8).prop_map(digest), 0..12)
}

prop_compose! {
    fn any_facts()(
        tags in any_tags(),
        built in btree_map((0u8..8).prop_map(digest), (0i64..40).prop_map(day), 0..8),
        deployed in btree_set((0u8..8).prop_map(digest), 0..2),
        building in btree_set((0u8..8).prop_map(digest), 0..2),
        absent in btree_set((6u8..10).prop_map(digest), 0..3),
        holds in btree_map((0u8..8).prop_map(digest), btree_set((0u8..8).prop_map(digest), 0..3), 0..4),
    ) -> RetentionFacts {
        let there: BTreeSet<Digest> = tags.values().cloned().collect();
        let absent = absent.into_iter().filter(|digest| !there.contains(digest)).collect();
        let used = ImageUse { deployed, building, built };
        RetentionFacts { image: ImageName::parse("h.io/app").unwrap(), tags, holds, absent, used }
    }
}

prop_compose! {
    fn any_group()(
        patterns in btree_set(prop::sample::select(&["*", "m*", "main-*", "1.*", "!latest", "semver:>=1"][..]), 0..3),
        newest in prop::option::of(0u32..4),
        days in prop::option::of(prop_oneof![9 => 0u32..30, 1 => Just(u32::MAX)]),
        order in prop::sample::select(&[TagOrder::Built, TagOrder::Version][..]),
    ) -> TagGroup {
        TagGroup { tags: TagFilter::parse(patterns).unwrap(), newest, days, order }
    }
}

fn any_policy() -> impl Strategy<Value = RetentionPolicy> {
    let keep = prop::sample::select(vec![vec![], vec!["latest"], vec!["semver:>=1"]]);
    (keep, vec(any_group(), 0..3))
        .prop_map(|(keep, groups)| RetentionPolicy { keep: TagFilter::parse(keep).unwrap(), groups })
}

fn group_of<'a>(policy: &'a RetentionPolicy, tag: &Tag) -> Option<&'a TagGroup> {
    policy.groups.iter().find(|group| group.tags.matched_by(tag.as_str()).is_some())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_tag_stays_or_goes_and_says_so_once(policy in any_policy(), facts in any_facts(), now in 0i64..60) {
        let plan = plan_retention(&policy, &facts, day(now));
        let mut all: Vec<Tag> = plan.delete.iter().flat_map(Deletion::tags).cloned().collect();
        all.extend(plan.keep.iter().map(|kept| kept.tag.clone()));
        all.sort();
        prop_assert_eq!(all, facts.tags.keys().cloned().collect::<Vec<_>>());
        for deletion in &plan.delete {
            prop_assert!(deletion.tags().iter().all(|tag| facts.tags[tag] == *deletion.digest()));
        }
        prop_assert_eq!(&plan, &plan_retention(&policy, &facts, day(now)));
    }

    #[test]
    fn nothing_in_use_and_nothing_that_belongs_to_what_stays_goes(policy in any_policy(), facts in any_facts(), now in 0i64..60) {
        let plan = plan_retention(&policy, &facts, day(now));
        let gone = plan.digests();
        for digest in facts.used.deployed.iter().chain(&facts.used.building) {
            prop_assert!(plan.delete.iter().all(|deletion| deletion.digest() != digest));
            prop_assert!(facts.holds.get(digest).into_iter().flatten().all(|held| !gone.contains(held)));
            prop_assert!(facts.holds.iter().all(|(holder, held)| !held.contains(digest) || !gone.contains(holder)));
        }
        for kept in &plan.keep {
            prop_assert!(!gone.contains(&kept.digest), "{} stays and goes", kept.digest);
            prop_assert!(facts.holds.get(&kept.digest).into_iter().flatten().all(|held| !gone.contains(held)));
            let about = referrers_tag(&kept.digest).unwrap();
            prop_assert!(plan.delete.iter().all(|deletion| !deletion.tags().contains(&about)));
        }
        // A tag alone goes only where another one keeps the digest.
        for deletion in &plan.delete {
            if let Deletion::Tag { digest, .. } = deletion {
                prop_assert!(plan.keep.iter().any(|kept| kept.digest == *digest));
            }
        }
    }

    #[test]
    fn what_goes_is_limited_known_and_old_enough(policy in any_policy(), facts in any_facts(), now in 0i64..60) {
        let plan = plan_retention(&policy, &facts, day(now));
        for deletion in &plan.delete {
            if matches!(deletion, Deletion::Attachment { .. }) {
                prop_assert!(policy.limits_anything());
                continue;
            }
            let built = facts.used.built.get(deletion.digest());
            for tag in deletion.tags() {
                prop_assert!(policy.keep.matched_by(tag.as_str()).is_none());
                let group = group_of(&policy, tag).unwrap();
                prop_assert!(group.newest.is_some() || group.days.is_some());
                if let Some(days) = group.days {
                    let age = day(now).duration_since(*built.unwrap());
                    prop_assert!(age >= SignedDuration::from_hours(24 * i64::from(days)));
                }
                if let (Some(newest), TagOrder::Built) = (group.newest, group.order) {
                    let newer: BTreeSet<&Digest> = facts.tags.iter()
                        .filter(|(tag, _)| group_of(&policy, tag) == Some(group))
                        .filter(|(_, digest)| facts.used.built.get(*digest) >= built)
                        .map(|(_, digest)| digest)
                        .filter(|digest| *digest != deletion.digest())
                        .collect();
                    prop_assert!(built.is_some() && newer.len() >= newest as usize);
                }
            }
        }
    }

    #[test]
    fn without_limits_nothing_goes(keep in any_policy(), facts in any_facts(), now in 0i64..60) {
        let groups = keep.groups.iter().map(|group| TagGroup { newest: None, days: None, ..group.clone() });
        for policy in [RetentionPolicy::default(), RetentionPolicy { groups: groups.collect(), ..keep.clone() }] {
            prop_assert_eq!(plan_retention(&policy, &facts, day(now)).delete, []);
        }
    }

    #[test]
    fn a_plan_that_was_carried_out_leaves_nothing_to_do(policy in any_policy(), facts in any_facts(), now in 0i64..60) {
        let plan = plan_retention(&policy, &facts, day(now));
        let mut after = facts.clone();
        for tag in plan.delete.iter().flat_map(Deletion::tags) {
            after.tags.remove(tag);
        }
        after.absent.extend(plan.digests().into_iter().cloned());
        prop_assert_eq!(plan_retention(&policy, &after, day(now)).delete, []);
    }

    #[test]
    fn both_lists_are_newest_first(policy in any_policy(), facts in any_facts(), now in 0i64..60) {
        let plan = plan_retention(&policy, &facts, day(now));
        let built = |digest: &Digest| facts.used.built.get(digest).copied();
        let kept: Vec<_> = plan.keep.iter().map(|kept| built(&kept.digest)).collect();
        prop_assert!(kept.is_sorted_by(|a, b| a >= b));
        let by_itself = |deletion: &&Deletion| !matches!(deletion, Deletion::Attachment { .. });
        let gone: Vec<_> = plan.delete.iter().filter(by_itself).map(|one| built(one.digest())).collect();
        prop_assert!(gone.is_sorted_by(|a, b| a >= b));
    }

    #[test]
    fn what_goes_today_goes_tomorrow(policy in any_policy(), facts in any_facts(), now in 0i64..60, later in 0i64..30) {
        let (today, tomorrow) =
            (plan_retention(&policy, &facts, day(now)), plan_retention(&policy, &facts, day(now + later)));
        let tomorrow: BTreeSet<&Tag> = tomorrow.delete.iter().flat_map(Deletion::tags).collect();
        prop_assert!(today.delete.iter().flat_map(Deletion::tags).all(|tag| tomorrow.contains(tag)));
    }
}
