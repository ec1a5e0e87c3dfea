//! Requests to the key source, each with a second attempt and a deadline for both (contract 6.23).

use std::time::Duration;

use futures_util::future::select_ok;
use tokio::time::timeout;

use crate::keyring::{SourceFuture, SourceUnavailable};

/// Deadline of one request to the source, its retry included (contract 6.23).
pub(in crate::keyring) const SOURCE_DEADLINE: Duration = Duration::from_secs(5);
/// When the second attempt of a request starts, at the latest.
const FIRST_ATTEMPT: Duration = Duration::from_secs(2);

/// Sends a request, and a second one when the first fails or takes long; the first good response counts, within one
/// deadline for both.
///
/// A slow first attempt continues next to the second: the source may respond to either.
pub(in crate::keyring) async fn hedged<'a, T>(
    request: impl Fn() -> SourceFuture<'a, T>,
) -> Result<T, SourceUnavailable> {
    let both = async {
        let mut first = request();
        match timeout(FIRST_ATTEMPT, &mut first).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(_)) => request().await,
            Err(_) => select_ok([first, request()]).await.map(|(response, _)| response),
        }
    };
    timeout(SOURCE_DEADLINE, both).await.unwrap_or_else(|_| Err(SourceUnavailable("no response within 5 s".to_owned())))
}
