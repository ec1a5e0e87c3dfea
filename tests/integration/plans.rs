//! What `host.json` and the templates set up with the host, played by the stand-in: its log, and the plans on which it
//! answers preflights itself (contract 9.11).

use devkit::host::Mode;

use crate::app::{Reach, TestApp};

const ADA: &str = "ada.lovelace@contoso.example";
const MODES: [Mode; 2] = [Mode::Forward, Mode::Proxy];
const CALLS: usize = 23;

/// The host's own lines about calls.
fn lines_of_calls(app: &TestApp) -> usize {
    let log = app.log();
    log.matches("Executing 'Functions.").count() + log.matches("Executed 'Functions.").count()
}

/// With the levels of `host.json` each call costs no line of the host, and the gateway's own lines remain.
#[tokio::test(flavor = "multi_thread")]
async fn the_host_logs_the_gateways_lines_and_none_of_its_own_for_each_call() {
    // By the host's default, every line is written.
    let everything = ("AzureFunctionsJobHost__logging__logLevel__default", "Information");
    for mode in MODES {
        for (name, level, lines) in [("UNUSED", "", 0), (everything.0, everything.1, 2 * CALLS)] {
            let app = TestApp::builder().reach(Reach::Host(mode)).variable(name, level).start().await;
            let mut visitor = app.signed_in(ADA).await;
            let before = lines_of_calls(&app);
            for _ in 0..CALLS {
                assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200);
            }
            assert_eq!(lines_of_calls(&app) - before, lines, "{mode:?} {name}={level}: {}", app.log());
            assert!(before > 0 || lines == 0, "sign-ins are calls too");
            app.wait_for_log(r#""event":"signed_in""#).await;
            assert!(app.log().contains("Worker process started and initialized."), "{}", app.log());
        }
    }
}
