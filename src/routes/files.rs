//! The SPA's files, by warp.

use std::sync::Arc;

use bytes::Bytes;
use http::header::RANGE;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::Empty;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply as _};

use super::{Seen, seen};
use crate::spa::{Folder, finish, tags};

/// The SPA's files; its page for navigations to anything else.
pub(super) fn routes(folder: &Folder) -> BoxedFilter<(Response,)> {
    let folder = folder.clone();
    let reading = warp::get().or(warp::head()).unify();
    let answer = move |seen: Arc<Seen>| {
        let folder = folder.clone();
        async move { file(&folder, seen.target.path(), &seen.headers).await.ok_or_else(warp::reject::not_found) }
    };
    reading.and(seen()).and_then(answer).boxed()
}

async fn file(folder: &Folder, path: &str, headers: &HeaderMap) -> Option<Response> {
    let (path, file) = folder.find(path, headers)?;
    let tag = folder.tags().of(&file).await?;
    let mut response = if tags::is_held(headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        // It is asked for anew, without the conditions that came: warp knows only those by the file's time.
        let mut request = Request::new(Empty::<Bytes>::new());
        request.headers_mut().extend(tags::range(headers, &tag).map(|range| (RANGE, range)));
        // In a task of its own: warp answers no request from inside another.
        let answer = tokio::spawn(TowerToHyperService::new(warp::service(warp::fs::file(file))).call(request)).await;
        answer.ok()?.unwrap_or_else(|never| match never {})
    };
    tags::write(response.headers_mut(), tag);
    finish(response.headers_mut(), path);
    Some(response)
}
