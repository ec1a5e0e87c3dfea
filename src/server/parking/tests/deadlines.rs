//! Deadlines of connections that are parked and of others (contract 11.10).

use super::*;

#[tokio::test]
async fn an_idle_connection_is_closed_after_300s_parked_or_not() {
    for delay in [Duration::ZERO, DELAY, NEVER] {
        assert_eq!(Peer::new(delay).await.seconds().await, 300, "{delay:?} without a request");
        let mut peer = Peer::new(delay).await;
        peer.call("/1").await;
        peer.pass(Duration::from_secs(200)).await;
        peer.call("/2").await;
        assert_eq!(peer.seconds().await, 300, "{delay:?}");
    }
}

#[tokio::test]
async fn a_head_has_10s_from_its_first_byte_parked_before_or_not() {
    for delay in [Duration::ZERO, DELAY, NEVER] {
        let mut peer = Peer::new(delay).await;
        peer.send("G").await;
        assert_eq!(peer.seconds().await, 10, "{delay:?} the first request");
        let mut peer = Peer::new(delay).await;
        peer.call("/1").await;
        peer.pass(Duration::from_secs(200)).await;
        peer.send("G").await;
        assert_eq!(peer.seconds().await, 10, "{delay:?} a later request");
    }
}

#[tokio::test]
async fn a_response_that_the_client_does_not_read_keeps_the_connection_from_being_parked_for_30s() {
    for reads in [true, false] {
        let mut peer = Peer::new(DELAY).await;
        peer.send(&get("/long")).await;
        if reads {
            peer.pass(DELAY * 2).await;
            let mut response = vec![0; LONG];
            peer.client.read_exact(&mut response).await.unwrap();
            peer.client.read_buf(&mut response).await.unwrap();
            peer.call("/next").await;
        } else {
            assert_eq!(peer.seconds().await, 30);
        }
    }
}

#[tokio::test]
async fn the_rest_of_a_body_is_not_timed_as_a_request_head() {
    let mut peer = Peer::new(DELAY).await;
    peer.send("POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n").await;
    peer.receive("/1").await;
    for _ in 0..2 {
        peer.send("x").await;
        peer.pass(Duration::from_secs(12)).await;
    }
    peer.send("x").await;
    peer.pass(Duration::from_secs(12)).await;
    peer.send("G").await;
    assert_eq!(peer.seconds().await, 10);
}

#[tokio::test]
async fn after_a_discarded_body_the_connection_is_idle_for_300_s() {
    let bodies = [("Content-Length: 3", "xxx"), ("Transfer-Encoding: chunked", "3\r\nxxx\r\n0\r\n\r\n")];
    for (delay, (line, body)) in [(DELAY, bodies[0]), (DELAY, bodies[1]), (NEVER, bodies[0]), (NEVER, bodies[1])] {
        let mut peer = Peer::new(delay).await;
        peer.send(&format!("POST /1 HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n")).await;
        peer.receive("/1").await;
        peer.pass(Duration::from_secs(1)).await;
        peer.send(body).await;
        assert_eq!(peer.seconds().await, 300, "{delay:?} {line}");
    }
}
