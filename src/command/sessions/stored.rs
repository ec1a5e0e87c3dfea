//! The same with a store: sessions end at once. The revocation list is written as well, for sessions that the store
//! does not list: those that were not moved into it yet, and sign-ins in progress.

use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;
use tracing::Level;

use super::{add_revocations, rfc3339, runtime};
use crate::app::App;
use crate::auth::sessions::describe;
use crate::clock;
use crate::command::{UNAVAILABLE, eprint, invalid_configuration};
use crate::config::{Config, Keys, Vars};
use crate::keyring::SourceUnavailable;
use crate::keyring::revocations::Target;
use crate::oidc::provider::Unavailable;
use crate::session::companion::{SessionHash, hash_to_text};
use crate::session::store::{IndexError, ListedSession, Whose};
use crate::telemetry::{self, print};

const WITHOUT_LIST: &str = "warning: with CLOAKROOM_ENC_KEY there is no revocation list, so that a session which is not \
                            in the store yet, or whose sign-in is in progress, was not ended";
const WITHOUT_ISSUER: &str = "the provider's metadata cannot be loaded, for the reason in the line above, and without \
                              its issuer a user's sessions are not found in the session store";

/// What a command prints: its result, and what was not done.
#[derive(Debug)]
struct Report {
    result: Option<String>,
    problems: Vec<String>,
}

/// The settings are those of the app, all of them: sessions are sealed for its keys, client and provider.
struct Gateway {
    app: Arc<App>,
    keys: Keys,
}

pub(super) fn list(user: &str, as_json: bool, vars: &Vars) -> ExitCode {
    run(vars, async |gateway| {
        let listed = gateway.list(user).await;
        let text = |listed: Vec<ListedSession>| if as_json { as_object(&listed) } else { as_lines(&listed, user) };
        listed.map(text).into()
    })
}

pub(super) fn end_one(session: SessionHash, vars: &Vars) -> ExitCode {
    run(vars, async |gateway| {
        let ended = gateway.end_all(&[Whose::One(session)]).await;
        let known = ended.and_then(|ended| match ended {
            0 => Err(format!("there is no session {}", hash_to_text(&session))),
            ended => Ok(counted(ended)),
        });
        known.into()
    })
}

pub(super) fn end(target: &Target, vars: &Vars) -> ExitCode {
    run(vars, async |gateway| {
        // One does not depend on the other: what can be ended is ended.
        let (revoked, ended) = (gateway.revoke(target).await, gateway.end(target).await);
        let note = match (revoked, &ended) {
            (Err(problem), _) => Some(problem),
            // Otherwise the sessions have ended, whatever the list says.
            (Ok(written), Err(_)) => written,
            (Ok(_), Ok(_)) => None,
        };
        let Report { result, mut problems } = ended.map(counted).into();
        problems.extend(note);
        Report { result, problems }
    })
}

/// Runs a command and prints its report.
fn run(vars: &Vars, command: impl AsyncFnOnce(&Gateway) -> Report) -> ExitCode {
    let config = match Config::for_command(vars) {
        Ok(config) => config,
        Err(errors) => return invalid_configuration(&errors),
    };
    // Key source, provider and store log the reason of a failure.
    let log =
        telemetry::start(telemetry::Config { level: Level::WARN, json: Some(false), user: telemetry::LogUser::None });
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let report = runtime.block_on(async {
        let keys = config.keys.clone();
        let gateway = Gateway { app: App::new(config), keys };
        gateway.app.ring.refresh(clock::now()).await;
        command(&gateway).await
    });
    // The reasons come before the report.
    drop(log);
    report.print()
}

impl Gateway {
    /// What names the sessions of a user, by `sub` and by `oid`.
    async fn sessions_of(&self, user: &str) -> Result<[Whose; 2], String> {
        let metadata = self.app.provider.metadata().await.map_err(|Unavailable| WITHOUT_ISSUER.to_owned())?;
        let issuer = || metadata.issuer.clone();
        let subject = Whose::Subject { issuer: issuer(), sub: user.to_owned() };
        Ok([subject, Whose::ObjectId { issuer: issuer(), oid: user.to_owned() }])
    }

    async fn list(&self, user: &str) -> Result<Vec<ListedSession>, String> {
        let of_user = self.sessions_of(user).await?;
        self.app.sessions.list(&of_user, clock::now()).await.map_err(|error| problem(error).to_owned())
    }

    async fn end(&self, target: &Target) -> Result<usize, String> {
        match target {
            Target::All => self.end_all(&[Whose::Everyone]).await,
            Target::User(user) => self.end_all(&self.sessions_of(user).await?).await,
        }
    }

    /// Ends sessions in the store. Returns how many there were.
    async fn end_all(&self, all: &[Whose]) -> Result<usize, String> {
        let mut ended = 0;
        for whose in all {
            let outcome = self.app.sessions.end_all(whose, clock::now()).await;
            ended += outcome.map_err(|error| {
                format!("{}; some sessions may have ended, so run the command again", problem(error))
            })?;
        }
        Ok(ended)
    }

    /// Writes the revocation list. Returns what that means for sessions that are not in the store; a static key has no
    /// list.
    async fn revoke(&self, target: &Target) -> Result<Option<String>, String> {
        if !self.keys.source.has_revocations() {
            eprint(WITHOUT_LIST);
            return Ok(None);
        }
        let now = clock::now();
        let written = add_revocations(&self.keys, target, now).await;
        written.map_err(|SourceUnavailable(problem)| format!("the revocation list was not written: {problem}"))?;
        let everywhere = rfc3339(clock::now().saturating_add(self.keys.refresh.as_secs()));
        let began = rfc3339(now);
        Ok(Some(format!(
            "the revocation list was written: no instance accepts those that began before {began} from {everywhere} on"
        )))
    }
}

impl Report {
    fn print(self) -> ExitCode {
        self.result.iter().for_each(|result| print(result));
        self.problems.iter().for_each(|problem| eprint(problem));
        if self.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(UNAVAILABLE) }
    }
}

impl From<Result<String, String>> for Report {
    fn from(outcome: Result<String, String>) -> Self {
        match outcome {
            Ok(result) => Self { result: Some(result), problems: Vec::new() },
            Err(problem) => Self { result: None, problems: vec![problem] },
        }
    }
}

fn problem(error: IndexError) -> &'static str {
    match error {
        IndexError::KeysUnavailable => "the keys cannot be read, for the reason in the line above",
        IndexError::StoreUnavailable => "the session store does not respond, for the reason in the line above",
        IndexError::Unsupported => "this store does not know which sessions there are",
    }
}

fn counted(ended: usize) -> String {
    format!("{ended} ended")
}

fn as_object(listed: &[ListedSession]) -> String {
    json!({"sessions": listed.iter().map(describe).collect::<Vec<_>>()}).to_string()
}

fn as_lines(listed: &[ListedSession], user: &str) -> String {
    if listed.is_empty() {
        return format!("{user} has no session");
    }
    let line = |session: &ListedSession| {
        format!(
            "{}  signed in {}  last active {}  expires {}  {}",
            hash_to_text(&session.hash),
            rfc3339(session.signed_in_at),
            rfc3339(session.active_at),
            rfc3339(session.expires_at),
            session.user_agent.as_str()
        )
    };
    listed.iter().map(line).collect::<Vec<_>>().join("\n")
}
