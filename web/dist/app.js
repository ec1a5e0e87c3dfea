import { CloakroomError, fetch, problem, refresh, session, signIn, signOut, takeAuthError } from '/cloakroom.js';
import { CALL, SIGN_IN } from '/messages.js';

const main = document.querySelector('main');
const at = (id) => document.getElementById(id);

/** The session as last told, and the moments (in ms) at which it ends. */
let known = null;
let ends = null;

start();

async function start() {
  onClick('sign-in', () => signIn({ url: known?.links.login }));
  onClick('sign-out', leave);
  onClick('renew', renew);
  onClick('retry', load);
  onClick('call-graph', callGraph);
  setInterval(showTimes, 1000);
  showPockets();
  // Another tab may have signed in or out; and Back must not show a page from before the sign-out.
  document.addEventListener('visibilitychange', () => { if (!document.hidden) look(); });
  window.addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });

  const failed = takeAuthError();
  await load();
  if (failed !== null && main.dataset.state !== 'error') {
    // The code comes from the address, where anybody may have written it.
    const code = Object.hasOwn(SIGN_IN, failed) ? failed : 'login_failed';
    showError({ code, text: SIGN_IN[code] });
  }
}

/** Asks who is signed in, and shows whatever comes of it. */
async function load() {
  clearError();
  say('Asking the gateway who you are…');
  try {
    show(await session());
    say(known.authenticated ? '' : 'You are not signed in.');
  } catch (error) {
    enter('error');
    say('');
    showError(described(error));
  }
}

/** The same in passing: a failure is no news then. */
async function look() {
  try {
    show(await session());
  } catch (error) {
    if (!(error instanceof CloakroomError)) throw error;
  }
}

async function leave() {
  say('Signing out…');
  await orExplain(signOut, leave);
}

async function renew() {
  clearError();
  await orExplain(async () => {
    const stays = await refresh();
    await look();
    say(stays ? 'Your session goes on.' : '');
    if (!stays) showError(described(new CloakroomError('session_expired')));
  }, renew);
}

async function callGraph() {
  clearError();
  at('graph-answer').hidden = true;
  say('Calling Microsoft Graph…');
  await orExplain(async () => {
    const begun = performance.now();
    const answer = await fetch('/graph/me', { headers: { Accept: 'application/json' } });
    const refusal = await problem(answer);
    if (refusal) throw refusal;
    await showAnswer(answer, begun);
    await look();
  }, callGraph);
}

/** Runs `action`; what the gateway has against it is shown, with a way on. */
async function orExplain(action, again) {
  try {
    await action();
  } catch (error) {
    say('');
    if (error.status === 401) await look();
    showError(described(error, again));
    if (!known?.authenticated) at('sign-in').focus();
  }
}

/** @returns {{code: string, text: string, trace?: string, offer?: string, action?: () => void}} */
function described(error, again) {
  if (!(error instanceof CloakroomError)) throw error;
  const { code, status, retryAfter, loginUrl, traceId } = error;
  const parts = [Object.hasOwn(CALL, code) ? CALL[code] : CALL.unexpected];
  if (code === 'unexpected' && status) parts.push(`Its status was ${status}.`);
  if (retryAfter) parts.push(`Please try again in ${retryAfter === 1 ? 'a second' : `${retryAfter} seconds`}.`);
  const shown = { code, text: parts.join(' '), trace: traceId };
  if (loginUrl && known?.authenticated) {
    const offers = { consent_required: 'Give consent', step_up_required: 'Prove it' };
    return { ...shown, offer: offers[code] ?? 'Sign in again', action: () => signIn({ url: loginUrl }) };
  }
  const passing = code === 'network' || code === 'unexpected' || status >= 500;
  return passing && again ? { ...shown, offer: 'Try again', action: again } : shown;
}

function enter(state) {
  main.dataset.state = state;
  main.removeAttribute('aria-busy');
  showPockets();
}

function show(told) {
  if (main.dataset.state === 'error') clearError();
  known = told;
  const { user, session: life } = told;
  ends = life ? { whole: Date.now() + life.expires_in * 1000, idle: Date.now() + life.idle_expires_in * 1000 } : null;
  if (told.authenticated) {
    const name = user.name ?? user.preferred_username ?? user.email ?? user.sub;
    at('user-name').textContent = name;
    at('user-username').textContent = user.preferred_username ?? user.email ?? user.sub;
    document.title = `${name} · Cloakroom`;
  } else {
    // What was shown to one person is not left for the next.
    for (const id of ['user-name', 'user-username', 'graph-result']) at(id).replaceChildren();
    at('graph-answer').hidden = true;
    document.title = 'Cloakroom';
  }
  at('renew').hidden = !told.links.refresh;
  main.querySelector('.number').textContent = told.authenticated ? numberFor(user.sub) : '······';
  showTimes();
  enter(told.authenticated ? 'signed-in' : 'anonymous');
}

function showTimes() {
  if (!ends) return;
  const [whole, idle] = [ends.whole, ends.idle].map((end) => Math.ceil((end - Date.now()) / 1000));
  setText('session-expires', duration(whole));
  setText('session-idle', duration(Math.min(whole, idle)));
  if (whole <= 0 || idle <= 0) {
    ends = null;
    look().then(() => { if (!known.authenticated) say('Your session has ended.'); });
  }
}

async function showAnswer(answer, begun) {
  const text = await answer.text();
  const took = Math.round(performance.now() - begun);
  const status = at('graph-status');
  status.textContent = `${answer.status} ${answer.statusText}`.trim();
  status.dataset.ok = String(answer.ok);
  at('graph-time').textContent = `${took} ms`;
  at('graph-result').replaceChildren(...pretty(text));
  at('graph-answer').hidden = false;
  say(`Microsoft Graph answered ${answer.status} after ${took} milliseconds.`);
}

/** Text nodes and spans; never markup, whatever the data holds. */
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

/** Turns this page's own pockets out, as a hostile script would. */
function showPockets() {
  at('document-cookie').textContent = document.cookie === '' ? "''" : document.cookie;
  setText('local-storage', entries(() => localStorage));
  setText('session-storage', entries(() => sessionStorage));
  at('steal-verdict').textContent = document.cookie === ''
    ? 'Nothing to carry away: the ticket is HttpOnly, and the tokens never came here.'
    : 'These cookies come from something else on this host. The ticket is HttpOnly, so it is not among them.';
}

function entries(storage) {
  try {
    const { length } = storage();
    return length === 1 ? '1 entry' : `${length} entries`;
  } catch {
    return 'blocked';
  }
}

/** Six digits that stay the same for one person. Decoration: they open nothing. */
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

function showError({ code, text, trace, offer, action }) {
  const said = document.createElement('p');
  said.textContent = text;
  const fine = document.createElement('p');
  fine.className = 'fine';
  fine.textContent = trace ? `${code} · trace ${trace}` : code;
  const words = document.createElement('div');
  words.append(said, fine);
  at('error').replaceChildren(words);
  at('error').dataset.code = code;
  if (!action) return;
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = offer;
  button.addEventListener('click', action);
  at('error').append(button);
}

function clearError() {
  at('error').replaceChildren();
  delete at('error').dataset.code;
}

function say(text) {
  setText('status', text);
}

/** Leaves equal text alone, so that nothing is announced twice. */
function setText(id, text) {
  if (at(id).textContent !== text) at(id).textContent = text;
}

/** A button stays focusable while it works, and does not work twice at once. */
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
