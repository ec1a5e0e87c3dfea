//! The requests of one user.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::join_all;
use shuttle::future::{block_on, spawn, yield_now};

use super::limits::Share;
use super::users::Users;
use crate::session::payload::{Session, User};

/// A user has no more places than allowed, whoever leaves or comes meanwhile, and all of them again in the end.
pub fn a_user_has_no_more_places_than_allowed() {
    block_on(async {
        let users = Arc::new(Users::new(Share { held: 1, waiting: 1 }));
        let session = Arc::new(Session::new([1; 16], User::default(), 0));
        let held = Arc::new(AtomicU32::new(0));
        let requests = (0..3).map(|_| {
            let (users, session, held) = (Arc::clone(&users), Arc::clone(&session), Arc::clone(&held));
            spawn(async move {
                let Some(registration) = users.register(&session) else { return };
                let permit = match registration.try_permit() {
                    Ok(permit) => Some(permit),
                    Err(registration) => registration.permit().await,
                };
                assert!(permit.is_some());
                assert_eq!(held.fetch_add(1, Ordering::SeqCst), 0, "two places");
                yield_now().await;
                held.fetch_sub(1, Ordering::SeqCst);
            })
        });
        assert!(join_all(requests.collect::<Vec<_>>()).await.into_iter().all(|end| end.is_ok()));
        let again: Vec<_> = (0..3).map(|_| users.register(&session)).collect();
        assert_eq!(again.iter().flatten().count(), 2, "places were lost or won");
    });
}
