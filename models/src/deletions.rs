//! Deletions that are repeated.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{join_all, ready};
use shuttle::future::{JoinHandle, block_on, spawn, yield_now};
use tokio::time::Instant;

use super::deletions::{Deletion, Deletions};
use crate::session::store::EndReason;

/// Every deletion that fails at first succeeds later, whenever it comes: one task repeats them, which is started again
/// when there are new ones.
pub fn every_deletion_is_repeated() {
    block_on(async {
        let deletions: Arc<Deletions> = Arc::default();
        let deleted: Arc<Mutex<Vec<u8>>> = Arc::default();
        let repeating: Arc<Mutex<Vec<JoinHandle<()>>>> = Arc::default();
        let pushes = (0..3).map(|number| {
            let (deletions, deleted, repeating) =
                (Arc::clone(&deletions), Arc::clone(&deleted), Arc::clone(&repeating));
            spawn(async move {
                let until = Instant::now() + Duration::from_secs(60);
                if deletions.push(Deletion { hash: [number; 32], reason: EndReason::SignedOut, until }) {
                    let delete = move |deletion: Deletion| {
                        deleted.lock().unwrap_or_else(PoisonError::into_inner).push(deletion.hash[0]);
                        ready(Ok(()))
                    };
                    let task = spawn(Arc::clone(&deletions).repeat(delete));
                    repeating.lock().unwrap_or_else(PoisonError::into_inner).push(task);
                }
            })
        });
        join_all(pushes.collect::<Vec<_>>()).await;
        let tasks = std::mem::take(&mut *repeating.lock().unwrap_or_else(PoisonError::into_inner));
        join_all(tasks).await;
        yield_now().await;
        let mut deleted = std::mem::take(&mut *deleted.lock().unwrap_or_else(PoisonError::into_inner));
        deleted.sort_unstable();
        assert_eq!(deleted, [0, 1, 2]);
    });
}
