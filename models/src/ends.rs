//! Responses that wait for the end of their session.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use shuttle::future::{block_on, spawn};

use super::payload::{Session, User};
use super::sealer::Sealer;
use super::store::{EndReason, SessionKey, SessionStore};
use super::watch::{Ends, SessionWatch};
use crate::keyring::revocations::RevocationCache;
use crate::store::model::store;

/// A response that waits while its session ends is woken, and learns of the end (contract 10.21).
pub fn a_response_that_waits_learns_of_the_end(sealer: &Arc<Sealer>, revocations: &Arc<RevocationCache>) {
    block_on(async {
        let store: Arc<dyn SessionStore> = store(sealer);
        let ends: Arc<Ends> = Arc::default();
        let session = Session::new([1; 16], User::default(), 0);
        let (id, seen) = (session.id, ends.count());
        let mut watch = SessionWatch::new(&ends, &store, revocations, Box::new(session), seen);
        let response =
            spawn(poll_fn(move |context| if watch.poll_ended(context) { Poll::Ready(()) } else { Poll::Pending }));
        let key = SessionKey { id: Some(id), hash: None, expires_at: 10_000 };
        assert!(store.end(&key, EndReason::SignedOut, 0).await.is_ok());
        ends.announce(Some(&id));
        assert!(response.await.is_ok());
    });
}
