use http::{Response, StatusCode};

use super::directory::{User, users};
use crate::web::{Body, escape, response};

const STYLE: &str = "\
:root{color-scheme:light dark;--ground:#f2f4f7;--card:#fff;--ink:#1b1f24;--soft:#5b6570;--line:#d5dae0;--accent:#0b5cad;--on:#fff}
@media(prefers-color-scheme:dark){:root{--ground:#14171b;--card:#1e2329;--ink:#eceff2;--soft:#a3adb8;--line:#39424c;--accent:#7db8f5;--on:#0c1520}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1rem;background:var(--ground);color:var(--ink);font:1rem/1.5 system-ui,sans-serif}
main{width:100%;max-width:26rem;padding:2rem;background:var(--card);border:1px solid var(--line);border-radius:.75rem}
h1{margin:0 0 .25rem;font-size:1.4rem;line-height:1.3}
p{margin:0 0 1.25rem;color:var(--soft);overflow-wrap:anywhere}
p[role=alert]{color:var(--ink);border-left:.25rem solid #c4314b;padding-left:.75rem}
ul{list-style:none;margin:0 0 1.25rem;padding:0;display:grid;gap:.5rem}
button,input{font:inherit;color:inherit;width:100%;padding:.65rem .8rem;border:1px solid var(--line);border-radius:.5rem;background:transparent}
button{cursor:pointer;text-align:left}
button:hover{border-color:var(--accent)}
button:focus-visible,input:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
button small{display:block;color:var(--soft)}
label{display:block;margin-bottom:.35rem;font-weight:600}
.row{display:grid;grid-template-columns:1fr 1fr;gap:.5rem;margin-top:.75rem}
.row button{text-align:center}
#sign-in,#continue{background:var(--accent);border-color:var(--accent);color:var(--on);font-weight:600}
hr{border:0;border-top:1px solid var(--line);margin:1.25rem 0}
footer{margin-top:1.5rem;font-size:.85rem;color:var(--soft)}";

pub(super) struct SignIn<'a> {
    pub(super) id: &'a str,
    pub(super) action: &'a str,
    pub(super) scope: &'a str,
    pub(super) typed: &'a str,
    pub(super) alert: Option<&'a str>,
}

impl SignIn<'_> {
    pub(super) fn response(&self, status: StatusCode) -> Response<Body> {
        let (action, id) = (escape(self.action), escape(self.id));
        let form = format!(
            "<form method=\"post\" action=\"{action}\"><input type=\"hidden\" name=\"request\" value=\"{id}\">"
        );
        let users: String = users().iter().map(button).collect();
        let alert = self.alert.map_or_else(String::new, |text| format!("<p role=\"alert\">{}</p>", escape(text)));
        let body = format!(
            "<h1>Sign in</h1><p>to <strong>Cloakroom</strong>, which requests {scope}</p>{alert}\
             {form}<ul aria-label=\"Accounts\">{users}</ul></form><hr>\
             {form}<label for=\"username\">Another user name</label>\
             <input id=\"username\" name=\"username\" value=\"{typed}\" autocomplete=\"username\" autocapitalize=\"none\" \
             spellcheck=\"false\" maxlength=\"100\">\
             <div class=\"row\"><button id=\"sign-in\" name=\"action\" value=\"sign-in\">Sign in</button>\
             <button id=\"cancel\" name=\"action\" value=\"cancel\">Cancel</button></div></form>\
             <footer>A stand-in for development: there are no passwords.</footer>",
            scope = escape(self.scope),
            typed = escape(self.typed),
        );
        page(status, "Sign in", &body)
    }
}

fn button(user: &User) -> String {
    let (value, name) = (escape(&user.preferred_username), escape(&user.name));
    format!("<li><button name=\"user\" value=\"{value}\">{name}<small>{value}</small></button></li>")
}

/// The page for errors that are not sent to the client.
pub(super) fn error(status: StatusCode, text: &str) -> Response<Body> {
    let body = format!("<h1>This sign-in cannot continue</h1><p role=\"alert\">{}</p>", escape(text));
    page(status, "Sign-in error", &body)
}

pub(super) fn signed_out() -> Response<Body> {
    page(StatusCode::OK, "Signed out", "<h1>You are signed out</h1><p>You can close this window.</p>")
}

/// The page that frames the sign-outs of the clients, and returns once they have loaded (OpenID Connect Front-Channel
/// Logout).
pub(super) fn signing_out(frames: &[String], location: &str) -> Response<Body> {
    let frames: String = frames.iter().map(|uri| format!("<iframe hidden src=\"{}\"></iframe>", escape(uri))).collect();
    let body = format!(
        "<h1>Signing you out</h1><p>If nothing happens, <a id=\"continue\" href=\"{}\">continue here</a>.</p>{frames}\
         <script>addEventListener('load',()=>document.getElementById('continue').click())</script>",
        escape(location),
    );
    page(StatusCode::OK, "Signing you out", &body)
}

/// The page that posts an authorization response to the client (OAuth 2.0 Form Post Response Mode).
pub(super) fn form_post(uri: &str, fields: &[(String, String)]) -> Response<Body> {
    let hidden = |(name, value): &(String, String)| {
        format!("<input type=\"hidden\" name=\"{}\" value=\"{}\">", escape(name), escape(value))
    };
    let body = format!(
        "<form method=\"post\" action=\"{}\">{}<h1>Signing you in</h1><p>If nothing happens, continue here.</p>\
         <button id=\"continue\">Continue</button></form><script>document.forms[0].submit()</script>",
        escape(uri),
        fields.iter().map(hidden).collect::<String>(),
    );
    page(StatusCode::OK, "Signing you in", &body)
}

fn page(status: StatusCode, title: &str, body: &str) -> Response<Body> {
    response::html(
        status,
        format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>{title}</title>\
             <link rel=\"icon\" href=\"data:,\"><style>{STYLE}</style></head><body><main>{body}</main></body></html>"
        ),
    )
}
