use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::super::Target;
use super::*;
use crate::keyring::KeyId;

const NOW: UnixSeconds = 10_000;
const KEEP: u64 = 5_000;

/// A secret in memory. Every request yields a random number of times before and after its effect.
#[derive(Clone)]
struct Memory(Arc<Mutex<Inner>>);

struct Inner {
    versions: Vec<(Version, String)>,
    random: StdRng,
    /// Requests until the writer is interrupted.
    left: Option<u32>,
}

impl Memory {
    fn new(seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed);
        Self(Arc::new(Mutex::new(Inner { versions: Vec::new(), random, left: None })))
    }

    async fn pause(&self) {
        let yields = self.0.lock().unwrap().random.random_range(0..4);
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
    }

    async fn request<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> Result<T, SourceUnavailable> {
        self.pause().await;
        let done = {
            let mut inner = self.0.lock().unwrap();
            match &mut inner.left {
                Some(0) => return Err(SourceUnavailable("interrupted".to_owned())),
                Some(left) => *left -= 1,
                None => {}
            }
            work(&mut inner)
        };
        self.pause().await;
        Ok(done)
    }

    fn put_at(&self, text: &str, created: UnixSeconds) -> String {
        let mut inner = self.0.lock().unwrap();
        let id = format!("{:032x}", inner.random.random::<u128>());
        let kid = KeyId::from_version(&id).unwrap();
        let (not_before, expires, activate_now) = (None, None, false);
        let version = Version { id: id.clone(), kid, enabled: true, created, not_before, expires, activate_now };
        inner.versions.push((version, text.to_owned()));
        id
    }

    fn newest_text(&self) -> String {
        self.0.lock().unwrap().versions.last().unwrap().1.clone()
    }

    async fn end(&self, user: &str, now: UnixSeconds) -> Result<(), SourceUnavailable> {
        add(self, &Addition::new(&Target::User(user.to_owned()), now, KEEP, 300)).await
    }
}

fn stored((version, text): &(Version, String)) -> Stored {
    Stored { id: version.id.clone(), created: version.created, text: text.clone() }
}

impl VersionedSecret for Memory {
    async fn newest(&self) -> Result<Option<Stored>, SourceUnavailable> {
        self.request(|inner| inner.versions.last().map(stored)).await
    }

    async fn versions(&self) -> Result<Vec<Version>, SourceUnavailable> {
        self.request(|inner| {
            let mut versions: Vec<Version> = inner.versions.iter().map(|(version, _)| version.clone()).collect();
            versions.sort_by(|one, other| one.id.cmp(&other.id));
            versions
        })
        .await
    }

    async fn get(&self, id: &str) -> Result<Stored, SourceUnavailable> {
        self.request(|inner| stored(inner.versions.iter().find(|(version, _)| version.id == id).unwrap())).await
    }

    async fn put(&self, text: &str) -> Result<String, SourceUnavailable> {
        self.request(|_| ()).await?;
        // Whole seconds, as in Key Vault: most versions of a test share one.
        let id = self.put_at(text, NOW);
        self.pause().await;
        Ok(id)
    }
}

fn is_in(text: &str, user: &str) -> bool {
    Revocations::parse(text, u64::MAX).unwrap().is_revoked(NOW - 1, None, user)
}

/// Contract 16.6: no entry that another writer just added is lost, whatever the interleaving.
#[tokio::test]
async fn concurrent_writers_lose_nothing() {
    for seed in 0..2_000 {
        let secret = Memory::new(seed);
        let users: Vec<String> = (0..2 + seed % 4).map(|number| format!("user-{number}")).collect();
        if seed % 2 == 0 {
            secret.put_at(r#"{"users": {"earlier": 9999}}"#, NOW - seed % 3);
        }
        let writers = users.iter().cloned().map(|user| {
            let secret = secret.clone();
            tokio::spawn(async move { secret.end(&user, NOW).await.unwrap() })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        let text = secret.newest_text();
        assert!(users.iter().all(|user| is_in(&text, user)), "{seed}: {text}");
        assert_eq!(is_in(&text, "earlier"), seed % 2 == 0, "{seed}");
    }
}

/// The limit of 20 KB is for additions: what others have added meanwhile is merged whatever the size.
#[tokio::test]
async fn concurrent_writers_lose_nothing_when_the_list_is_almost_full() {
    let full: Vec<String> = (0..452).map(|number| format!(r#""{number:036}":9999"#)).collect();
    for seed in 0..20 {
        let secret = Memory::new(seed);
        secret.put_at(&format!(r#"{{"users":{{{}}}}}"#, full.join(",")), NOW);
        let users: Vec<String> = (0..8).map(|number| format!("{:036}", 1_000 + number)).collect();
        let writers = users.iter().cloned().map(|user| {
            let secret = secret.clone();
            tokio::spawn(async move { secret.end(&user, NOW).await.map(|()| user) })
        });
        let mut ended = Vec::new();
        for writer in writers.collect::<Vec<_>>() {
            match writer.await.unwrap() {
                Ok(user) => ended.push(user),
                Err(SourceUnavailable(problem)) => assert!(problem.contains("nothing was written"), "{problem}"),
            }
        }
        assert!(!ended.is_empty(), "{seed}");
        let text = secret.newest_text();
        for user in &users {
            assert_eq!(is_in(&text, user), ended.contains(user), "{seed}: {user}");
        }
    }
}

/// A writer that is interrupted before its check leaves a gap, which the next writer closes.
#[tokio::test]
async fn the_next_writer_restores_what_an_interrupted_one_left_out() {
    for seed in 0..200 {
        let secret = Memory::new(seed);
        secret.end("complete", NOW).await.unwrap();
        // As if another writer had started before, and was interrupted after its write.
        secret.put_at(r#"{"users": {"interrupted": 9999}}"#, NOW);
        secret.end("next", NOW + 60).await.unwrap();
        let text = secret.newest_text();
        assert!(["complete", "interrupted", "next"].iter().all(|user| is_in(&text, user)), "{seed}: {text}");
    }
}

#[tokio::test]
async fn a_writer_that_could_not_check_says_so() {
    let secret = Memory::new(1);
    secret.0.lock().unwrap().left = Some(2);
    let SourceUnavailable(problem) = secret.end("ada", NOW).await.unwrap_err();
    assert!(problem.contains("run the command again: interrupted"), "{problem}");
    assert!(is_in(&secret.newest_text(), "ada"), "its own entry was written");
    // Interrupted at its second write, which had to bring back what another one added.
    let second = Memory::new(1);
    second.put_at(r#"{"users": {"base": 9998}}"#, NOW - 1);
    second.put_at(r#"{"users": {"other": 9999}}"#, NOW - 2);
    second.0.lock().unwrap().left = Some(4);
    let SourceUnavailable(problem) = second.end("ada", NOW).await.unwrap_err();
    assert!(problem.contains("run the command again: interrupted"), "{problem}");
    let before = Memory::new(1);
    before.0.lock().unwrap().left = Some(1);
    assert_eq!(before.end("ada", NOW).await, Err(SourceUnavailable("interrupted".to_owned())), "nothing was written");
}

#[tokio::test]
async fn one_writer_alone_writes_once() {
    let secret = Memory::new(1);
    secret.end("ada", NOW).await.unwrap();
    assert_eq!(secret.0.lock().unwrap().versions.len(), 1);
    assert_eq!(secret.newest_text(), r#"{"users":{"ada":9999}}"#);
}

#[tokio::test]
async fn a_malformed_list_is_not_overwritten_and_one_that_was_repaired_is_passed_over() {
    let secret = Memory::new(1);
    secret.put_at("{}", NOW - 700);
    secret.put_at("garbage", NOW - 60);
    assert!(secret.end("ada", NOW).await.is_err());
    assert_eq!(secret.newest_text(), "garbage");
    secret.put_at("{}", NOW - 30);
    secret.end("ada", NOW).await.unwrap();
    assert!(is_in(&secret.newest_text(), "ada"));
}

#[tokio::test]
async fn a_disabled_version_is_not_read_and_old_ones_are_not_either() {
    let secret = Memory::new(1);
    secret.put_at(r#"{"users": {"long-ago": 9999}}"#, NOW - OVERLAP - 101);
    secret.put_at(r#"{"users": {"disabled": 9999}}"#, NOW - 100);
    secret.0.lock().unwrap().versions[1].0.enabled = false;
    secret.put_at("{}", NOW - 100);
    secret.end("ada", NOW).await.unwrap();
    let text = secret.newest_text();
    assert!(is_in(&text, "ada") && !is_in(&text, "disabled") && !is_in(&text, "long-ago"), "{text}");
}
