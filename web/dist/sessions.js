// The user's sessions on the sample page: calls to the gateway, and the items of the list. Only a gateway with a session
// store has them; its session then has `links.sessions`.

import { fetch, problem } from '/cloakroom.js';

/**
 * @typedef {object} OwnSession
 * @property {string} id
 * @property {boolean} current whether it is the session of this browser
 * @property {number} signed_in_at in seconds since 1970, like the other times
 * @property {number} last_active_at
 * @property {number} expires_at
 * @property {string} user_agent that of the sign-in; may be empty
 */

/**
 * @param {string} url `links.sessions`
 * @returns {Promise<OwnSession[]>} newest first
 * @throws {import('/cloakroom.js').CloakroomError}
 */
export async function listSessions(url) {
  const response = await call(url);
  return (await response.json()).sessions;
}

/**
 * Ends one of the user's sessions. One that has ended already is no error.
 *
 * @param {string} url `links.sessions`
 * @param {string} id
 */
export async function endSessionById(url, id) {
  await call(`${url}/${id}`, { method: 'DELETE' }, 'route_denied');
}

/**
 * Ends all sessions of the user but the one of this browser.
 *
 * @param {string} url `links.sessions`
 * @returns {Promise<number>} how many ended
 */
export async function endOtherSessions(url) {
  const response = await call(url, { method: 'DELETE' });
  return (await response.json()).ended;
}

/**
 * An item of the list. What the browser called itself is text and never becomes markup.
 *
 * @param {OwnSession} session
 * @param {(name: string) => void} onEnd ends it; gets its name
 */
export function sessionItem(session, onEnd) {
  const name = browserName(session.user_agent);
  const title = element('p', 'session-name', session.current ? `${name} (this browser)` : name);
  const texts = element('div');
  texts.append(title, fact('Signed in', session.signed_in_at), fact('Last active', session.last_active_at));
  const item = element('li');
  item.append(texts);
  if (session.current) {
    item.dataset.current = '';
  } else {
    const button = element('button', 'quiet', 'End');
    button.type = 'button';
    button.setAttribute('aria-label', `End the session: ${name}, signed in ${local(session.signed_in_at)}`);
    button.addEventListener('click', () => onEnd(name));
    item.append(button);
  }
  return item;
}

async function call(url, init, expected) {
  const response = await fetch(url, init);
  const error = await problem(response);
  if (error && error.code !== expected) throw error;
  return response;
}

/** The usual name of a browser and its system, for example `Firefox on Linux`. */
function browserName(userAgent) {
  const first = (names) => names.find(([pattern]) => pattern.test(userAgent))?.[1];
  // Browsers name those that they are compatible with, too, so that the order matters.
  const browser = first([
    [/\bEdg(e|A|iOS)?\//, 'Edge'],
    [/\bOPR\//, 'Opera'],
    [/\b(Firefox|FxiOS)\//, 'Firefox'],
    [/\b(Chrome|CriOS|HeadlessChrome)\//, 'Chrome'],
    [/\bSafari\//, 'Safari'],
  ]);
  const system = first([
    [/\bAndroid\b/, 'Android'],
    [/\b(iPhone|iPad)\b/, 'iOS'],
    [/\bWindows\b/, 'Windows'],
    [/\bMac OS X\b/, 'macOS'],
    [/\bCrOS\b/, 'ChromeOS'],
    [/\bLinux\b/, 'Linux'],
  ]);
  if (browser && system) return `${browser} on ${system}`;
  return browser ?? (userAgent || 'Unknown browser');
}

function fact(name, seconds) {
  const time = element('time', '', local(seconds));
  time.dateTime = new Date(seconds * 1000).toISOString();
  const line = element('p', 'fine', `${name} `);
  line.append(time);
  return line;
}

function local(seconds) {
  return new Date(seconds * 1000).toLocaleString('en', { dateStyle: 'medium', timeStyle: 'short' });
}

function element(name, className = '', text = '') {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}
