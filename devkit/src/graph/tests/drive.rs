use super::*;

const STEP: usize = 320 * 1024;

impl Pair {
    /// Begins an upload and gives the target of its address.
    async fn begin(&self, path: &str) -> String {
        let reply = self.send("POST", path, &[("content-type", "application/json")], "{\"item\":{}}").await;
        assert_eq!(reply.status(), 200);
        let session = json(&reply);
        assert_eq!(session["nextExpectedRanges"], serde_json::json!(["0-"]));
        assert!(session["expirationDateTime"].as_str().unwrap().ends_with('Z'));
        let url = session["uploadUrl"].as_str().unwrap();
        url.strip_prefix(&self.graph.upload_origin()).unwrap().to_owned()
    }

    /// Asks the upload host, behind its TLS.
    async fn host(&self, method: &str, target: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Response<Bytes> {
        let mut request =
            Request::builder().method(method).uri(format!("http://{}{target}", self.graph.uploads.behind()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        client::send(request.body(Full::from(body)).unwrap()).await.unwrap()
    }

    async fn put(&self, target: &str, range: &str, body: Vec<u8>) -> Response<Bytes> {
        self.host("PUT", target, &[("content-range", range)], body).await
    }
}

#[tokio::test]
async fn a_file_comes_in_chunks() {
    let pair = Pair::start().await;
    let target = pair.begin("/me/drive/root:/reports/50%25%20off.bin:/createUploadSession").await;
    let first = pair.put(&target, "bytes 0-327679/327690", vec![1; STEP]).await;
    assert_eq!((first.status().as_u16(), &json(&first)["nextExpectedRanges"][0]), (202, &"327680-".into()));
    let status = pair.host("GET", &target, &[], Vec::new()).await;
    assert_eq!((status.status().as_u16(), &json(&status)["nextExpectedRanges"][0]), (200, &"327680-".into()));
    let last = pair.put(&target, "bytes 327680-327689/327690", vec![2; 10]).await;
    assert_eq!(last.status(), 201);
    assert_eq!(last.headers()["access-control-allow-origin"], "*");
    let item = json(&last);
    assert_eq!((&item["name"], &item["size"]), (&"50% off.bin".into(), &327_690.into()));
    let [file] = &pair.graph.files()[..] else { panic!("one file") };
    assert_eq!((file.path.as_str(), &file.content[STEP - 1..STEP + 1]), ("/reports/50% off.bin", &[1, 2][..]));
    assert_eq!(json(&pair.get(&format!("/me/drive/items/{}", file.id)).await), item);
    assert_eq!(pair.put(&target, "bytes 0-0/1", vec![1]).await.status(), 404, "the session is over");
    assert_eq!(pair.graph.upload_requests().len(), 4);

    let again = pair.begin(&format!("/me/drive/items/{}/createUploadSession", file.id)).await;
    let replaced = pair.put(&again, "bytes 0-2/3", b"new".to_vec()).await;
    assert_eq!((replaced.status().as_u16(), &json(&replaced)["id"]), (200, &item["id"]));
    assert_eq!(pair.graph.files()[0].content, "new");
}

#[tokio::test]
async fn chunks_that_do_not_fit_are_refused() {
    let pair = Pair::start().await;
    let target = pair.begin("/me/drive/root:/a:/createUploadSession").await;
    for (range, length, status) in [
        ("bytes 0-9/10", 9, 400),
        ("bytes 0-9/9", 10, 400),
        ("bytes 9-0/10", 10, 400),
        ("0-9/10", 10, 400),
        ("bytes 0-99/1000", 100, 400),
        ("bytes 327680-327689/327690", 10, 416),
        ("bytes 0-1310719/1310720", 4 * STEP, 413),
    ] {
        let reply = pair.put(&target, range, vec![0; length]).await;
        assert_eq!(reply.status(), status, "{range}");
        assert!(json(&reply)["error"]["code"].is_string());
    }
    assert_eq!(pair.host("PUT", &target, &[], vec![0]).await.status(), 400);
    assert_eq!(pair.put("/_api/v2.0/drive/uploadSession?tempauth=guess", "bytes 0-0/1", vec![0]).await.status(), 404);
    let bearer = [("content-range", "bytes 0-0/1"), ("authorization", "Bearer x")];
    assert_eq!(pair.host("PUT", &target, &bearer, vec![0]).await.status(), 401);
    assert_eq!(pair.host("DELETE", &target, &[], Vec::new()).await.status(), 204);
    assert_eq!(pair.host("DELETE", &target, &[], Vec::new()).await.status(), 404);
    assert_eq!(pair.put(&target, "bytes 0-0/1", vec![0]).await.status(), 404);
    assert!(pair.graph.files().is_empty());
}

#[tokio::test]
async fn pages_of_every_origin_may_upload() {
    let pair = Pair::start().await;
    let headers = [("origin", "http://localhost:7071"), ("access-control-request-method", "PUT")];
    let reply = pair.host("OPTIONS", "/_api/v2.0/drive/uploadSession", &headers, Vec::new()).await;
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.headers()["access-control-allow-origin"], "*");
    assert_eq!(reply.headers()["access-control-allow-headers"], "content-range, content-type");
    assert!(!reply.headers().contains_key("access-control-allow-credentials"));
}

#[tokio::test]
async fn a_delta_tells_what_changed_since() {
    let pair = Pair::start().await;
    let mut link = "/me/drive/root/delta".to_owned();
    for (name, known) in [("a", 1), ("b", 1), ("a", 1)] {
        let target = pair.begin(&format!("/me/drive/root:/{name}:/createUploadSession")).await;
        pair.put(&target, "bytes 0-0/1", vec![0]).await;
        let delta = json(&pair.get(&link).await);
        let changed = delta["value"].as_array().unwrap();
        assert_eq!((changed.len(), &changed[0]["name"]), (known, &name.into()));
        let next = delta["@odata.deltaLink"].as_str().unwrap();
        link = next.strip_prefix(&pair.graph.base()).unwrap().to_owned();
    }
    assert_eq!(json(&pair.get(&link.replace('\'', "%27")).await)["value"].as_array().unwrap().len(), 0);
    assert_eq!(pair.get("/me/drive/root/delta(token=3)").await.status(), 404);
    assert_eq!(pair.send("DELETE", "/me/drive/root/delta", &[], "").await.status(), 405);
    for path in ["/me/drive", "/me/drive/items/none", "/me/drive/root:/a/createUploadSession"] {
        let method = if path.ends_with("Session") { "POST" } else { "GET" };
        assert_eq!(pair.send(method, path, &[], "").await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn links_can_be_those_of_graph_itself() {
    let pair = Pair::start().await;
    pair.graph.link_as("https://graph.microsoft.com");
    for (path, link) in [("/me/messages", "@odata.nextLink"), ("/me/drive/root/delta", "@odata.deltaLink")] {
        let page = json(&pair.get(path).await);
        let beginning = format!("https://graph.microsoft.com/v1.0{path}");
        assert!(page[link].as_str().unwrap().starts_with(&beginning), "{page}");
    }
}
