//! The other programs of the load benchmark: nginx as the API and as a plain proxy, and wrk as the client.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::stack::free_port;
use super::super::{Result, target};
use super::gateway::Running;

/// The core of the measured process, and that of client and API.
pub(super) const MEASURED: &str = "0";
pub(super) const OTHERS: &str = "1";
/// Bytes of the two responses.
const SMALL: usize = 600;
const LARGE: usize = 64 * 1_024;

/// An nginx with one worker.
pub(super) struct Nginx {
    pub(super) process: Running,
    pub(super) port: u16,
}

impl Nginx {
    /// The API: two files, for requests with a bearer token. Head and body of a response are two segments.
    pub(super) fn api() -> Result<Self> {
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

    /// A plain proxy to the API that adds a fixed token and removes the cookie.
    pub(super) fn proxy(api: u16, token: &str) -> Result<Self> {
        let upstream = format!(
            "upstream api {{ server 127.0.0.1:{api}; keepalive 64; keepalive_requests 1000000000; keepalive_timeout 3600s; }}"
        );
        let server = format!(
            r#"location /graph/ {{ proxy_pass http://api/v1.0/; proxy_http_version 1.1; proxy_set_header Connection "";
               proxy_set_header Cookie ""; proxy_set_header Authorization "Bearer {token}"; }}"#
        );
        Self::start(&folder("proxy")?, MEASURED, &upstream, &server)
    }

    fn start(folder: &Path, core: &str, upstream: &str, server: &str) -> Result<Self> {
        let port = free_port()?;
        let path = folder.display();
        let text = format!(
            r#"daemon off; master_process off; pid "{path}/pid"; error_log stderr error;
events {{ worker_connections 4096; }}
http {{
    access_log off; sendfile on; tcp_nopush off; tcp_nodelay on; default_type application/json;
    keepalive_requests 1000000000; keepalive_timeout 3600s;
    client_body_temp_path "{path}/a"; proxy_temp_path "{path}/b"; fastcgi_temp_path "{path}/c";
    uwsgi_temp_path "{path}/d"; scgi_temp_path "{path}/e";
    {upstream}
    server {{ listen 127.0.0.1:{port}; {server} }}
}}"#
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, text)?;
        let child = pinned(core, "nginx").arg("-p").arg(folder).arg("-e").arg("stderr").arg("-c").arg(&file).spawn()?;
        let mut nginx = Self { process: Running(child), port };
        nginx.process.wait_until_listening(port)?;
        Ok(nginx)
    }
}

/// A program on one core.
pub(super) fn pinned(core: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}

/// Moves all threads of a running process to one core.
///
/// # Errors
/// It has ended.
pub(super) fn move_to(core: &str, process: u32) -> Result<()> {
    let moved = Command::new("taskset").args(["-a", "-c", "-p", core, &process.to_string()]).output()?;
    if moved.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&moved.stderr).into()) }
}

fn folder(name: &str) -> Result<PathBuf> {
    let folder = target().join("devkit/bench").join(name);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn json_of(size: usize) -> String {
    const AROUND: usize = r#"{"value":""}"#.len();
    format!(r#"{{"value":"{}"}}"#, "x".repeat(size - AROUND))
}

/// The result of one run of wrk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) calls: u64,
    /// Calls per second.
    pub(super) rate: f64,
    /// The 99th percentile in microseconds.
    pub(super) p99: f64,
}

/// Sends requests to a URL for some seconds over so many connections.
///
/// # Errors
/// wrk does not run, or a response was not 200.
pub(super) fn load(url: &str, headers: &[(&str, &str)], connections: u32, seconds: u32) -> Result<Load> {
    let mut wrk = pinned(OTHERS, "wrk");
    wrk.args(["-t1", "--latency", "-c", &connections.to_string(), "-d", &format!("{seconds}s")]);
    for (name, value) in headers {
        wrk.arg("-H").arg(format!("{name}: {value}"));
    }
    let output = wrk.arg(url).stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || text.contains("Non-2xx") || text.contains("Socket errors") {
        return Err(format!("the load on {url} failed:\n{text}").into());
    }
    parse(&text).ok_or_else(|| format!("unknown output of wrk:\n{text}").into())
}

fn parse(text: &str) -> Option<Load> {
    let after = |mark: &str| text.split_once(mark)?.1.split_whitespace().next();
    let before = |mark: &str| text.split_once(mark)?.0.split_whitespace().next_back();
    Some(Load {
        calls: before(" requests in ")?.parse().ok()?,
        rate: after("Requests/sec:")?.parse().ok()?,
        p99: microseconds(text.lines().find_map(|line| line.trim_start().strip_prefix("99%"))?.trim())?,
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
    fn the_output_of_wrk_is_parsed() {
        let text = "Running 2s test @ http://127.0.0.1:1/\n  1 threads and 16 connections\n  Thread Stats   Avg\n    \
                    Latency   607.11us    1.20ms  20.00ms   61.99%\n  Latency Distribution\n     50%  545.00us\n     99%    1.17ms\n  \
                    57041 requests in 2.00s, 45.00MB read\nRequests/sec:  28514.03\nTransfer/sec:     22.49MB\n";
        let load = parse(text).unwrap();
        assert_eq!((load.calls, load.rate, load.p99), (57_041, 28_514.03, 1_170.0));
        assert!(parse("unable to connect").is_none());
    }

    #[test]
    fn the_responses_have_their_sizes() {
        assert_eq!((json_of(SMALL).len(), json_of(LARGE).len()), (600, 65_536));
    }
}
