use super::{Cluster, Options, RedisServer, Reply};

#[test]
fn a_server_keeps_its_port_when_it_starts_again() {
    let server = RedisServer::start(&Options::default()).unwrap();
    assert_eq!(server.command(&["SET", "a", "1"]).unwrap().text(), "OK");
    server.kill();
    assert!(server.command(&["PING"]).is_err());
    server.start_again().unwrap();
    assert_eq!(server.command(&["GET", "a"]).unwrap(), Reply::Nil, "nothing is saved by default");
}

#[test]
fn a_cluster_shares_its_slots_and_moves_them() {
    let cluster = Cluster::start(3, 0, &Options::default()).unwrap();
    let slot = cluster.slot("foo").unwrap();
    let (from, to) = (cluster.first_owner(slot), 0);
    assert_eq!((slot, from), (12_182, 2));
    let get = |server: usize| cluster.servers[server].command(&["GET", "foo"]).unwrap().text();
    assert!(get(0).starts_with("MOVED 12182 127.0.0.1:"), "{}", get(0));
    cluster.servers[from].command(&["SET", "foo", "1"]).unwrap();
    cluster.begin_move(slot, from, to).unwrap();
    assert_eq!(get(from), "1");
    cluster.move_key("foo", from, to).unwrap();
    assert!(get(from).starts_with("ASK 12182 "), "{}", get(from));
    cluster.end_move(slot, from, to).unwrap();
    assert_eq!(get(to), "1");
}
