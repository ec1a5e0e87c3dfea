//! The pure parts of a proxied call, one by one. `cargo dev bench --parts` runs it.

#![expect(clippy::unwrap_used, reason = "a bench that cannot measure should stop")]

use std::hint::black_box;

use cloakroom::api_map::path::ProvenPath;
use cloakroom::api_map::patterns::AllowList;
use cloakroom::api_map::{ApiMap, CsrfMode};
use cloakroom::guard::csrf;
use cloakroom::guard::origins::Origins;
use cloakroom::origin::Origin;
use cloakroom::proxy::headers;
use cloakroom::proxy::response_headers::LeftOut;
use cloakroom::telemetry::TraceContext;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

const PATH: &str = "/me/drive/root:/Reports%202026/summary.xlsx:/workbook/tables";
const MAP: &str = r#"{"graph": {"route": "/graph", "base": "https://graph.microsoft.com/v1.0", "allow": ["GET /me/**"],
                     "request_headers": ["ConsistencyLevel", "Prefer"]}}"#;
/// Request headers of a browser.
const REQUEST: [(&str, &str); 8] = [
    ("accept", "application/json, text/plain, */*"),
    ("accept-encoding", "gzip, deflate, br"),
    ("accept-language", "en-GB,en;q=0.9,de;q=0.8"),
    ("host", "app.contoso.example"),
    ("origin", "https://app.contoso.example"),
    ("sec-fetch-site", "same-origin"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
    ("x-csrf", "1"),
];
/// Response headers of an API.
const RESPONSE: [(&str, &str); 6] = [
    ("cache-control", "private"),
    ("content-type", "application/json"),
    ("etag", "W/\"1\""),
    ("server", "api/1.0"),
    ("strict-transport-security", "max-age=31536000"),
    ("vary", "Accept-Encoding"),
];

fn parts(bench: &mut Criterion) {
    let apis = ApiMap::parse(MAP).unwrap();
    let api = apis.get("graph").unwrap();
    let origins = Origins::only(Origin::parse("https://app.contoso.example").unwrap());
    let (request, response) = (map(&REQUEST), map(&RESPONSE));
    let (trace, left_out) = (TraceContext::from_headers(&request), LeftOut::default());
    let url = Uri::from_static("https://graph.microsoft.com/v1.0/me");
    bench.bench_function("parse a path", |bench| bench.iter(|| ProvenPath::parse(black_box(PATH))));
    for count in [1, 200] {
        let others = (1..count).map(|number| format!("GET /users/*/things-{number}/**"));
        let allowed = AllowList::compile(&others.chain(["GET /me/**".to_owned()]).collect::<Vec<_>>()).unwrap();
        bench.bench_function(&format!("match a path against {count} patterns"), |bench| {
            bench.iter(|| allowed.check(&Method::GET, black_box(PATH)))
        });
    }
    bench.bench_function("check a call for CSRF", |bench| {
        bench.iter(|| csrf::check(&Method::POST, black_box(&request), &origins, CsrfMode::Header));
    });
    bench.bench_function("select the request headers", |bench| {
        bench.iter(|| headers::forwarded(black_box(&request), &api.request_headers, &trace).map(black_box).count());
    });
    bench.bench_function("clean the response headers", |bench| {
        let received = || response.clone();
        bench.iter_batched_ref(
            received,
            |headers| headers::for_browser(black_box(headers), api, || Some(url.clone()), &left_out),
            BatchSize::SmallInput,
        );
    });
}

fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

criterion_group!(benches, parts);
criterion_main!(benches);
