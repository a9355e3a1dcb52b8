//! What is there after a kill. A store that lives in memory has nothing to prove here.

use std::sync::Arc;

use super::fixtures::{
    add_work, at, branch, build, changes, claim, claims, commit, conflict, decided_at, delivery, environment,
    hook, lane, live, name, nothing_to_claim, release, repository, secret, slot, with_shop, with_work, work,
};
use crate::build::BuildState;
use crate::name::SecretName;
use crate::queue::LimitName;
use crate::release::ReleaseState;
use crate::store::{Accepted, Changes, Page, Store, Wants};
use crate::testing::conformance::Subject;

/// The store of the next process, after the one before was let go of.
async fn killed(subject: &dyn Subject<dyn Store>, store: Arc<dyn Store>) -> Option<Arc<dyn Store>> {
    drop(store);
    subject.reopen().await
}

/// Whatever a call returned `Ok` for.
pub async fn everything_is_there_after_a_kill(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    let token = SecretName::parse("shop/token").unwrap();
    store.put_environment(&environment("staging", "here")).await.unwrap();
    store.put_hook(&hook("shop", repository(Some("7"), "group/shop"), &["s", "t"])).await.unwrap();
    store.put_secret(&token, Some(&secret("hunter2"))).await.unwrap();
    let taken = delivery("shop", "1", "the body", at(1));
    store.accept(vec![taken.clone()]).await.unwrap();
    let queued = build("shop", 1, BuildState::Queued);
    let pending = release("shop", 1, ReleaseState::Pending);
    let saved = Changes {
        order: 5,
        builds: vec![queued.clone()],
        releases: vec![pending.clone()],
        refs: vec![(branch("main"), decided_at(&[commit(1)]))],
        lanes: vec![live("shop", 3)],
        take_slots: vec![slot(LimitName::Total, 0, &queued)],
        work: vec![work("shop", "w", at(9)), work("shop", "bad", at(0))],
        ..changes("shop", 0)
    };
    store.save(&saved, None).await.unwrap();
    store.note_heads(&name("shop"), &[(branch("old"), commit(7))]).await.unwrap();
    let bad = claim(store.as_ref(), "a", at(0)).await;
    store.quarantine(&bad, "it cannot be done", at(2)).await.unwrap();
    let wants = Wants {
        refs: [branch("main"), branch("old")].into(),
        delivery: Some(taken.record.id.clone()),
        ..Wants::of(name("shop"))
    };
    let before = store.view(&wants).await.unwrap();
    let registered = store.service(&name("shop")).await.unwrap();
    let queue = store.queue().await.unwrap();
    let Some(store) = killed(subject, store).await else { return };
    assert_eq!(store.view(&wants).await.unwrap(), before);
    assert_eq!(store.service(&name("shop")).await.unwrap(), registered);
    assert_eq!(store.queue().await.unwrap(), queue);
    assert_eq!(store.secret(&token).await.unwrap(), Some(secret("hunter2")));
    let hook = store.hook(&name("shop")).await.unwrap().expect("the hook is there");
    assert_eq!(
        hook.secrets.entries().iter().map(|entry| &entry.secret).collect::<Vec<_>>(),
        [&secret("s"), &secret("t")]
    );
    assert_eq!(store.delivery_body(&taken.record.id).await.unwrap(), Some(taken.body));
    assert_eq!(store.builds(None, Page::first(5)).await.unwrap().items, [queued]);
    assert_eq!(store.releases(None, Page::first(5)).await.unwrap().items, [pending]);
    assert_eq!(store.lane(&name("shop"), &lane()).await.unwrap(), Some(live("shop", 3)));
    assert_eq!(store.quarantined(Page::first(5)).await.unwrap().items[0].reason, "it cannot be done");
    assert_eq!(claims(store.as_ref(), "a", at(9)).await.claims.len(), 2, "the delivery's work and `w`");
    conflict(store.save(&changes("shop", 0), None).await, "the ledger's version is 1");
    store.save(&changes("shop", 1), None).await.unwrap();
}

/// A lease holds over the kill of whoever has it; only its own next life need not wait.
pub async fn a_claim_outlives_a_kill_and_is_taken_over_by_name(subject: &dyn Subject<dyn Store>) {
    let store = with_work(subject, [work("shop", "w", at(0))]).await;
    let before = claim(store.as_ref(), "a", at(0)).await;
    let Some(store) = killed(subject, store).await else { return };
    nothing_to_claim(store.as_ref(), "b", at(59), "the lease holds").await;
    store.let_go("a").await.unwrap();
    let after = claim(store.as_ref(), "a", at(1)).await;
    assert!(after.fence > before.fence, "the numbers go on where they were");
    assert_eq!(after.claimed_before, 1);
    conflict(store.save(&changes("shop", 1), Some(&before)).await, "its next life took over");
    store.finish(&after).await.unwrap();
    let Some(store) = killed(subject, store).await else { return };
    add_work(store.as_ref(), [work("shop", "w", at(0))]).await;
    let anew = claim(store.as_ref(), "a", at(0)).await;
    assert!(anew.fence > after.fence, "also where the work was gone in between");
}

/// A sender that got no answer sends again to the next process.
pub async fn a_replay_is_known_after_a_kill(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    let taken = delivery("shop", "1", "a", at(1));
    store.accept(vec![taken.clone()]).await.unwrap();
    let Some(store) = killed(subject, store).await else { return };
    let again = delivery("shop", "1", "a", at(2));
    assert_eq!(store.accept(vec![again]).await.unwrap(), [Accepted::Duplicate(taken.record.id)]);
    let repeat = delivery("shop", "2", "a", at(3));
    let id = repeat.record.id.clone();
    assert_eq!(store.accept(vec![repeat]).await.unwrap(), [Accepted::New(id.clone())]);
    assert!(store.delivery(&id).await.unwrap().unwrap().repeat, "the same body came before");
}
