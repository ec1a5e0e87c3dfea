//! What a server is asked, by `MONITOR`.

use devkit::redis_server::{Connection, RedisServer};

/// Sees every command, with those of scripts.
pub struct Monitor<'a> {
    server: &'a RedisServer,
    connection: Connection,
    marks: usize,
}

impl<'a> Monitor<'a> {
    pub fn start(server: &'a RedisServer) -> Self {
        let mut connection = server.connect().unwrap();
        connection.command(&["MONITOR"]).unwrap();
        Self { server, connection, marks: 0 }
    }

    /// The commands about keys of the gateway since the last call that came from a client, without those of scripts.
    pub fn commands(&mut self) -> Vec<String> {
        self.marks += 1;
        let mark = format!("mark-{}", self.marks);
        self.server.command(&["ECHO", &mark]).unwrap();
        let mut seen = Vec::new();
        loop {
            let line = self.connection.receive().unwrap().text();
            if line.contains(&mark) {
                return seen;
            }
            // `time [database client] "command" "argument" …`, where the client of a script's command is `lua`.
            let (client, command) = line.split_once("] ").unwrap();
            if command.contains("\"cloakroom:") && !client.ends_with("lua") {
                seen.push(command.to_owned());
            }
        }
    }
}
