//! A thousand rounds of requests whose framing is doubtful: the process stays the one that it was.

use super::figure;
use crate::app::TestApp;
use crate::framing;

const ROUNDS: usize = 1_000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: cargo dev soak framing"]
async fn long() {
    let app = TestApp::start().await;
    let visitor = app.signed_in(super::ADA).await;
    let pid = app.pid();
    for number in 0..ROUNDS {
        let complaints = framing::round(&app, &visitor.cookie_header());
        assert!(complaints.is_empty(), "round {number}\n{}", complaints.join("\n"));
    }
    assert_eq!(app.pid(), pid);
    assert_eq!(app.visitor().get("/health/live").await.status, 200);
    figure("rounds with nothing smuggled, the process id unchanged", ROUNDS, "1000");
}
