//! Deliveries and jobs in.

use std::sync::Arc;

use domain::JobState;
use domain::delivery::{Accepted, NewDelivery, NewJob, Payload};
use domain::work_item::Standing;
use store::{Briefing, Enqueued, JobFilter, Store};

use super::values::{T0, delivery, job, keyed, later, read};

async fn job_count(store: &Arc<dyn Store>) -> usize {
    store.jobs(JobFilter::newest(1_000)).await.unwrap().len()
}

fn enqueued(accepted: Accepted) -> Vec<domain::JobId> {
    match accepted {
        Accepted::Enqueued { jobs } => jobs,
        other @ (Accepted::Duplicate { .. } | Accepted::Ignored | Accepted::Conflict) => {
            panic!("not enqueued: {other:?}")
        }
    }
}

/// A delivery's jobs and payloads are there, field by field, once it is answered.
pub(crate) async fn a_delivery_is_kept_with_its_jobs_and_payloads(store: Arc<dyn Store>) {
    let payload = Payload {
        prompt: None,
        title: Some("tabs\tand \"quotes\" and \u{0} nothing".into()),
        body: Some("Zeile\nzwei 🦀".into()),
        url: Some("https://git.example/acme/shop/pulls/12".into()),
        author: Some("Ada".into()),
        facts: [("branch".to_owned(), "feature/ü".to_owned())].into(),
        event: Some(serde_json::json!({"id": 9_007_199_254_740_993_i64, "x": [1.5, null, "\u{0}"]})),
        ..Payload::default()
    };
    let first = NewJob {
        priority: -3,
        trace_context: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        payload: payload.clone(),
        ..keyed("acme/shop#12", "review:1")
    };
    let spent = domain::Budgets { attempts: 1, transient_attempts: 2, infra_attempts: 3 };
    let second = NewJob { available_at: later(5_000), budgets: spent, ..job("acme/shop#13") };
    let jobs = enqueued(store.accept(delivery("d1", 'a', vec![first, second])).await.unwrap());
    assert_eq!(jobs.len(), 2);
    let kept = read(&store, jobs[0]).await;
    assert_eq!(
        kept,
        domain::Job {
            id: jobs[0],
            project: "shop".into(),
            work_item: "acme/shop#12".into(),
            stage: "review".into(),
            role: "reviewer".into(),
            priority: -3,
            budgets: domain::Budgets::default(),
            epoch: domain::Epoch(0),
            revision: 0,
            state: JobState::Queued { available_at: T0 },
            created_at: T0,
            updated_at: T0,
            trace_context: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            origin: domain::job::Origin {
                chain: format!("person:shop/acme/shop#12@{}", T0.as_ms()),
                ..domain::job::Origin::default()
            },
        }
    );
    assert_eq!(store.payload(jobs[0]).await.unwrap(), Some(payload.clone()));
    let told = Briefing { job: read(&store, jobs[0]).await, payload, standing: Standing::Trusted };
    assert_eq!(store.briefing(jobs[0]).await.unwrap(), Some(told));
    let kept = read(&store, jobs[1]).await;
    assert_eq!((kept.state, kept.budgets), (JobState::Queued { available_at: later(5_000) }, spent));
    assert_eq!(store.payload(domain::JobId(99)).await.unwrap(), None);
    assert_eq!(store.briefing(domain::JobId(99)).await.unwrap(), None);
}

/// Words that mean something to a database, in any order, come back as they were.
pub(crate) async fn words_from_outside_are_kept_to_the_letter(store: Arc<dyn Store>) {
    const WORDS: [&str; 13] =
        ["'", "\\", "$1", "$$", "--", ";", "/*", "\"", "{", "\n", "E'", "::text", "\u{2019}"];
    let texts: Vec<String> =
        WORDS.iter().flat_map(|one| WORDS.map(|other| format!("{one}{other}{one}"))).collect();
    let saying = |text: &String| NewJob {
        payload: Payload { title: Some(text.clone()), body: Some(text.repeat(3)), ..Payload::default() },
        ..job(text)
    };
    let jobs = enqueued(store.accept(delivery("d1", 'a', texts.iter().map(saying).collect())).await.unwrap());
    assert_eq!(jobs.len(), texts.len());
    for (id, text) in jobs.into_iter().zip(&texts) {
        assert_eq!(read(&store, id).await.work_item, *text);
        assert_eq!(store.payload(id).await.unwrap(), Some(saying(text).payload));
    }
}

/// The same delivery id and body again: a duplicate that names the first one's jobs.
pub(crate) async fn a_delivery_id_is_taken_once(store: Arc<dyn Store>) {
    let jobs = enqueued(store.accept(delivery("d1", 'a', vec![job("A"), job("B")])).await.unwrap());
    let again = store.accept(delivery("d1", 'a', vec![job("A"), job("B")])).await.unwrap();
    assert_eq!(again, Accepted::Duplicate { jobs });
    assert_eq!(job_count(&store).await, 2);
}

/// A delivery id with another body writes nothing.
pub(crate) async fn a_delivery_id_with_another_body_conflicts(store: Arc<dyn Store>) {
    enqueued(store.accept(delivery("d1", 'a', vec![job("A")])).await.unwrap());
    assert_eq!(store.accept(delivery("d1", 'b', vec![job("B")])).await.unwrap(), Accepted::Conflict);
    assert_eq!(job_count(&store).await, 1);
    // Another sender may use the same id.
    let other = NewDelivery { source: "plane".into(), ..delivery("d1", 'b', vec![job("B")]) };
    assert_eq!(enqueued(store.accept(other).await.unwrap()).len(), 1);
}

/// A body sent again under a new id repeats the first; of another event it does not.
pub(crate) async fn a_body_is_taken_once_per_event(store: Arc<dyn Store>) {
    let jobs = enqueued(store.accept(delivery("d1", 'a', vec![job("A")])).await.unwrap());
    let again = store.accept(delivery("d2", 'a', vec![job("A")])).await.unwrap();
    assert_eq!(again, Accepted::Duplicate { jobs: jobs.clone() });
    // The repeat was kept under its own id.
    assert_eq!(store.accept(delivery("d2", 'a', vec![])).await.unwrap(), Accepted::Duplicate { jobs });
    assert_eq!(store.accept(delivery("d2", 'b', vec![])).await.unwrap(), Accepted::Conflict);
    let other = NewDelivery { event: "status".into(), ..delivery("d3", 'a', vec![job("A")]) };
    assert_eq!(enqueued(store.accept(other).await.unwrap()).len(), 1);
    assert_eq!(job_count(&store).await, 2);
}

/// Two jobs with one key are one job; a delivery of which a part is new is no duplicate.
pub(crate) async fn a_semantic_key_names_one_job(store: Arc<dyn Store>) {
    let first = enqueued(store.accept(delivery("d1", 'a', vec![keyed("A", "k1")])).await.unwrap());
    let again = store.accept(delivery("d2", 'b', vec![keyed("A", "k1")])).await.unwrap();
    assert_eq!(again, Accepted::Duplicate { jobs: first.clone() });
    let both = vec![keyed("A", "k1"), keyed("A", "k2"), keyed("A", "k2")];
    let jobs = enqueued(store.accept(delivery("d3", 'c', both)).await.unwrap());
    assert_eq!(jobs[0], first[0]);
    assert_eq!(jobs[1], jobs[2]);
    assert_ne!(jobs[0], jobs[1]);
    let by_hand = store.enqueue(keyed("A", "k2"), later(9)).await.unwrap();
    assert_eq!(by_hand, Enqueued { job: jobs[1], fresh: false });
    assert_eq!(job_count(&store).await, 2);
}

/// A delivery that asked for nothing is looked at again, since the triggers may have been mended.
pub(crate) async fn an_ignored_delivery_is_looked_at_again(store: Arc<dyn Store>) {
    assert_eq!(store.accept(delivery("d1", 'a', vec![])).await.unwrap(), Accepted::Ignored);
    assert_eq!(store.accept(delivery("d1", 'a', vec![])).await.unwrap(), Accepted::Ignored);
    assert_eq!(store.accept(delivery("d1", 'b', vec![])).await.unwrap(), Accepted::Conflict);
    let jobs = enqueued(store.accept(delivery("d1", 'a', vec![job("A")])).await.unwrap());
    let again = store.accept(delivery("d1", 'a', vec![job("A")])).await.unwrap();
    assert_eq!(again, Accepted::Duplicate { jobs });
    assert_eq!(job_count(&store).await, 1);
}

/// The same webhook posted 50 times at once makes one job, and 49 answers name it.
pub(crate) async fn fifty_identical_posts_make_one_job(store: Arc<dyn Store>) {
    let posts = (0..50).map(|_| {
        let store = Arc::clone(&store);
        async move { store.accept(delivery("d1", 'a', vec![keyed("A", "k"), job("B")])).await.unwrap() }
    });
    let answers = futures::future::join_all(posts).await;
    let mut first = None;
    let mut duplicates = Vec::new();
    for answer in answers {
        match answer {
            Accepted::Enqueued { jobs } => assert!(first.replace(jobs).is_none(), "enqueued twice"),
            Accepted::Duplicate { jobs } => duplicates.push(jobs),
            other @ (Accepted::Ignored | Accepted::Conflict) => panic!("{other:?}"),
        }
    }
    assert_eq!(duplicates, vec![first.unwrap(); 49]);
    assert_eq!(job_count(&store).await, 2);
}

/// Many different ones at once are all kept, each under its own number.
pub(crate) async fn concurrent_deliveries_are_all_kept(store: Arc<dyn Store>) {
    let posts = (0..200).map(|n| {
        let store = Arc::clone(&store);
        let mut post = delivery(&format!("d{n}"), 'a', vec![job(&format!("A-{n}"))]);
        post.body_sha256 = format!("{n:064}");
        async move { enqueued(store.accept(post).await.unwrap()) }
    });
    let ids: Vec<_> = futures::future::join_all(posts).await.into_iter().flatten().collect();
    let unique: std::collections::BTreeSet<_> = ids.iter().copied().collect();
    assert_eq!((ids.len(), unique.len()), (200, 200));
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(read(&store, *id).await.work_item, format!("A-{n}"));
        let title = store.payload(*id).await.unwrap().unwrap().title;
        assert_eq!(title, Some(format!("Fix A-{n}")));
    }
}

/// One that cannot be kept fails alone: the others of its batch are.
pub(crate) async fn a_bad_operation_fails_alone(store: Arc<dyn Store>) {
    let posts = (0..40).map(|n| {
        let store = Arc::clone(&store);
        let mut post = delivery(&format!("d{n}"), 'a', vec![job("A")]);
        post.body_sha256 = if n == 17 { "short".into() } else { format!("{n:064}") };
        async move { store.accept(post).await }
    });
    let answers = futures::future::join_all(posts).await;
    let failed: Vec<usize> = (0..40).filter(|&n| answers[n].is_err()).collect();
    assert_eq!(failed, [17]);
    assert!(matches!(answers[17], Err(store::Error::Corrupt(_))), "{:?}", answers[17]);
    assert_eq!(job_count(&store).await, 39);
}
