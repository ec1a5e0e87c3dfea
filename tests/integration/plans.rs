//! What `host.json` and the templates set up with the host, played by the stand-in: its log, and the plans on which it
//! answers preflights itself (contract 9.11).

use std::collections::BTreeSet;
use std::path::Path;

use devkit::host::{Mode, Plan};

use crate::app::{Builder, ROOT, Reach, TestApp};

const ADA: &str = "ada.lovelace@contoso.example";
const MODES: [Mode; 2] = [Mode::Forward, Mode::Proxy];
const CALLS: usize = 23;
pub const PLANS: [Plan; 2] = [Plan::FlexConsumption, Plan::LinuxConsumption];

/// An app on a plan, with this platform's CORS list.
pub fn on_plan(plan: Plan, list: &[String]) -> Builder {
    let list: Vec<&str> = list.iter().map(String::as_str).collect();
    let settings = plan.settings(&list).into_iter();
    settings.fold(TestApp::builder(), |builder, (name, value)| builder.variable(&name, value))
}

/// What the templates make of their parameter `allowedOrigins`: the gateway's setting, and `siteConfig.cors` of the
/// app. Requires the lines that this function does the same as, so that neither can change alone.
pub fn by_templates(allowed_origins: &str) -> (String, Vec<String>) {
    let require = |file: &str, text: &str, count: usize| {
        let template = std::fs::read_to_string(Path::new(ROOT).join("infra").join(file)).unwrap();
        assert_eq!(template.matches(text).count(), count, "{file} has changed: {text}");
    };
    require("main.bicep", "var listed = replace(replace('${allowedOrigins},', ' ', ''), '/,', ',')\n", 1);
    require("main.bicep", "var origins = take(listed, length(listed) - 1)\n", 1);
    require("main.bicep", "var pages = empty(origins) ? {} : { CLOAKROOM_ALLOWED_ORIGINS: origins }\n", 1);
    require("main.bicep", "    allowedOrigins: empty(origins) ? [] : split(origins, ',')\n", PLANS.len());
    for module in ["modules/flex.bicep", "modules/consumption.bicep"] {
        require(module, "var cors = {\n  allowedOrigins: allowedOrigins\n  supportCredentials: true\n}\n", 1);
        require(module, "      cors: empty(allowedOrigins) ? null : cors\n", 1);
    }
    let listed = format!("{allowed_origins},").replace(' ', "").replace("/,", ",");
    let origins = listed.strip_suffix(',').unwrap_or_default();
    let list = origins.split(',').filter(|_| !origins.is_empty()).map(str::to_owned).collect();
    (origins.to_owned(), list)
}

/// Contract 9.11: the gateway decides every call, and no CORS header comes from both.
#[tokio::test(flavor = "multi_thread")]
async fn on_these_plans_the_gateway_still_decides_and_no_cors_header_comes_twice() {
    const PAGE: &str = "http://localhost:9";
    const OTHER: &str = "http://localhost:10";
    for (plan, mode) in PLANS.into_iter().flat_map(|plan| MODES.map(|mode| (plan, mode))) {
        // The platform's list has an origin that the gateway's does not have.
        let builder = on_plan(plan, &[PAGE.to_owned(), OTHER.to_owned()]).reach(Reach::Host(mode));
        let app = builder.set("ALLOWED_ORIGINS", PAGE).start().await;
        let mut visitor = app.signed_in(ADA).await;
        for (origin, status) in [(PAGE, 200), (OTHER, 403)] {
            let preflight = [
                ("origin", origin),
                ("access-control-request-method", "GET"),
                ("access-control-request-headers", "x-csrf"),
            ];
            let response = visitor.send("OPTIONS", "/graph/me", &preflight, "").await;
            assert_eq!((response.status, response.header("cloakroom-error")), (204, None), "{plan:?} {mode:?}");
            assert_eq!(response.header("access-control-allow-headers"), Some("x-csrf"), "the host's own");
            let call =
                [("origin", origin), ("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors"), ("x-csrf", "1")];
            let response = visitor.send("GET", "/graph/me", &call, "").await;
            assert_eq!(response.status, status, "{plan:?} {mode:?} {origin}");
            let names = response.headers.iter().map(|(name, _)| name.to_lowercase());
            let names: Vec<String> = names.filter(|name| name.starts_with("access-control-")).collect();
            assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
        }
        assert_eq!(app.graph.count(), 1, "{plan:?} {mode:?}");
    }
}

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
            app.wait_for_log("Worker process started and initialized.").await;
        }
    }
}
