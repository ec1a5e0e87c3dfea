// A client for the Cloakroom gateway on this page's own origin. No dependency, no build step.
//
//   const { authenticated, user } = await session();
//   signIn();                                    // returns to the current address
//   const me = await fetch('/graph/me');         // the gateway adds the token
//   await signOut();

const CSRF_HEADER = 'X-CSRF';
const LONGEST_RETURN_PATH = 1024;
const SESSION_ENDED = ['session_expired', 'session_missing'];

/**
 * @typedef {object} Api
 * @property {string} path route of this API at the gateway, such as `/graph`
 * @property {'ok' | 'needs_consent' | 'needs_step_up' | 'expired'} status
 * @property {string} [login_url] where to sign in if `status` is not `ok`
 */

/**
 * @typedef {object} Session
 * @property {boolean} authenticated
 * @property {{sub: string, oid?: string, tid?: string, name?: string, preferred_username?: string,
 *             email?: string | null, roles?: string[]}} [user]
 * @property {{expires_in: number, idle_expires_in: number}} [session] both in seconds
 * @property {Record<string, Api>} [apis]
 * @property {{login: string, logout?: string, refresh?: string, sessions?: string}} links `sessions` only with a
 *   session store: the user's sessions, which `GET` lists and `DELETE` ends
 */

/** An error of the gateway itself, or that it cannot be reached. */
export class CloakroomError extends Error {
  /**
   * @param {string} code a code of the gateway, `network`, or `unexpected` for a response that is not the gateway's
   * @param {{status?: number, title?: string, loginUrl?: string, retryAfter?: number, traceId?: string,
   *          cause?: unknown}} [details] `retryAfter` in seconds
   */
  constructor(code, { status, title, loginUrl, retryAfter, traceId, cause } = {}) {
    super(title ?? code, { cause });
    this.name = 'CloakroomError';
    this.code = code;
    this.status = status;
    this.loginUrl = loginUrl;
    this.retryAfter = retryAfter;
    this.traceId = traceId;
  }
}

/**
 * The state of the session. Does not extend it.
 *
 * @returns {Promise<Session>}
 * @throws {CloakroomError}
 */
export async function session() {
  return readJson(await send(new Request('/auth/session')));
}

/**
 * Leaves the page to sign in, and returns to `returnTo`: path, query and fragment, by default the current address.
 *
 * @param {{returnTo?: string, api?: string, url?: string}} [options] `api` requests the consent that one API needs;
 *   `url` is a login URL of the gateway, such as `CloakroomError.loginUrl`
 * @throws {TypeError} `url` is not on the own origin
 */
export function signIn({ returnTo = currentAddress(), api, url = '/auth/login' } = {}) {
  const target = new URL(url, location.origin);
  if (!isOwn(target)) throw new TypeError('url must be on the own origin');
  if (api) target.searchParams.set('api', api);
  if (isReturnPath(returnTo)) target.searchParams.set('return_to', returnTo);
  location.assign(target);
}

/**
 * Ends the session, then leaves the page to end it at the identity provider.
 *
 * @throws {CloakroomError}
 */
export async function signOut() {
  const response = await fetch('/auth/logout', { method: 'POST' });
  const { logout_url: url } = await readJson(response);
  const target = new URL(url, location.origin);
  // It is the provider's, on any host, but never a script.
  if (!['https:', 'http:'].includes(target.protocol)) throw new CloakroomError('unexpected');
  location.assign(target);
}

/**
 * Extends the session.
 *
 * @returns {Promise<boolean>} false if the session has ended
 * @throws {CloakroomError}
 */
export async function refresh() {
  const response = await send(withCsrfHeader(new Request('/auth/refresh', { method: 'POST' })));
  if (!response.ok && !SESSION_ENDED.includes(codeOf(response))) throw await failure(response);
  return response.ok;
}

/**
 * `window.fetch` that adds the CSRF header to calls to the own origin. A `session_expired` can be outdated, because
 * another tab or instance has just written a newer cookie: then the session is refreshed and the call repeated, once.
 *
 * @param {RequestInfo | URL} input
 * @param {RequestInit} [init]
 * @returns {Promise<Response>} errors of the gateway included: see `problem`
 * @throws {CloakroomError} with the code `network`
 */
export async function fetch(input, init) {
  const request = new Request(input, init);
  if (!isOwn(new URL(request.url))) return send(request);
  const retry = withCsrfHeader(request).clone();
  const response = await send(request);
  if (codeOf(response) !== 'session_expired') return response;
  return (await refreshOnce()) ? send(retry) : response;
}

/**
 * The error of the gateway in a response, or null if the response is the API's, whatever its status, or another
 * origin's.
 *
 * @param {Response} response its body stays readable
 * @returns {Promise<CloakroomError | null>}
 */
export async function problem(response) {
  const code = codeOf(response);
  if (!code) return null;
  const body = await response.clone().json().catch(() => ({}));
  return new CloakroomError(code, {
    status: response.status,
    title: body.title,
    loginUrl: body.login_url,
    retryAfter: Number(response.headers.get('Retry-After')) || undefined,
    traceId: body.trace_id,
  });
}

/**
 * Why the last sign-in failed, if it did. Removes `auth_error` from the address, so that a reload does not repeat it,
 * and the empty fragment of every redirect after a sign-in.
 *
 * @returns {string | null} a code
 */
export function takeAuthError() {
  const address = new URL(location.href);
  const code = address.searchParams.get('auth_error');
  if (code === null && !address.href.endsWith('#')) return null;
  // Not with URLSearchParams, which would change the encoding of the other parameters.
  const others = address.search.slice(1).split('&').filter((pair) => pair && pair.split('=')[0] !== 'auth_error');
  address.search = others.join('&');
  if (!address.hash) address.hash = '';
  // With its origin, since a path that begins with `//` would name another host.
  history.replaceState(history.state, '', address);
  return code;
}

function currentAddress() {
  return location.pathname + location.search + location.hash;
}

/** Whether the gateway takes a path as `return_to`. Without one a sign-in ends at the page that it is configured for. */
function isReturnPath(path) {
  return path.length <= LONGEST_RETURN_PATH && !path.startsWith('//');
}

function withCsrfHeader(request) {
  request.headers.set(CSRF_HEADER, '1');
  return request;
}

function codeOf(response) {
  if (response.ok || !response.url || !isOwn(new URL(response.url))) return null;
  return response.headers.get('Cloakroom-Error');
}

/** An origin is that of `https:` or `http:`, so script URLs are not own. */
function isOwn(url) {
  return url.origin === location.origin && url.protocol === location.protocol;
}

async function send(request) {
  try {
    return await window.fetch(request);
  } catch (cause) {
    // Other errors are aborts and timeouts by the caller.
    if (!(cause instanceof TypeError)) throw cause;
    throw new CloakroomError('network', { cause });
  }
}

async function readJson(response) {
  if (!response.ok) throw await failure(response);
  try {
    return await response.json();
  } catch (cause) {
    throw new CloakroomError('unexpected', { status: response.status, cause });
  }
}

async function failure(response) {
  return (await problem(response)) ?? new CloakroomError('unexpected', { status: response.status });
}

let refreshing = null;

/** Concurrent calls share one refresh. */
function refreshOnce() {
  refreshing ??= refresh().catch(() => false).finally(() => { refreshing = null; });
  return refreshing;
}
