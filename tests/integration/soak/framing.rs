//! A thousand rounds of requests with ambiguous framing: the process never restarts.

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
        let findings = framing::round(&app, &visitor.cookie_header(), number);
        assert!(findings.is_empty(), "round {number}\n{}", findings.join("\n"));
    }
    assert_eq!(app.pid(), pid);
    assert_eq!(app.visitor().get("/health/live").await.status, 200);
    figure("rounds with nothing smuggled, the process id unchanged", ROUNDS, "1000");
}
