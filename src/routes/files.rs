//! The SPA's files, by warp.

use std::sync::Arc;

use bytes::Bytes;
use http::header::RANGE;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply as _};

use super::{RequestHead, head, into_response};
use crate::error::Error;
use crate::reply::{Context, problem, wants_page};
use crate::spa::{Folder, add_file_headers, tags};

/// The answers that are a file, a part of one, or about one.
const FILE: [StatusCode; 3] = [StatusCode::OK, StatusCode::PARTIAL_CONTENT, StatusCode::RANGE_NOT_SATISFIABLE];

/// The SPA's files; its page for navigations to anything else.
pub(super) fn routes(folder: &Folder) -> BoxedFilter<(Response,)> {
    let folder = folder.clone();
    let reading = warp::get().or(warp::head()).unify();
    let answer = move |head: Arc<RequestHead>| {
        let folder = folder.clone();
        async move { file(&folder, &head).await.ok_or_else(warp::reject::not_found) }
    };
    reading.and(head()).and_then(answer).boxed()
}

async fn file(folder: &Folder, head: &RequestHead) -> Option<Response> {
    let headers = &head.headers;
    let (path, file) = folder.find(head.target.path(), headers)?;
    let tag = folder.tags().etag_for(&file).await?;
    let mut response = if tags::none_match_hit(headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        // It is asked for anew, without the conditions that came: warp knows only those by the file's time.
        let mut request = Request::new(Empty::<Bytes>::new());
        request.headers_mut().extend(tags::range(headers, &tag).map(|range| (RANGE, range)));
        // In a task of its own: warp answers no request from inside another.
        let answer = tokio::spawn(TowerToHyperService::new(warp::service(warp::fs::file(file))).call(request)).await;
        match answer.map(|answer| answer.unwrap_or_else(|never| match never {})) {
            Ok(answer) if FILE.contains(&answer.status()) => answer,
            Ok(answer) if answer.status() == StatusCode::NOT_FOUND => return None,
            // What keeps a file from being read is no file, and nobody may keep it as one.
            Ok(_) | Err(_) => return Some(failed(head)),
        }
    };
    tags::set_etag(response.headers_mut(), tag);
    add_file_headers(response.headers_mut(), path);
    Some(response)
}

fn failed(head: &RequestHead) -> Response {
    tracing::error!(trace_id = head.trace_id, "a file of the SPA cannot be read");
    let (trace_id, wants_page) = (head.trace_id.clone(), wants_page(&head.headers));
    into_response(problem(&Error::Internal, &Context { trace_id, wants_page, link_base: String::new() }), false)
}
