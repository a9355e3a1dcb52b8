//! Which heads were decided on: what reconcile goes by.

use super::fixtures::{branch, changes, commit, decided_at, name, view, with_shop};
use crate::name::GitTag;
use crate::policy::{RefKey, RefState};
use crate::store::HeadStanding::{Decided, Known, New};
use crate::store::{Changes, Store, Wants};
use crate::testing::conformance::Subject;

async fn save(store: &dyn Store, key: RefKey, state: RefState) {
    let version = view(store, "shop").await.ledger.version;
    let changes = Changes { refs: vec![(key, state)], ..changes("shop", version) };
    store.save(&changes, None).await.expect("a ref is saved");
}

/// The standings come in the order of the heads that were asked for.
pub async fn a_head_is_new_then_decided_then_known(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    let shop = name("shop");
    assert_eq!(store.decided(&shop, &[]).await.unwrap(), []);
    assert_eq!(store.decided(&shop, &[(branch("main"), commit(1))]).await.unwrap(), [New]);
    save(store.as_ref(), branch("main"), decided_at(&[commit(1), commit(2)])).await;
    let tag = RefKey::Tag(GitTag::parse("main").unwrap());
    let asked = [
        (branch("main"), commit(3)),
        (tag, commit(2)),
        (branch("main"), commit(2)),
        (branch("main"), commit(1)),
        (branch("other"), commit(2)),
    ];
    let expected = [Known(commit(2)), New, Decided, Known(commit(2)), New];
    assert_eq!(store.decided(&shop, &asked).await.unwrap(), expected, "a tag is no branch of the same name");
    assert_eq!(store.decided(&name("blog"), &asked[..1]).await.unwrap(), [New], "refs belong to a service");
}

/// What a repository had before its service was registered is not news.
pub async fn noted_heads_count_as_decided_and_leave_known_refs_alone(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    let shop = name("shop");
    let known = decided_at(&[commit(1)]);
    save(store.as_ref(), branch("main"), known.clone()).await;
    let heads = [(branch("main"), commit(2)), (branch("old"), commit(3))];
    store.note_heads(&shop, &heads).await.unwrap();
    assert_eq!(store.decided(&shop, &heads).await.unwrap(), [Known(commit(1)), Decided]);
    store.note_heads(&shop, &[(branch("old"), commit(4))]).await.unwrap();
    assert_eq!(store.decided(&shop, &[(branch("old"), commit(4))]).await.unwrap(), [Known(commit(3))]);
    let wants = Wants { refs: [branch("main"), branch("old"), branch("new")].into(), ..Wants::of(shop) };
    let refs = store.view(&wants).await.unwrap().refs;
    assert_eq!(refs, [(branch("main"), known), (branch("old"), decided_at(&[commit(3)]))].into());
}

/// What was decided of a head holds until the branch goes elsewhere: one that is reset to it is to be decided on anew. A tag that was
/// moved may be named by its object or by its commit, both decided on.
pub async fn a_branch_that_is_back_at_an_older_head_is_not_decided_there(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    let shop = name("shop");
    let tag = RefKey::Tag(GitTag::parse("v1").unwrap());
    let mut back = decided_at(&[commit(1), commit(2)]);
    save(store.as_ref(), branch("main"), back.clone()).await;
    save(store.as_ref(), tag.clone(), back.clone()).await;
    let asked = [(branch("main"), commit(1)), (branch("main"), commit(2)), (tag, commit(1))];
    assert_eq!(store.decided(&shop, &asked).await.unwrap(), [Known(commit(2)), Decided, Decided]);
    back.note(&commit(1), false);
    save(store.as_ref(), branch("main"), back).await;
    assert_eq!(store.decided(&shop, &asked).await.unwrap(), [Decided, Known(commit(1)), Decided]);
}

/// A head that was skipped before anybody knew how it stands is left alone, until the branch moves.
pub async fn a_skipped_head_of_unknown_place_is_decided_until_the_branch_moves(
    subject: &dyn Subject<dyn Store>,
) {
    let store = with_shop(subject).await;
    let mut state = decided_at(&[commit(1)]);
    state.note(&commit(3), true);
    state.unplaced = Some(commit(3));
    let asked = [(branch("main"), commit(1)), (branch("main"), commit(3))];
    save(store.as_ref(), branch("main"), state.clone()).await;
    assert_eq!(store.decided(&name("shop"), &asked).await.unwrap(), [Decided, Decided]);
    state.note(&commit(2), false);
    save(store.as_ref(), branch("main"), state).await;
    assert_eq!(store.decided(&name("shop"), &asked).await.unwrap(), [Known(commit(2)), Known(commit(2))]);
}

/// A branch that was deleted and comes again is a new branch, at whatever head.
pub async fn a_deleted_branch_is_new_at_every_head(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    let shop = name("shop");
    let mut deleted = decided_at(&[commit(1)]);
    deleted.delete();
    save(store.as_ref(), branch("gone"), deleted.clone()).await;
    let asked = [(branch("gone"), commit(1)), (branch("gone"), commit(2))];
    assert_eq!(store.decided(&shop, &asked).await.unwrap(), [New, New]);
    store.note_heads(&shop, &asked[1..]).await.unwrap();
    assert_eq!(store.decided(&shop, &asked).await.unwrap(), [New, New], "a ref that was deleted is known");
}
