use serde_json::json as value;

use super::*;

impl Pair {
    async fn batch(&self, requests: Value) -> Response<Bytes> {
        self.send(
            "POST",
            "/$batch",
            &[("content-type", "application/json")],
            &value!({"requests": requests}).to_string(),
        )
        .await
    }
}

#[tokio::test]
async fn a_batch_is_answered_call_by_call() {
    let pair = Pair::start().await;
    let change = value!({"jobTitle": "Countess"});
    let requests = value!([
        {"id": "1", "method": "GET", "url": "/me"},
        {"id": "2", "method": "GET", "url": "/me/messages?$top=2&$skip=4"},
        {"id": "3", "method": "PATCH", "url": "/me", "body": change, "headers": {"content-type": "application/json"}},
        {"id": "4", "method": "GET", "url": "/me/photo/$value", "headers": {"range": "bytes=0-3"}},
        {"id": "5", "method": "GET", "url": "/unknown"},
        {"id": "6", "method": "GET", "url": "/me", "dependsOn": ["5"]},
        {"id": "7", "method": "GET", "url": "/me", "dependsOn": ["1"]},
        {"id": "8", "method": "GET", "url": "me"},
    ]);
    let reply = pair.batch(requests).await;
    assert_eq!(reply.status(), 200);
    let body = json(&reply);
    let statuses: Vec<_> = body["responses"].as_array().unwrap().iter().map(|one| &one["status"]).collect();
    assert_eq!(statuses, [200, 200, 204, 206, 404, 424, 200, 400]);
    let answer = |at: usize| &body["responses"][at];
    assert_eq!((&answer(0)["id"], &answer(0)["body"]["displayName"]), (&value!("1"), &value!("Ada Lovelace")));
    assert_eq!(answer(1)["body"]["value"][0]["id"], "AAMk0004=");
    assert!(answer(2).get("body").is_none());
    assert_eq!(
        (&answer(3)["body"], &answer(3)["headers"]["Content-Type"]),
        (&value!("iVBORw=="), &value!("image/png"))
    );
    assert_eq!(answer(4)["body"]["error"]["code"], "ResourceNotFound");
    assert_eq!(pair.graph.count(), 1, "inner calls are no requests of their own");
}

#[tokio::test]
async fn what_is_no_batch_is_refused() {
    let pair = Pair::start().await;
    let one = value!({"id": "1", "method": "GET", "url": "/me"});
    for requests in [value!([]), value!(vec![one.clone(); 21]), value!([{"id": "1"}]), value!(null)] {
        assert_eq!(pair.batch(requests).await.status(), 400);
    }
    assert_eq!(pair.batch(value!(vec![one; 20])).await.status(), 200);
    assert_eq!(pair.get("/$batch").await.status(), 405);
    let nested = value!([{"id": "1", "method": "POST", "url": "/$batch", "body": {}}]);
    assert_eq!(json(&pair.batch(nested).await)["responses"][0]["status"], 405);
}
