import { CloakroomError, fetch, problem, refresh, session, signIn, signOut, takeAuthError } from '/cloakroom.js';
import { callError, signInError } from '/messages.js';
import { endOtherSessions, endSessionById, listSessions, sessionItem } from '/sessions.js';

const main = document.querySelector('main');
const at = (id) => document.getElementById(id);

/** The last loaded session, and the times (in ms) at which it ends. */
let current = null;
let ends = null;

// A page that is prerendered and never shown must not load the session.
if (document.prerendering) {
  document.addEventListener('prerenderingchange', start, { once: true });
} else {
  start();
}

async function start() {
  onClick('sign-in', () => signIn({ url: current?.links.login }));
  onClick('sign-out', endSession);
  onClick('renew', extendSession);
  onClick('retry', load);
  onClick('call-graph', callGraph);
  onClick('end-others', endOthers);
  setInterval(showTimes, 1000);
  showWhatScriptsSee();
  // Another tab may have signed in or out; and Back must not show a page from before the sign-out.
  document.addEventListener('visibilitychange', () => { if (!document.hidden) update(); });
  window.addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });

  const failed = takeAuthError();
  await load();
  if (failed !== null && main.dataset.state !== 'error') {
    showError(signInError(failed));
  }
}

/** Loads the session and shows it, or the error. */
async function load() {
  clearError();
  setStatus('Loading the session…');
  try {
    show(await session());
    setStatus(current.authenticated ? '' : 'You are not signed in.');
    await showSessions();
  } catch (error) {
    enter('error');
    setStatus('');
    showError(described(error));
  }
}

/** The same in the background: errors are not shown. */
async function update() {
  try {
    show(await session());
    await showSessions();
  } catch (error) {
    if (!(error instanceof CloakroomError)) throw error;
  }
}

async function endSession() {
  setStatus('Signing out…');
  await orExplain(signOut, endSession);
}

async function extendSession() {
  clearError();
  await orExplain(async () => {
    const extended = await refresh();
    await update();
    setStatus(extended ? 'Your session was extended.' : '');
    if (!extended) showError(described(new CloakroomError('session_expired')));
  }, extendSession);
}

/** Shows the user's sessions, where the gateway lists them. The rest of the page works without. */
async function showSessions() {
  const url = current.links.sessions;
  at('sessions').hidden = !url;
  let sessions = [];
  let failed = false;
  try {
    if (url) sessions = await listSessions(url);
  } catch (error) {
    if (!(error instanceof CloakroomError)) throw error;
    failed = true;
  }
  const item = (one) => sessionItem(one, (name) => endOne(one.id, name));
  at('session-list').replaceChildren(...sessions.map(item));
  at('sessions-problem').hidden = !failed;
  at('end-others').hidden = sessions.length < 2;
}

async function endOne(id, name) {
  await endThen(async () => {
    await endSessionById(current.links.sessions, id);
    return `The session was ended: ${name}.`;
  }, () => endOne(id, name));
}

async function endOthers() {
  await endThen(async () => {
    const ended = await endOtherSessions(current.links.sessions);
    return ended === 1 ? 'One session was ended.' : `${ended} sessions were ended.`;
  }, endOthers);
}

/** Runs an action that ends sessions and returns what to announce. */
async function endThen(action, retry) {
  clearError();
  setStatus('Ending…');
  await orExplain(async () => {
    const done = await action();
    await showSessions();
    setStatus(done);
    // The button that had the focus is gone.
    at('sessions-title').focus();
  }, retry);
}

async function callGraph() {
  clearError();
  at('graph-response').hidden = true;
  setStatus('Calling Microsoft Graph…');
  await orExplain(async () => {
    const begun = performance.now();
    const response = await fetch('/graph/me', { headers: { Accept: 'application/json' } });
    const error = await problem(response);
    if (error) throw error;
    await showResponse(response, begun);
    await update();
  }, callGraph);
}

/** Runs `action`; shows its error, with a button that helps. */
async function orExplain(action, retry) {
  try {
    await action();
  } catch (error) {
    setStatus('');
    if (error.status === 401) await update();
    showError(described(error, retry));
    if (!current?.authenticated) at('sign-in').focus();
  }
}

/** @returns {{code: string, text: string, trace?: string, button?: string, action?: () => void}} */
function described(error, retry) {
  if (!(error instanceof CloakroomError)) throw error;
  const { code, status, retryAfter, loginUrl, traceId } = error;
  const parts = [callError(code)];
  if (code === 'unexpected' && status) parts.push(`The status is ${status}.`);
  if (retryAfter) parts.push(`Please try again in ${retryAfter === 1 ? 'a second' : `${retryAfter} seconds`}.`);
  const shown = { code, text: parts.join(' '), trace: traceId };
  if (loginUrl && current?.authenticated) {
    const buttons = { consent_required: 'Give consent', step_up_required: 'Confirm identity' };
    return { ...shown, button: buttons[code] ?? 'Sign in again', action: () => signIn({ url: loginUrl }) };
  }
  const transient = code === 'network' || code === 'unexpected' || status >= 500;
  return transient && retry ? { ...shown, button: 'Try again', action: retry } : shown;
}

function enter(state) {
  main.dataset.state = state;
  main.removeAttribute('aria-busy');
  showWhatScriptsSee();
}

function show(state) {
  if (main.dataset.state === 'error') clearError();
  current = state;
  const { user, session: life } = state;
  ends = life ? { whole: Date.now() + life.expires_in * 1000, idle: Date.now() + life.idle_expires_in * 1000 } : null;
  if (state.authenticated) {
    const name = user.name ?? user.preferred_username ?? user.email ?? user.sub;
    at('user-name').textContent = name;
    at('user-username').textContent = user.preferred_username ?? user.email ?? user.sub;
    document.title = `${name} · Cloakroom`;
  } else {
    // Data of one user is not left in the page for the next.
    for (const id of ['user-name', 'user-username', 'graph-result', 'session-list']) at(id).replaceChildren();
    at('graph-response').hidden = true;
    document.title = 'Cloakroom';
  }
  at('renew').hidden = !state.links.refresh;
  main.querySelector('.number').textContent = state.authenticated ? numberFor(user.sub) : '······';
  showTimes();
  enter(state.authenticated ? 'signed-in' : 'anonymous');
}

function showTimes() {
  if (!ends) return;
  const [whole, idle] = [ends.whole, ends.idle].map((end) => Math.ceil((end - Date.now()) / 1000));
  setText('session-expires', duration(whole));
  setText('session-idle', duration(Math.min(whole, idle)));
  if (whole <= 0 || idle <= 0) {
    ends = null;
    update().then(() => { if (!current.authenticated) setStatus('Your session has ended.'); });
  }
}

async function showResponse(response, begun) {
  const text = await response.text();
  const took = Math.round(performance.now() - begun);
  const status = at('graph-status');
  status.textContent = `${response.status} ${response.statusText}`.trim();
  status.dataset.ok = String(response.ok);
  at('graph-time').textContent = `${took} ms`;
  at('graph-result').replaceChildren(...pretty(text));
  at('graph-response').hidden = false;
  setStatus(`Microsoft Graph responded with ${response.status} after ${took} milliseconds.`);
}

/** JSON as text nodes and spans; data never becomes markup. */
function pretty(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return [text || '(empty)'];
  }
  const json = JSON.stringify(value, null, 2);
  const tokens = json.matchAll(/("(?:[^"\\]|\\.)*")(:?)|(-?\d[\d.eE+-]*|true|false|null)|[^"\d\w-]+/g);
  return Array.from(tokens, ([whole, string, colon, literal]) => {
    if (!string && !literal) return whole;
    const span = document.createElement('span');
    span.className = colon ? 'key' : string ? 'string' : 'literal';
    span.textContent = whole;
    return span;
  });
}

/** Shows what any script in this page can read. */
function showWhatScriptsSee() {
  at('document-cookie').textContent = document.cookie === '' ? "''" : document.cookie;
  setText('local-storage', entries(() => localStorage));
  setText('session-storage', entries(() => sessionStorage));
  at('steal-verdict').textContent = document.cookie === ''
    ? 'Nothing to steal: the session cookie is HttpOnly, and the tokens never reach the browser.'
    : 'These cookies belong to something else on this host. The session cookie is HttpOnly, so no script sees it.';
}

function entries(storage) {
  try {
    const { length } = storage();
    return length === 1 ? '1 entry' : `${length} entries`;
  } catch {
    return 'blocked';
  }
}

/** Six digits that are always the same for one user. Decoration only. */
function numberFor(sub) {
  let hash = 0x811c9dc5;
  for (const char of sub) hash = Math.imul(hash ^ char.codePointAt(0), 0x01000193) >>> 0;
  return String(hash % 1_000_000).padStart(6, '0');
}

function duration(seconds) {
  if (seconds < 60) return `${Math.max(seconds, 0)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function showError({ code, text, trace, button: label, action }) {
  const message = document.createElement('p');
  message.textContent = text;
  const details = document.createElement('p');
  details.className = 'fine';
  details.textContent = trace ? `${code} · trace ${trace}` : code;
  const box = document.createElement('div');
  box.append(message, details);
  at('error').replaceChildren(box);
  at('error').dataset.code = code;
  if (!action) return;
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = label;
  button.addEventListener('click', action);
  at('error').append(button);
}

function clearError() {
  at('error').replaceChildren();
  delete at('error').dataset.code;
}

function setStatus(text) {
  setText('status', text);
}

/** Does not touch equal text, so that screen readers do not announce it twice. */
function setText(id, text) {
  if (at(id).textContent !== text) at(id).textContent = text;
}

/** The button stays focusable while the action runs, and does not start a second one. */
function onClick(id, action) {
  const button = at(id);
  button.addEventListener('click', async () => {
    if (button.ariaDisabled === 'true') return;
    button.ariaDisabled = 'true';
    try {
      await action();
    } finally {
      button.ariaDisabled = null;
    }
  });
}
