//! The other people's programs of the load: nginx as the API and as a plain proxy, and wrk, which asks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::stage::free_port;
use super::super::target;
use super::Outcome;
use super::gateway::Running;

/// The core of what is measured, and that of what asks and of the API.
pub(super) const MEASURED: &str = "0";
pub(super) const OTHERS: &str = "1";
/// Bytes of the two answers.
const SMALL: usize = 600;
const LARGE: usize = 64 * 1_024;

/// An nginx with one worker.
pub(super) struct Nginx {
    pub(super) process: Running,
    pub(super) port: u16,
}

impl Nginx {
    /// The API: two files, whose head and body leave in two segments, for whoever has a bearer token.
    pub(super) fn api() -> Outcome<Self> {
        let folder = folder("api")?;
        let files = folder.join("files/v1.0");
        fs::create_dir_all(&files)?;
        fs::write(files.join("me"), json_of(SMALL))?;
        fs::write(files.join("large"), json_of(LARGE))?;
        let server = format!(
            r#"root "{}"; location / {{ if ($http_authorization !~ "^Bearer ") {{ return 401; }} }}"#,
            folder.join("files").display()
        );
        Self::start(&folder, OTHERS, "", &server)
    }

    /// A plain proxy to the API that adds a fixed token and, like the gateway, keeps the cookie to itself.
    pub(super) fn proxy(api: u16, token: &str) -> Outcome<Self> {
        let upstream = format!(
            "upstream api {{ server 127.0.0.1:{api}; keepalive 64; keepalive_requests 1000000000; keepalive_timeout 3600s; }}"
        );
        let server = format!(
            r#"location /graph/ {{ proxy_pass http://api/v1.0/; proxy_http_version 1.1; proxy_set_header Connection "";
               proxy_set_header Cookie ""; proxy_set_header Authorization "Bearer {token}"; }}"#
        );
        Self::start(&folder("proxy")?, MEASURED, &upstream, &server)
    }

    fn start(folder: &Path, core: &str, upstream: &str, server: &str) -> Outcome<Self> {
        let port = free_port()?;
        let place = folder.display();
        let text = format!(
            r#"daemon off; master_process off; pid "{place}/pid"; error_log stderr error;
events {{ worker_connections 4096; }}
http {{
    access_log off; sendfile on; tcp_nopush off; tcp_nodelay on; default_type application/json;
    keepalive_requests 1000000000; keepalive_timeout 3600s;
    client_body_temp_path "{place}/a"; proxy_temp_path "{place}/b"; fastcgi_temp_path "{place}/c";
    uwsgi_temp_path "{place}/d"; scgi_temp_path "{place}/e";
    {upstream}
    server {{ listen 127.0.0.1:{port}; {server} }}
}}"#
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, text)?;
        let child = pinned(core, "nginx").arg("-p").arg(folder).arg("-e").arg("stderr").arg("-c").arg(&file).spawn()?;
        let nginx = Self { process: Running(child), port };
        super::gateway::until_taken(port)?;
        Ok(nginx)
    }
}

/// A program on one core.
pub(super) fn pinned(core: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}

fn folder(name: &str) -> Outcome<PathBuf> {
    let folder = target().join("devkit/bench").join(name);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn json_of(size: usize) -> String {
    const AROUND: usize = r#"{"value":""}"#.len();
    format!(r#"{{"value":"{}"}}"#, "x".repeat(size - AROUND))
}

/// What wrk says of one round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) calls: u64,
    /// Calls per second.
    pub(super) rate: f64,
    /// The 99th percentile in microseconds.
    pub(super) p99: f64,
}

/// Asks an address for some seconds over so many connections.
///
/// # Errors
/// wrk does not run, or an answer was not 200.
pub(super) fn ask(url: &str, headers: &[(&str, &str)], connections: u32, seconds: u32) -> Outcome<Asked> {
    let mut wrk = pinned(OTHERS, "wrk");
    wrk.args(["-t1", "--latency", "-c", &connections.to_string(), "-d", &format!("{seconds}s")]);
    for (name, value) in headers {
        wrk.arg("-H").arg(format!("{name}: {value}"));
    }
    let output = wrk.arg(url).stderr(Stdio::inherit()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || said.contains("Non-2xx") || said.contains("Socket errors") {
        return Err(format!("the load on {url} did not go well:\n{said}").into());
    }
    read(&said).ok_or_else(|| format!("wrk says something else than it used to:\n{said}").into())
}

fn read(said: &str) -> Option<Asked> {
    let after = |mark: &str| said.split_once(mark)?.1.split_whitespace().next();
    let before = |mark: &str| said.split_once(mark)?.0.split_whitespace().next_back();
    Some(Asked {
        calls: before(" requests in ")?.parse().ok()?,
        rate: after("Requests/sec:")?.parse().ok()?,
        p99: microseconds(said.lines().find_map(|line| line.trim_start().strip_prefix("99%"))?.trim())?,
    })
}

/// A time as wrk writes it: `871.00us`, `1.17ms`, `2.00s`.
fn microseconds(text: &str) -> Option<f64> {
    let unit = text.find(|char: char| char.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit);
    let factor = match unit {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says_is_read() {
        let said = "Running 2s test @ http://127.0.0.1:1/\n  1 threads and 16 connections\n  Thread Stats   Avg\n    \
                    Latency   607.11us    1.20ms  20.00ms   61.99%\n  Latency Distribution\n     50%  545.00us\n     99%    1.17ms\n  \
                    57041 requests in 2.00s, 45.00MB read\nRequests/sec:  28514.03\nTransfer/sec:     22.49MB\n";
        let asked = read(said).expect("it is as wrk writes it");
        assert_eq!((asked.calls, asked.rate, asked.p99), (57_041, 28_514.03, 1_170.0));
        assert!(read("unable to connect").is_none());
    }

    #[test]
    fn the_answers_have_their_sizes() {
        assert_eq!((json_of(SMALL).len(), json_of(LARGE).len()), (600, 65_536));
    }
}
