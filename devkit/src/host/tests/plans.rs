//! The plans Flex Consumption and Linux Consumption, where the host answers preflights itself; and its log.

use serde_json::json;

use super::support::{Project, Recorder, get, ok, send, stage, started, status, values};
use crate::host::{Host, Mode, Options, Plan};

const PAGE: &str = "https://spa.example";
const PLANS: [Plan; 2] = [Plan::FlexConsumption, Plan::LinuxConsumption];
const MODES: [Mode; 2] = [Mode::Forward, Mode::Proxy];

/// The lines of a preflight of this origin.
fn preflight(origin: &str) -> String {
    let headers = "Access-Control-Request-Headers: x-csrf,content-type\r\n";
    format!("Origin: {origin}\r\nAccess-Control-Request-Method: PATCH\r\n{headers}")
}

/// The names of the CORS headers of a response, in lower case.
fn cors_headers(response: &str) -> Vec<String> {
    let names = response.lines().filter_map(|line| Some(line.split_once(": ")?.0.to_lowercase()));
    names.filter(|name| name.starts_with("access-control-") || name == "vary").collect()
}

async fn on(plan: Plan, origins: &[&str], mode: Mode, recorder: &Recorder) -> (Project, Host) {
    let project = Project::with_all();
    let options = Options { env: plan.settings(origins), ..project.options(mode) };
    let host = started(options, recorder.port).await;
    (project, host)
}

#[tokio::test]
async fn without_a_list_every_preflight_is_answered_without_cors() {
    for (plan, mode) in PLANS.into_iter().flat_map(|plan| MODES.map(|mode| (plan, mode))) {
        let recorder = Recorder::ok().await;
        let (_project, host) = on(plan, &[], mode, &recorder).await;
        let response = send(&host, "OPTIONS /x", &preflight(PAGE), "").await;
        assert_eq!((status(&response), cors_headers(&response)), ("204", vec![]), "{plan:?} {mode:?}");
        assert_eq!(recorder.requests().len(), 0, "the handler does not see it");
        for lines in ["", "Origin: https://spa.example\r\n", "Access-Control-Request-Method: GET\r\n"] {
            let count = recorder.requests().len();
            assert_eq!(status(&send(&host, "OPTIONS /x", lines, "").await), "200", "{lines} is no preflight");
            assert_eq!(recorder.requests().len(), count + 1);
        }
    }
}

#[tokio::test]
async fn on_other_plans_preflights_reach_the_handler() {
    for mode in MODES {
        let (_project, recorder, host) = stage(mode, Recorder::ok().await).await;
        assert_eq!(status(&send(&host, "OPTIONS /x", &preflight(PAGE), "").await), "200");
        assert_eq!(recorder.requests().len(), 1);
    }
}

#[tokio::test]
async fn the_list_decides_who_may_call_and_read() {
    for (plan, mode) in PLANS.into_iter().flat_map(|plan| MODES.map(|mode| (plan, mode))) {
        let recorder = Recorder::start(|_, _| {
            let cors = "Access-Control-Allow-Origin: https://spa.example\r\nAccess-Control-Expose-Headers: x-own\r\n";
            format!("HTTP/1.1 200 OK\r\n{cors}Vary: Origin\r\nContent-Length: 0\r\n\r\n").into_bytes()
        });
        let recorder = recorder.await;
        let (_project, host) = on(plan, &["https://SPA.example"], mode, &recorder).await;
        let response = send(&host, "OPTIONS /x", &preflight(PAGE), "").await;
        assert_eq!(status(&response), "204");
        for (name, value) in [
            ("access-control-allow-origin", PAGE),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", "PATCH"),
            ("access-control-allow-headers", "x-csrf,content-type"),
        ] {
            assert_eq!(values(&response, name), [value], "{plan:?} {mode:?}");
        }
        assert_eq!(cors_headers(&response).len(), 4, "{response}");
        for other in ["https://other.example", "https://spa.example:8443", "null", "https://SPA.example"] {
            assert_eq!(cors_headers(&send(&host, "OPTIONS /x", &preflight(other), "").await), [""; 0], "{other}");
        }
        assert_eq!(recorder.requests().len(), 0);
        let call = send(&host, "GET /x", &format!("Origin: {PAGE}\r\n"), "").await;
        assert_eq!(values(&call, "access-control-allow-origin"), [PAGE], "once, although the handler sets it too");
        assert_eq!(values(&call, "access-control-allow-credentials"), ["true"]);
        assert_eq!(values(&call, "access-control-expose-headers"), ["x-own"], "the handler's own");
        assert_eq!(values(&call, "vary"), ["Origin"]);
        let call = send(&host, "GET /x", "Origin: https://other.example\r\n", "").await;
        assert_eq!(values(&call, "access-control-allow-credentials"), [""; 0]);
    }
}

#[tokio::test]
async fn a_list_that_the_real_host_does_not_accept_stops_the_start() {
    let project = Project::with_all();
    for list in ["https://spa.example", "{", r#"["*"]"#] {
        let mut env = Plan::FlexConsumption.settings(&[PAGE]);
        env.insert("CORS_ALLOWED_ORIGINS".to_owned(), list.to_owned());
        assert!(Host::start(Options { env, ..project.options(Mode::Proxy) }).await.is_err(), "{list}");
    }
}

#[tokio::test]
async fn the_host_takes_its_name_from_the_front_end() {
    let front_end = "DISGUISED-HOST: app.example.org\r\n";
    for (env, expected) in [(Plan::LinuxConsumption.settings(&[]), "app.example.org"), ([].into(), "app.example")] {
        let (project, recorder) = (Project::with_all(), Recorder::ok().await);
        let host = started(Options { env, ..project.options(Mode::Forward) }, recorder.port).await;
        send(&host, "GET /x", front_end, "").await;
        assert_eq!(values(&recorder.last(), "host"), [expected]);
    }
}

/// Two lines of each call, unless the level of their category is higher.
#[tokio::test]
async fn the_host_logs_every_call_unless_its_levels_say_otherwise() {
    for (levels, expected) in [
        (json!({"default": "Information"}), 46),
        (json!({"default": "Warning"}), 0),
        (json!({"default": "Warning", "Function": "Information"}), 46),
        (json!({}), 46),
    ] {
        for mode in MODES {
            let (project, recorder) = (Project::with_all(), Recorder::start(|_, _| ok("")).await);
            let file = json!({"version": "2.0", "logging": {"logLevel": levels},
                "customHandler": {"description": {"defaultExecutablePath": "handler"}},
                "extensions": {"http": {"routePrefix": ""}}});
            std::fs::write(project.root().join("host.json"), file.to_string()).unwrap();
            let host = project.start(&recorder, mode).await;
            for _ in 0..23 {
                assert_eq!(status(&get(&host, "/x").await), "200");
            }
            let lines = host.logs();
            let of_calls: Vec<_> = lines.iter().filter(|line| line.category == "Function.all").collect();
            assert_eq!(of_calls.len(), expected, "{levels} {mode:?}: {of_calls:?}");
            assert!(of_calls.iter().step_by(2).all(|line| line.text.starts_with("Executing 'Functions.all' (Reason=")));
            let ends = of_calls.iter().skip(1).step_by(2);
            assert!(ends.clone().all(|line| line.text.starts_with("Executed 'Functions.all' (Succeeded, Id=")));
        }
    }
}
