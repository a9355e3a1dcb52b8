//! Leasing work: order, leases, fences, failures.

use jiff::SignedDuration;

use super::fixtures::{
    add_work, at, changes, claim, claims, conflict, delivery, name, nothing_to_claim, request, view,
    with_shop, with_work, work,
};
use crate::store::{Changes, Claim, ClaimRequest, EventOutcome, Page, Quarantined, Store};
use crate::testing::conformance::Subject;

fn dues(claims: &[Claim]) -> Vec<i64> {
    claims.iter().map(|claim| claim.work.due.duration_since(at(0)).as_secs()).collect()
}

/// A save under a claim that must not succeed; nothing of it may be there.
async fn cannot_save(store: &dyn Store, claim: &Claim, why: &str) {
    let version = view(store, "shop").await.ledger.version;
    let saved = Changes { work: vec![work("shop", "must not be there", at(0))], ..changes("shop", version) };
    conflict(store.save(&saved, Some(claim)).await, why);
    assert_eq!(view(store, "shop").await.ledger.version, version, "{why}: nothing is saved");
}

/// What is due first comes first, up to the limit; what is not due stays.
pub async fn due_work_is_claimed_oldest_first(subject: &dyn Subject<dyn Store>) {
    let all = [30, 10, 50, 20, 40].map(|due| work("shop", &due.to_string(), at(due)));
    let store = with_work(subject, all).await;
    let first = store.claim(&ClaimRequest { limit: 2, ..request("a", at(40)) }).await.unwrap();
    assert_eq!(dues(&first.claims), [10, 20]);
    assert!(first.next_due.is_some_and(|due| due <= at(40)), "there is more: {:?}", first.next_due);
    let second = claims(store.as_ref(), "a", at(40)).await;
    assert_eq!(dues(&second.claims), [30, 40]);
    assert_eq!(second.next_due, Some(at(50)));
    let none = store.claim(&ClaimRequest { limit: 0, ..request("a", at(99)) }).await.unwrap();
    assert_eq!(none.claims, []);
    assert_eq!(dues(&claims(store.as_ref(), "a", at(50)).await.claims), [50]);
}

/// Log lines that are stored first are written first.
pub async fn work_that_is_due_together_is_claimed_in_the_order_in_which_it_was_stored(
    subject: &dyn Subject<dyn Store>,
) {
    let all: Vec<_> = (0..20).map(|n| work("shop", &n.to_string(), at(5))).collect();
    let store = with_work(subject, all[..10].to_vec()).await;
    add_work(store.as_ref(), all[10..].to_vec()).await;
    let claims = claims(store.as_ref(), "a", at(5)).await.claims;
    assert_eq!(claims.into_iter().map(|claim| claim.work).collect::<Vec<_>>(), all);
}

/// A lease holds until its end and not longer.
pub async fn claimed_work_is_free_again_when_its_lease_has_run_out(subject: &dyn Subject<dyn Store>) {
    let store = with_work(subject, [work("shop", "w", at(0))]).await;
    let first = claim(store.as_ref(), "a", at(0)).await;
    assert_eq!((first.claimed_before, first.failures), (0, 0));
    nothing_to_claim(store.as_ref(), "b", at(59), "the lease holds").await;
    nothing_to_claim(store.as_ref(), "a", at(59), "the lease holds against its own driver too").await;
    let second = claim(store.as_ref(), "b", at(60)).await;
    assert_eq!(second.work, first.work);
    assert_eq!((second.claimed_before, second.failures), (1, 0));
    assert!(second.fence > first.fence, "each claim has a higher number");
}

/// Running out alone loses nothing; being followed does.
pub async fn a_claim_that_another_followed_cannot_save(subject: &dyn Subject<dyn Store>) {
    let store = with_work(subject, [work("shop", "w", at(0))]).await;
    let first = claim(store.as_ref(), "a", at(0)).await;
    let second = claim(store.as_ref(), "b", at(60)).await;
    cannot_save(store.as_ref(), &first, "another claim followed").await;
    let until = at(600);
    assert_eq!(store.renew(&[first.clone(), second.clone()], until).await.unwrap(), [false, true]);
    store.give_back(&first, at(0), "too late").await.expect("a claim that is held no more is no error");
    store.finish(&first).await.expect("a claim that is held no more is no error");
    store.quarantine(&first, "too late", at(60)).await.expect("a claim that is held no more is no error");
    nothing_to_claim(store.as_ref(), "c", at(599), "the one before changed nothing").await;
    assert_eq!(store.quarantined(Page::first(10)).await.unwrap().total, 0);
    store.save(&changes("shop", 1), Some(&second)).await.expect("the newest claim can save");
    nothing_to_claim(store.as_ref(), "c", at(9999), "it is done").await;
}

/// A driver that was killed does not wait for its own leases.
pub async fn a_driver_takes_over_what_its_earlier_life_held(subject: &dyn Subject<dyn Store>) {
    let all = ["v", "w"].map(|what| work("shop", what, at(0)));
    let store = with_work(subject, all).await;
    let mine = store.claim(&ClaimRequest { limit: 1, ..request("a", at(0)) }).await.unwrap().claims.remove(0);
    let theirs = claim(store.as_ref(), "ab", at(0)).await;
    store.let_go("a").await.unwrap();
    cannot_save(store.as_ref(), &mine, "its next life let go of it").await;
    let taken = claims(store.as_ref(), "a", at(1)).await.claims;
    assert_eq!(taken.len(), 1, "its own, and nobody else's: {taken:?}");
    assert_eq!((&taken[0].work, taken[0].claimed_before), (&mine.work, 1));
    cannot_save(store.as_ref(), &mine, "its next life took over").await;
    store.save(&changes("shop", 1), Some(&theirs)).await.expect("the other driver's claim holds");
}

/// Renewing moves the end, for claims that are held.
pub async fn a_claim_is_renewed_as_long_as_it_is_held(subject: &dyn Subject<dyn Store>) {
    let all = ["u", "v", "w"].map(|what| work("shop", what, at(0)));
    let store = with_work(subject, all).await;
    let held = claims(store.as_ref(), "a", at(0)).await.claims;
    assert_eq!(held.len(), 3);
    store.finish(&held[1]).await.unwrap();
    assert!(store.renew(&[], at(500)).await.unwrap().is_empty());
    assert_eq!(store.renew(&held, at(500)).await.unwrap(), [true, false, true]);
    nothing_to_claim(store.as_ref(), "b", at(499), "the leases were renewed").await;
    assert_eq!(
        store.renew(&held[..1], at(900)).await.unwrap(),
        [true],
        "also one that has run out and nobody followed"
    );
    let free = claim(store.as_ref(), "b", at(500)).await;
    assert_eq!(free.work, held[2].work);
    assert_eq!(store.renew(&held, at(999)).await.unwrap(), [true, false, false]);
}

/// Work comes again when it is due again, with the number of its failures.
pub async fn work_that_is_given_back_counts_its_failures(subject: &dyn Subject<dyn Store>) {
    let store = with_work(subject, [work("shop", "w", at(0))]).await;
    for n in 0..3_u32 {
        let now = at(i64::from(n) * 10);
        let claim = claim(store.as_ref(), "a", now).await;
        assert_eq!((claim.claimed_before, claim.failures), (n, n));
        let due = now + SignedDuration::from_secs(10);
        store.give_back(&claim, due, "registry: connection refused").await.unwrap();
        let early = claims(store.as_ref(), "a", at(i64::from(n) * 10 + 9)).await;
        assert_eq!((early.claims.len(), early.next_due), (0, Some(due)), "it is not due before");
        cannot_save(store.as_ref(), &claim, "the claim was given back").await;
    }
}

/// A shutdown is nobody's failure.
pub async fn work_that_is_let_go_of_without_an_error_counts_no_failure(subject: &dyn Subject<dyn Store>) {
    let store = with_work(subject, [work("shop", "w", at(0))]).await;
    let first = claim(store.as_ref(), "a", at(0)).await;
    store.give_back(&first, at(1), "").await.unwrap();
    let second = claim(store.as_ref(), "b", at(1)).await;
    assert_eq!((second.claimed_before, second.failures), (1, 0));
}

/// Finished is finished.
pub async fn finished_work_is_gone(subject: &dyn Subject<dyn Store>) {
    let store = with_work(subject, [work("shop", "w", at(0))]).await;
    let claim = claim(store.as_ref(), "a", at(0)).await;
    store.finish(&claim).await.unwrap();
    let later = claims(store.as_ref(), "b", at(9999)).await;
    assert_eq!((later.claims.len(), later.next_due), (0, None));
    cannot_save(store.as_ref(), &claim, "its work is done").await;
    store.finish(&claim).await.expect("finishing again is no error");
    assert_eq!(view(store.as_ref(), "shop").await.ledger.version, 1, "finishing changes nothing else");
}

/// It is kept with its reason, newest first, until it is asked for anew.
pub async fn quarantined_work_is_kept_and_never_claimed_again(subject: &dyn Subject<dyn Store>) {
    let all = ["v", "w"].map(|what| work("shop", what, at(0)));
    let store = with_work(subject, all.clone()).await;
    for (n, claim) in (1..).zip(claims(store.as_ref(), "a", at(0)).await.claims) {
        store.quarantine(&claim, &format!("reason {n}"), at(n)).await.unwrap();
        cannot_save(store.as_ref(), &claim, "its work was set aside").await;
    }
    let later = claims(store.as_ref(), "b", at(9999)).await;
    assert_eq!((later.claims.len(), later.next_due), (0, None));
    let expected = |n: usize, at_second| Quarantined {
        id: all[n].id.clone(),
        service: name("shop"),
        effect: all[n].effect.clone(),
        reason: format!("reason {}", n + 1),
        at: at(at_second),
    };
    let listed = store.quarantined(Page::first(1)).await.unwrap();
    assert_eq!((listed.items, listed.total), (vec![expected(1, 2)], 2));
    let rest = store.quarantined(Page { limit: 5, offset: 1 }).await.unwrap();
    assert_eq!((rest.items, rest.total), (vec![expected(0, 1)], 2));
    add_work(store.as_ref(), [work("shop", "w", at(7))]).await;
    let anew = claim(store.as_ref(), "a", at(7)).await;
    assert_eq!(
        (anew.work, anew.claimed_before, anew.failures),
        (work("shop", "w", at(7)), 0, 0),
        "asked for anew, it is new work"
    );
}

/// A delivery that cannot be decided shows why, and holds nothing up.
pub async fn a_quarantined_delivery_says_why(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    let taken = delivery("shop", "1", "a", at(0));
    let id = taken.record.id.clone();
    store.accept(vec![taken]).await.unwrap();
    let claim = claim(store.as_ref(), "a", at(0)).await;
    store.quarantine(&claim, "the settings cannot be read", at(3)).await.unwrap();
    let record = store.delivery(&id).await.unwrap().unwrap();
    assert_eq!(record.quarantined.as_deref(), Some("the settings cannot be read"));
    assert_eq!(record.outcome(), Some(EventOutcome::Quarantined));
    assert!(!store.has_undecided(&name("shop")).await.unwrap());
    assert_eq!(store.deliveries(None, Page::first(1)).await.unwrap().items, [record]);
}

/// One transaction: the change is there and the work is done, or neither.
pub async fn a_save_finishes_the_work_that_it_was_made_for(subject: &dyn Subject<dyn Store>) {
    let store = with_work(subject, [work("shop", "w", at(0))]).await;
    let held = claim(store.as_ref(), "a", at(0)).await;
    conflict(store.save(&changes("shop", 0), Some(&held)).await, "the ledger's version is 1");
    assert_eq!(
        store.renew(std::slice::from_ref(&held), at(60)).await.unwrap(),
        [true],
        "a conflict leaves the claim alone"
    );
    let next = Changes { work: vec![work("shop", "next", at(5))], ..changes("shop", 1) };
    store.save(&next, Some(&held)).await.unwrap();
    conflict(store.save(&changes("shop", 2), Some(&held)).await, "its work is done");
    let left = claims(store.as_ref(), "a", at(9999)).await.claims;
    assert_eq!(left.into_iter().map(|claim| claim.work).collect::<Vec<_>>(), [work("shop", "next", at(5))]);
}

/// A wake that came too early is stored for later by the step that it led to.
pub async fn a_save_may_add_the_work_that_it_was_made_for_anew(subject: &dyn Subject<dyn Store>) {
    let store = with_work(subject, [work("shop", "w", at(0))]).await;
    let held = claim(store.as_ref(), "a", at(0)).await;
    store.give_back(&held, at(0), "once").await.unwrap();
    let held = claim(store.as_ref(), "a", at(0)).await;
    let again = Changes { work: vec![work("shop", "w", at(30))], ..changes("shop", 1) };
    store.save(&again, Some(&held)).await.unwrap();
    nothing_to_claim(store.as_ref(), "a", at(29), "it is due at 30").await;
    let anew = claim(store.as_ref(), "a", at(30)).await;
    assert_eq!((anew.claimed_before, anew.failures), (0, 0), "it is new work");
    assert!(anew.fence > held.fence);
}

/// Work that is stored again is free, due when it says now, and whoever held it can save no more.
pub async fn work_that_is_stored_again_is_lost_to_whoever_held_it(subject: &dyn Subject<dyn Store>) {
    let store = with_work(subject, [work("shop", "w", at(0))]).await;
    let held = claim(store.as_ref(), "a", at(0)).await;
    add_work(store.as_ref(), [work("shop", "w", at(5))]).await;
    cannot_save(store.as_ref(), &held, "the work was stored again").await;
    assert_eq!(store.renew(std::slice::from_ref(&held), at(99)).await.unwrap(), [false]);
    store.finish(&held).await.unwrap();
    let anew = claim(store.as_ref(), "b", at(5)).await;
    assert_eq!(anew.work, work("shop", "w", at(5)));
    nothing_to_claim(store.as_ref(), "b", at(6), "it is there once").await;
}

/// Work that is not wanted any more goes, whoever holds it, before new work is added.
pub async fn canceled_work_is_lost_to_whoever_held_it(subject: &dyn Subject<dyn Store>) {
    let all = ["v", "w"].map(|what| work("shop", what, at(0)));
    let store = with_work(subject, all.clone()).await;
    let held = claims(store.as_ref(), "a", at(0)).await.claims;
    let cancel = Changes {
        cancel_work: vec![all[0].id.clone(), all[1].id.clone(), work("shop", "nobody", at(0)).id],
        work: vec![work("shop", "w", at(4))],
        ..changes("shop", 1)
    };
    store.save(&cancel, None).await.expect("canceling what is not there is no error");
    for claim in &held {
        cannot_save(store.as_ref(), claim, "its work was canceled").await;
    }
    let left = claim(store.as_ref(), "b", at(9999)).await;
    assert_eq!(left.work, work("shop", "w", at(4)), "what the same changes add is there");
}

/// A claim of the past never meets work that has the same id by chance of being asked for again.
pub async fn a_claim_on_work_that_was_made_anew_has_a_higher_number(subject: &dyn Subject<dyn Store>) {
    let store = with_work(subject, [work("shop", "w", at(0))]).await;
    let first = claim(store.as_ref(), "a", at(0)).await;
    store.finish(&first).await.unwrap();
    add_work(store.as_ref(), [work("shop", "w", at(0))]).await;
    let second = claim(store.as_ref(), "a", at(0)).await;
    assert!(second.fence > first.fence, "{} is not above {}", second.fence, first.fence);
    cannot_save(store.as_ref(), &first, "the work was done and made anew").await;
    store.save(&changes("shop", 2), Some(&second)).await.unwrap();
}

/// A driver sleeps until there may be something to do.
pub async fn a_claim_says_when_to_look_again(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    assert_eq!(claims(store.as_ref(), "a", at(0)).await.next_due, None);
    add_work(store.as_ref(), [work("shop", "soon", at(10)), work("shop", "late", at(100))]).await;
    assert_eq!(claims(store.as_ref(), "a", at(0)).await.next_due, Some(at(10)));
    let held = claims(store.as_ref(), "a", at(10)).await;
    assert_eq!(
        (held.claims.len(), held.next_due),
        (1, Some(at(100))),
        "what it holds itself is nothing to wait for"
    );
    assert_eq!(claims(store.as_ref(), "a", at(11)).await.next_due, Some(at(100)));
    assert_eq!(claims(store.as_ref(), "b", at(11)).await.next_due, Some(at(70)), "another's claim runs out");
}
