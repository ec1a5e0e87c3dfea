//! `devkit host …`: the stand-in as a program.

use std::io;
use std::time::Duration;

use super::{CodeLookup, Host, Mode, Options};
use crate::os::Stop;

const DEFAULT_PORT: u16 = 7071;

const USAGE: &str = "\
usage: devkit host [--root DIR] [--port N] [--address A] [--mode forward|proxy|payload] [--functions NAME…]
                   [--enable-auth --key KEY] [--simulate-code-lookup[=MS|=fail]] [--platform-sigterm SECONDS]
                   [--front-end azure] [--cold-start MS] [--max-outstanding N]";

/// Runs the host until SIGINT, SIGTERM or its own end, and prints what it and the handler say.
///
/// `args` are those after the word `host`. Returns the exit code: 0 after a signal, 1 when the host could not start or
/// shut down by itself, 2 for arguments that it does not know.
pub async fn run(args: impl IntoIterator<Item = String>) -> u8 {
    let options = match parse(args) {
        Ok(options) => options,
        Err(reason) => {
            eprintln!("{reason}\n{USAGE}");
            return 2;
        }
    };
    serve(options).await.unwrap_or_else(|error| {
        eprintln!("{error}");
        1
    })
}

async fn serve(options: Options) -> io::Result<u8> {
    let mut stop = Stop::listen()?;
    let host = Host::start(options).await?;
    tokio::select! {
        () = stop.received() => {}
        () = host.wait_shut_down() => return Ok(1),
    }
    host.stop().await;
    Ok(0)
}

fn parse(args: impl IntoIterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { port: DEFAULT_PORT, inherit_env: true, print: true, ..Options::new(".") };
    let mut args = args.into_iter().peekable();
    let (mut auth, mut key) = (false, None);
    while let Some(flag) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--root" => options.root = value()?.into(),
            "--port" => options.port = number(&value()?)?,
            "--address" => options.address = Some(number(&value()?)?),
            "--mode" => options.mode = Some(mode(&value()?)?),
            "--functions" => {
                let names = options.functions.get_or_insert_default();
                while let Some(name) = args.next_if(|next| !next.starts_with("--")) {
                    names.push(name);
                }
            }
            "--enable-auth" => auth = true,
            "--key" => key = Some(value()?),
            "--platform-sigterm" => options.platform_sigterm = Some(Duration::from_secs(number(&value()?)?)),
            "--front-end" => options.front_end_azure = value()? == "azure",
            "--cold-start" => options.cold_start = Some(Duration::from_millis(number(&value()?)?)),
            "--max-outstanding" => options.max_outstanding = Some(number(&value()?)?),
            other => options.code_lookup = Some(code_lookup(other)?),
        }
    }
    if auth && key.is_none() {
        return Err("--enable-auth needs --key".to_owned());
    }
    options.key = key.filter(|_| auth);
    Ok(options)
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("'{text}' is not valid"))
}

fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "forward" => Ok(Mode::Forward),
        "proxy" => Ok(Mode::Proxy),
        "payload" => Ok(Mode::Payload),
        _ => Err(format!("the mode '{text}' is not supported")),
    }
}

fn code_lookup(flag: &str) -> Result<CodeLookup, String> {
    match flag.strip_prefix("--simulate-code-lookup") {
        Some("") => Ok(CodeLookup::Delay(Duration::from_millis(500))),
        Some("=fail") => Ok(CodeLookup::Fail),
        Some(delay) if delay.starts_with('=') => {
            Ok(CodeLookup::Delay(Duration::from_millis(number(delay.trim_start_matches('='))?)))
        }
        _ => Err(format!("unknown argument {flag}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn every_flag_is_read() {
        let options = parsed("").unwrap();
        assert_eq!((options.root.to_str(), options.port, options.mode), (Some("."), 7071, None));
        assert!(options.inherit_env && options.print && options.functions.is_none());
        let options = parsed(
            "--root /app --port 0 --address ::1 --functions a b --mode proxy --enable-auth --key K \
             --simulate-code-lookup=20 --platform-sigterm 8 --front-end azure --cold-start 5 --max-outstanding 3",
        )
        .unwrap();
        assert_eq!((options.root.to_str(), options.address), (Some("/app"), "::1".parse().ok()));
        assert_eq!(options.functions.unwrap(), ["a", "b"]);
        assert_eq!((options.mode, options.key.as_deref()), (Some(Mode::Proxy), Some("K")));
        assert_eq!(options.code_lookup, Some(CodeLookup::Delay(Duration::from_millis(20))));
        assert_eq!(options.platform_sigterm, Some(Duration::from_secs(8)));
        assert_eq!(options.cold_start, Some(Duration::from_millis(5)));
        assert_eq!((options.port, options.max_outstanding, options.front_end_azure), (0, Some(3), true));
        assert_eq!(parsed("--mode payload").unwrap().mode, Some(Mode::Payload));
        assert_eq!(parsed("--simulate-code-lookup=fail").unwrap().code_lookup, Some(CodeLookup::Fail));
    }

    #[test]
    fn invalid_flags_are_rejected() {
        for line in ["--mode both", "--port x", "--root", "--enable-auth", "what", "--simulate-code-lookups"] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[tokio::test]
    async fn failures_have_exit_codes() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().to_str().unwrap().to_owned();
        assert_eq!(run(["--port".to_owned(), "x".to_owned()]).await, 2);
        assert_eq!(run(["--root".to_owned(), path]).await, 1);
    }
}
